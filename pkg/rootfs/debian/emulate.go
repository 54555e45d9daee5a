package debian

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// An emulation is the kernel's order to run an architecture's programs by QEMU
// (Documentation/admin-guide/binfmt-misc.rst). A helper process holds it. It
// takes the order back when asked, and also when this process is killed.
type emulation struct {
	helper *exec.Cmd
	hold   io.Closer // the helper's standard input
	errs   bytes.Buffer
}

// holdEmulation registers $2 under the name $1 until its input ends.
const holdEmulation = `set -e
dir=/proc/sys/fs/binfmt_misc
[ -e $dir/register ] || mount -t binfmt_misc binfmt_misc $dir
printf %s "$2" >$dir/register
trap 'echo -1 >"$dir/$1"' EXIT
echo ready
cat >/dev/null
`

// emulate begins an emulation. The emulator is opened now (flag F), so that
// it need not be in the root that it is used in, and keeps set-user-ID (C).
func emulate(ctx context.Context, arch debianArch) (*emulation, error) {
	program, err := exec.LookPath(arch.emulator)
	if err != nil {
		return nil, err
	}
	const mask = `\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff`
	name := fmt.Sprintf("pibootd-%s-%d", arch.name, os.Getpid())
	rule := strings.Join([]string{"", name, "M", "", arch.magic, mask, program, "OCF"}, ":")
	// It ends by itself: whoever kills it leaves the order behind.
	e := &emulation{helper: exec.Command("sh", "-c", holdEmulation, "sh", name, rule)}
	e.helper.Stderr = &e.errs
	// Ctrl-C on a terminal must not reach it; the mount is its own.
	e.helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Unshareflags: syscall.CLONE_NEWNS}
	if e.hold, err = e.helper.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := e.helper.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := e.helper.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return nil, fmt.Errorf("having the kernel run %s programs by %s: %w", arch.name, arch.emulator, errors.Join(ctx.Err(), err, e.end()))
	}
	return e, nil
}

// end ends the emulation.
func (e *emulation) end() error {
	err := errors.Join(e.hold.Close(), e.helper.Wait())
	if err != nil {
		return fmt.Errorf("binfmt_misc: %w: %s", err, strings.TrimSpace(e.errs.String()))
	}
	return nil
}
