package nfsd

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

	"pibootd/internal/durable"
	"pibootd/pkg/nfs"
)

// fileName is the name of pibootd's exports(5). Others end differently and
// are not read by nfsd's tools.
const fileName = "pibootd.exports"

// maxFileSize bounds the file, in bytes: some ten thousand exports.
const maxFileSize = 4 << 20

const fileHeader = "# By pibootd, which writes this file whole at every change. Lines of your own\n# belong in another file.\n"

// fsidMask sets nfsd's numbers of pibootd's exports apart from the small
// ones that people give theirs in fsid=. It is "pi".
const fsidMask = 0x7069 << 16

// fsid is the number that nfsd puts into handles for an export. It
// must not be 0, which is NFSv4's root.
func fsid(id uint32) uint32 { return id ^ fsidMask }

// squashOptions are the options of exports(5) for each Squash.
var squashOptions = map[nfs.Squash]string{nfs.NoSquash: "no_root_squash", nfs.RootSquash: "root_squash", nfs.AllSquash: "all_squash"}

// exportOptions returns e's options as exports(5) has them. sync is what
// clients are promised. Without subtree_check a file keeps its handle when it
// is renamed; the price is in docs/network.md.
func exportOptions(e nfs.Export) string {
	access := "rw"
	if e.ReadOnly {
		access = "ro"
	}
	ports := "insecure"
	if e.PrivilegedPort {
		ports = "secure"
	}
	return fmt.Sprintf("%s,%s,sync,no_subtree_check,%s,anonuid=%d,anongid=%d,fsid=%d",
		access, ports, squashOptions[e.Squash], e.AnonymousUID(), e.AnonymousGID(), fsid(e.ID))
}

// formatExports returns the file for exports: a line for each client. An export
// without clients has none: to nfsd it would be everybody's.
func formatExports(exports map[string]nfs.Export) string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(exports)) {
		e := exports[path]
		for _, c := range e.Clients {
			fmt.Fprintf(&b, "%s %s(%s)\n", e.Dir, c, exportOptions(e))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return fileHeader + b.String()
}

// parseExports reads what formatExports has written.
func parseExports(text string) (map[string]nfs.Export, error) {
	exports := map[string]nfs.Export{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		e.Clients = append(exports[e.Path].Clients, e.Clients...)
		exports[e.Path] = e
	}
	return exports, nil
}

// parseLine reads a line. It accepts only what exportOptions writes,
// so that the exports of others are never mistaken for pibootd's.
func parseLine(line string) (nfs.Export, error) {
	dir, rest, _ := strings.Cut(line, " ")
	client, options, _ := strings.Cut(strings.TrimSuffix(rest, ")"), "(")
	addr, err := netip.ParseAddr(client)
	e := nfs.Export{Path: dir, Dir: dir, Clients: []netip.Addr{addr}}
	for option := range strings.SplitSeq(options, ",") {
		setOption(&e, option)
	}
	if err != nil || e.Check() != nil || fsid(e.ID) == 0 || fmt.Sprintf("%s %s(%s)", dir, addr, exportOptions(e)) != line {
		return nfs.Export{}, fmt.Errorf("%q is not by pibootd; want it moved to another file", line)
	}
	return e, nil
}

func setOption(e *nfs.Export, option string) {
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
		e.ID = uint32(number) ^ fsidMask
	default:
		for squash, text := range squashOptions {
			if name == text {
				e.Squash = squash
			}
		}
	}
}

func (s *Server) file() string { return filepath.Join(s.dir, fileName) }

func (s *Server) load() error {
	info, err := os.Stat(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxFileSize {
		err = fmt.Errorf("%s has %d bytes; want %d at most", s.file(), info.Size(), maxFileSize)
	}
	if err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %w", err)
	}
	text, err := os.ReadFile(s.file())
	if err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %w", err)
	}
	if s.exports, err = parseExports(string(text)); err != nil {
		return fmt.Errorf("nfs: exports of nfsd: %s: %w", s.file(), err)
	}
	return nil
}

// save changes the exports, in the file and in s. The file is removed with the
// last line.
func (s *Server) save(change func(next map[string]nfs.Export) error) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	before := s.current()
	next := maps.Clone(before)
	if err := change(next); err != nil {
		return err
	}
	if text := formatExports(next); text != formatExports(before) {
		if err := s.write(text); err != nil {
			return fmt.Errorf("nfs: exports of nfsd: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exports = next
	return nil
}

func (s *Server) write(text string) error {
	if text != "" {
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			return err
		}
		// Its temporary name begins with a dot: nfsd's tools pass over it.
		return durable.WriteFile(s.file(), []byte(text), 0o644)
	}
	err := os.Remove(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(s.dir)
}
