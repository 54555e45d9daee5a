package debian

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/rootfs/progress"
)

// install runs mmdebstrap, which makes the tree.
func (d *debian) install(ctx context.Context, a *apt, arch debianArch) error {
	if err := os.MkdirAll(d.tree, 0o755); err != nil {
		return err
	}
	cmd := d.command(ctx, a, arch)
	said := &installLog{progress: d.progress, total: int64(2 * d.count)}
	d.progress.Report("install", 0, 0)
	if err := said.run(cmd); err != nil && ctx.Err() == nil {
		if said.mixed { // it fetches the lists once more, for the root
			return fmt.Errorf("%w: mmdebstrap: %w%s", ErrMixedLists, err, said)
		}
		return fmt.Errorf("mmdebstrap: %w%s", err, said)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.Chmod(d.tree, 0o755)
}

// programPath is PATH, also that of dpkg in the new root.
const programPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// killGrace is how long killed processes can take to end.
const killGrace = 10 * time.Second

// command returns mmdebstrap in namespaces of its own, so that nobody else sees its
// mounts, and the kernel removes its mounts and processes when it or this process
// is killed.
func (d *debian) command(ctx context.Context, a *apt, arch debianArch) *exec.Cmd {
	args := []string{
		"-c", `mount -t proc proc /proc && exec mmdebstrap "$@"`, "mmdebstrap",
		"--verbose", "--mode=root", "--format=directory", "--variant=apt",
		"--architectures=" + arch.name, "--include=" + strings.Join(d.names, ","),
		// It links /bin to /usr/bin and the like before the first package.
		"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
		// The packages stay in the cache, and emulation is looked after here.
		"--skip=check/qemu,download/empty,essential/unlink",
		`--aptopt=APT::Sandbox::User "root"`, `--aptopt=DPkg::Path "` + programPath + `"`,
	}
	for _, hook := range []string{"setup", "extract", "essential", "customize"} {
		args = append(args, fmt.Sprintf(`--%s-hook=sh "$PIBOOTD_RECIPE/hooks/%s" "$1"`, hook, hook))
	}
	args = append(args, d.options.Release, d.tree)
	for _, source := range a.sources {
		args = append(args, fmt.Sprintf("deb [signed-by=%s] %s %s", a.keyring, source, Components))
	}
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "TMPDIR="+d.stage.Path,
		"PATH="+programPath,
		"PIBOOTD_RECIPE="+filepath.Join(d.stage.Path, recipeDir), "PIBOOTD_ARCHIVES="+a.archives(), "PIBOOTD_ARCH="+arch.name)
	if needsEmulation(d.options.Arch) {
		cmd.Env = append(cmd.Env, "PIBOOTD_EMULATED=1")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWPID, Unshareflags: syscall.CLONE_NEWNS,
	}
	cmd.WaitDelay = killGrace
	return cmd
}

// An installLog follows the output of mmdebstrap and dpkg.
type installLog struct {
	progress    progress.Func
	done, total int64
	errors      []string // the first lines that speak of an error
	last        []string
	mixed       bool // some were of lists that do not fit together
}

const (
	// firstErrors and lastLines are how many lines of the output an error quotes: the
	// first errors are usually the cause of the others.
	firstErrors, lastLines = 4, 4
	maxLine                = 200
)

// errorLine matches "dpkg: error processing …", "chroot: error: …" and the like,
// and not the names of packages.
var errorLine = regexp.MustCompile(`(^|: )(error|cannot|fatal)\b|subprocess returned error|No such file`)

func (i *installLog) run(cmd *exec.Cmd) error {
	// The kernel sends Pdeathsig when the thread ends that started the command.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		i.line(lines.Text())
	}
	_, _ = io.Copy(io.Discard, out) // what follows a line beyond the scanner's limit
	return cmd.Wait()
}

// line processes a line of output. dpkg prints two lines for each package: when it
// unpacks it and when it sets it up.
func (i *installLog) line(text string) {
	switch {
	case strings.HasPrefix(text, "Unpacking "), strings.HasPrefix(text, "Setting up "):
		i.done++
		i.progress.Report("install", min(i.done, i.total), i.total)
	case text == "pibootd: boot files":
		i.progress.Report("boot files", 0, 0)
	}
	i.mixed = i.mixed || mixedLists.MatchString(text)
	text = text[:min(len(text), maxLine)]
	if errorLine.MatchString(text) && len(i.errors) < firstErrors {
		i.errors = append(i.errors, text)
	} else if strings.TrimSpace(text) != "" {
		i.last = append(i.last[max(0, len(i.last)-lastLines+1):], text)
	}
}

func (i *installLog) String() string {
	said := slices.Concat(i.errors, i.last)
	if len(said) == 0 {
		return ""
	}
	return "; it said:\n  " + strings.Join(said, "\n  ")
}
