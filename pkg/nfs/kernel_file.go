package nfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// kernelFile is the name of pibootd's exports(5). Others end differently and
// are not read by nfsd's tools.
const kernelFile = "pibootd.exports"

// maxKernelFile bounds the file, in bytes: some ten thousand exports.
const maxKernelFile = 4 << 20

const kernelHeader = "# By pibootd, which writes this file whole at every change. Lines of your own\n# belong in another file.\n"

// kernelIDMask sets nfsd's numbers of pibootd's exports apart from the small
// ones that people give theirs in fsid=. It is "pi".
const kernelIDMask = 0x7069 << 16

// kernelFSID is the number that nfsd puts into handles for an export. It
// must not be 0, which is NFSv4's root.
func kernelFSID(id uint32) uint32 { return id ^ kernelIDMask }

// kernelSquash are the options of exports(5) for each Squash.
var kernelSquash = map[Squash]string{NoSquash: "no_root_squash", RootSquash: "root_squash", AllSquash: "all_squash"}

// kernelOptions returns e's options as exports(5) has them. sync is what
// clients are promised. Without subtree_check a file keeps its handle when it
// is renamed; the price is in docs/operate.md.
func kernelOptions(e Export) string {
	access := "rw"
	if e.ReadOnly {
		access = "ro"
	}
	ports := "insecure"
	if e.PrivilegedPort {
		ports = "secure"
	}
	return fmt.Sprintf("%s,%s,sync,no_subtree_check,%s,anonuid=%d,anongid=%d,fsid=%d",
		access, ports, kernelSquash[e.Squash], orNobody(e.AnonUID), orNobody(e.AnonGID), kernelFSID(e.ID))
}

// formatKernel returns the file for exports: a line for each client. An export
// without clients has none: to nfsd it would be everybody's.
func formatKernel(exports map[string]Export) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(exports)) {
		e := exports[path]
		for _, c := range e.Clients {
			fmt.Fprintf(&b, "%s %s(%s)\n", e.Dir, c, kernelOptions(e))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return kernelHeader + b.String()
}

// parseKernel reads what formatKernel has written.
func parseKernel(text string) (map[string]Export, error) {
	exports := map[string]Export{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseKernelLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		e.Clients = append(exports[e.Path].Clients, e.Clients...)
		exports[e.Path] = e
	}
	return exports, nil
}

// parseKernelLine reads a line. Only what kernelOptions would write is taken,
// so that nothing of anybody else's is ever taken for pibootd's.
func parseKernelLine(line string) (Export, error) {
	dir, rest, _ := strings.Cut(line, " ")
	client, options, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
	addr, err := netip.ParseAddr(client)
	e := Export{Path: dir, Dir: dir, Clients: []netip.Addr{addr}}
	for option := range strings.SplitSeq(options, ",") {
		e.setOption(option)
	}
	if err != nil || e.check() != nil || kernelFSID(e.ID) == 0 || fmt.Sprintf("%s %s(%s)", dir, addr, kernelOptions(e)) != line {
		return Export{}, fmt.Errorf("%q is not by pibootd; want it moved to another file", line)
	}
	return e, nil
}

func (e *Export) setOption(option string) {
	name, value, _ := strings.Cut(option, "=")
	number, _ := strconv.ParseUint(value, 10, 32) // what does not parse is found when the line is written again
	switch name {
	case "ro":
		e.ReadOnly = true
	case "secure":
		e.PrivilegedPort = true
	case "anonuid":
		e.AnonUID = uint32(number)
	case "anongid":
		e.AnonGID = uint32(number)
	case "fsid":
		e.ID = uint32(number) ^ kernelIDMask
	default:
		for squash, text := range kernelSquash {
			if name == text {
				e.Squash = squash
			}
		}
	}
}

func (k *Kernel) file() string { return filepath.Join(k.dir, kernelFile) }

func (k *Kernel) load() error {
	info, err := os.Stat(k.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxKernelFile {
		err = fmt.Errorf("%s has %d bytes; want %d at most", k.file(), info.Size(), maxKernelFile)
	}
	if err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %w", err)
	}
	text, err := os.ReadFile(k.file())
	if err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %w", err)
	}
	if k.exports, err = parseKernel(string(text)); err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %s: %w", k.file(), err)
	}
	return nil
}

// saveLocked makes exports the ones there are, in the file and in k. The file
// is removed with the last line.
func (k *Kernel) saveLocked(exports map[string]Export) error {
	text := formatKernel(exports)
	if text != formatKernel(k.exports) {
		if err := k.write(text); err != nil {
			return fmt.Errorf("nfs: exports of nfsd: %w", err)
		}
	}
	k.exports = exports
	return nil
}

func (k *Kernel) write(text string) error {
	if text == "" {
		if err := os.Remove(k.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(k.dir)
	}
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	// nfsd's tools pass over names that begin with a dot.
	temp, err := os.CreateTemp(k.dir, "."+kernelFile+".*")
	if err != nil {
		return err
	}
	_, err = temp.WriteString(text)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), k.file())
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(k.dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
