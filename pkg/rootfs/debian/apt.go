package debian

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/rootfs/progress"
)

// An apt is the host's apt-get working on package lists, a cache and a dpkg
// status of its own, for another architecture, without touching the host's.
// The lists are verified against Debian's signing keys and the packages against
// the lists.
type apt struct {
	dir     string   // absolute
	arch    string   // as Debian has it
	sources []string // each a mirror and a suite of it
	keyring string
}

// A debFile is a package and the file it comes in.
type debFile struct {
	name, version string
	file          string // path of the .deb
	size          int64
	installed     int64  // bytes, about
	sha256        string // in hex
}

// installedSize returns about how much space packages need once they are unpacked.
func installedSize(debs []debFile) (bytes int64) {
	for _, deb := range debs {
		bytes += deb.installed
	}
	return bytes
}

// aptConfig is all the configuration that apt gets: the host's may hold hooks
// that act on the host.
const aptConfig = `APT::Architecture "%[2]s";
APT::Architectures "%[2]s";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc "%[1]s/etc";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "%[1]s/etc/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "%[1]s/state";
Dir::State::Status "%[1]s/status";
Dir::Cache "%[1]s/cache";
`

// Components are the parts of Debian that hold all packages of the recipes.
const Components = "main non-free-firmware"

// prepare writes apt's directories.
func (a *apt) prepare() error {
	if strings.ContainsAny(a.dir, "\"\n") {
		return fmt.Errorf("cache directory %q: apt takes no path with a quote or newline in it", a.dir)
	}
	for _, dir := range []string{"etc", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	var list strings.Builder
	for _, source := range a.sources {
		fmt.Fprintf(&list, "deb [arch=%s signed-by=%s] %s %s\n", a.arch, a.keyring, source, Components)
	}
	return errors.Join(
		os.WriteFile(a.configFile(), fmt.Appendf(nil, aptConfig, a.dir, a.arch), 0o644),
		os.WriteFile(filepath.Join(a.dir, "etc/sources.list"), []byte(list.String()), 0o644),
		os.WriteFile(filepath.Join(a.dir, "status"), nil, 0o644),
	)
}

func (a *apt) configFile() string { return filepath.Join(a.dir, "apt.conf") }
func (a *apt) archives() string   { return filepath.Join(a.dir, "cache/archives") }

// aptGrace is how long apt can take to stop.
const aptGrace = 5 * time.Second

func (a *apt) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.configFile(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = aptGrace
	cmd.Dir = a.archives()
	return cmd
}

func (a *apt) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	return output(ctx, a.command(ctx, program, args...))
}

// output runs a command; an error includes the end of its error output.
func output(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	return out, commandError(ctx, cmd, &complaints, err)
}

func commandError(ctx context.Context, cmd *exec.Cmd, complaints *bytes.Buffer, err error) error {
	if err == nil || ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	const most = 500
	said := strings.TrimSpace(complaints.String())
	err = fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, said[max(0, len(said)-most):])
	if mixedLists.MatchString(said) {
		return fmt.Errorf("%w: %w", ErrMixedLists, err)
	}
	return err
}

// ErrMixedLists reports that a mirror's package lists are not those that it has
// signed: it is being updated, or a cache on the way has some of before.
var ErrMixedLists = errors.New("the mirror's package lists are not of one time, as while it is being updated; try again later, or take another mirror (--mirror)")

// mixedLists matches the messages of apt-get about that.
var mixedLists = regexp.MustCompile(`Hash Sum mismatch|has unexpected size|Mirror sync in progress`)

// update fetches the package lists if the mirror has newer ones. It retries once if
// they do not match their signature.
func (a *apt) update(ctx context.Context) error {
	const tries = 2
	var err error
	for range tries {
		// Without it apt-get warns, succeeds and works on with old lists.
		_, err = a.run(ctx, "apt-get", "-q", "update", "--error-on=any")
		if !errors.Is(err, ErrMixedLists) {
			return err
		}
	}
	return err
}

// installLine is what apt-get -s prints for a package that it would install.
var installLine = regexp.MustCompile(`^Inst ([a-z0-9][a-z0-9.+-]*) \(([^ ()]+) `)

// closure returns the named packages and all they depend on, as name=version.
func (a *apt) closure(ctx context.Context, names []string) ([]string, error) {
	out, err := a.run(ctx, "apt-get", append([]string{"-s", "install"}, names...)...)
	if err != nil {
		return nil, err
	}
	var pinned []string
	for line := range strings.Lines(string(out)) {
		if m := installLine.FindStringSubmatch(line); m != nil {
			pinned = append(pinned, m[1]+"="+m[2])
		}
	}
	return pinned, nil
}

// show returns the records of packages, each given as name or name=version.
func (a *apt) show(ctx context.Context, packages []string) ([]record, error) {
	out, err := a.run(ctx, "apt-cache", append([]string{"show", "--no-all-versions"}, packages...)...)
	if err != nil {
		return nil, err
	}
	return parseRecords(out)
}

// files returns the files of the packages.
func (a *apt) files(ctx context.Context, packages []string) ([]debFile, error) {
	records, err := a.show(ctx, packages)
	if err != nil {
		return nil, err
	}
	var debs []debFile
	for _, r := range records {
		deb, err := r.deb(a.archives())
		if err != nil {
			return nil, err
		}
		debs = append(debs, deb)
	}
	return debs, nil
}

// download fetches the files of debs that are not in the cache, verifies the hash of
// each, and removes all others from the cache.
func (a *apt) download(ctx context.Context, debs []debFile, p progress.Func) error {
	if err := a.prune(debs); err != nil {
		return err
	}
	wanted := []string{"-q", "download"}
	sizes := make(map[string]int64)
	var done, total int64
	for _, deb := range debs {
		if deb.present() {
			continue
		}
		// apt-get takes a file of the right size for the right file.
		if err := os.Remove(deb.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		wanted = append(wanted, deb.name+"="+deb.version)
		sizes[deb.name] = deb.size
		total += deb.size
	}
	if total == 0 {
		return nil
	}
	err := a.follow(ctx, wanted, func(line string) {
		if m := getLine.FindStringSubmatch(line); m != nil {
			done += sizes[m[1]]
			p.Report("download", min(done, total), total)
		}
	})
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if !deb.present() {
			return fmt.Errorf("%s is not what the package list says, or is missing", deb.file)
		}
	}
	return nil
}

// getLine is what apt-get prints for a file that it fetches:
// Get:1 http://deb.debian.org/debian bookworm/main arm64 ffmpeg arm64 7:5.1.9 [1807 kB]
var getLine = regexp.MustCompile(`^Get:\d+ \S+ \S+ \S+ (\S+) `)

// follow runs apt-get and calls each with every line of its output.
func (a *apt) follow(ctx context.Context, args []string, each func(line string)) error {
	cmd := a.command(ctx, "apt-get", args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		each(lines.Text())
	}
	_, drained := io.Copy(io.Discard, out) // what follows a line beyond the scanner's limit
	return errors.Join(drained, commandError(ctx, cmd, &complaints, cmd.Wait()))
}

// prune removes the packages of earlier builds from the cache.
func (a *apt) prune(debs []debFile) error {
	cached, err := fs.Glob(os.DirFS(a.archives()), "*.deb")
	for _, name := range cached {
		file := filepath.Join(a.archives(), name)
		if !slices.ContainsFunc(debs, func(deb debFile) bool { return deb.file == file }) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

// present reports whether the file is there, whole and right.
func (d debFile) present() bool {
	file, err := os.Open(d.file)
	if err != nil {
		return false
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	return err == nil && hex.EncodeToString(hash.Sum(nil)) == d.sha256
}
