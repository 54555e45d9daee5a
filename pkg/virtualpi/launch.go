//go:build linux

package virtualpi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
)

const (
	defaultMemoryMB = 768
	defaultCPUs     = 2

	// offGrace is how long QEMU may take to exit after it was asked to.
	offGrace = 5 * time.Second

	// firstFD is the child's descriptor number of exec.Cmd.ExtraFiles[0].
	firstFD = 3
)

// A launch is one start of QEMU.
type launch struct {
	path    string
	mac     pi.MAC
	boot    *Boot
	socket  Socket
	options MachineOptions
	inherit []*os.File // by QEMU; the kernel frees their resources when QEMU exits
}

func (l *launch) start(ctx context.Context) (*Machine, error) {
	defer l.closeInherited()
	args, err := l.args()
	if err != nil {
		return nil, err
	}
	events, monitor, err := l.monitor()
	if err != nil {
		return nil, err
	}
	args = append(args, monitor...)
	ctx, off := context.WithCancelCause(ctx)
	m := &Machine{
		off:     off,
		done:    make(chan struct{}),
		events:  events,
		console: &tail{to: l.options.Console, onPanic: func() { off(errPanic) }},
		stderr:  &tail{},
	}
	cmd := exec.CommandContext(ctx, l.path, args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = m.console, m.stderr, l.inherit
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = offGrace

	started := make(chan struct{})
	go m.run(ctx, l.socket.Namespace, cmd, started)
	select {
	case <-started:
		return m, nil
	case <-m.done:
	}
	if cmd.Process == nil {
		return nil, m.err
	}
	return m, nil
}

// args creates the parts of the machine and returns QEMU's arguments for them.
func (l *launch) args() ([]string, error) {
	tap, err := l.tap()
	if err != nil {
		return nil, err
	}
	kernel, err := l.memory("kernel", l.boot.Kernel)
	if err != nil {
		return nil, err
	}
	args := []string{
		"-M", "virt", "-cpu", "cortex-a53", "-accel", "tcg,thread=multi",
		"-m", strconv.Itoa(cmp.Or(l.options.MemoryMB, defaultMemoryMB)),
		"-smp", strconv.Itoa(cmp.Or(l.options.CPUs, defaultCPUs)),
		"-kernel", kernel,
		"-append", l.boot.Cmdline,
		"-netdev", fmt.Sprintf("tap,id=lan,fd=%d", tap),
		"-device", "virtio-net-pci,netdev=lan,romfile=,mac=" + l.mac.String(),
		"-device", "virtio-rng-pci",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
	}
	if len(l.boot.Initramfs) == 0 {
		return args, nil
	}
	initramfs, err := l.memory("initramfs", l.boot.Initramfs)
	if err != nil {
		return nil, err
	}
	return append(args, "-initrd", initramfs), nil
}

// give makes QEMU inherit f and returns f's descriptor number in QEMU.
func (l *launch) give(f *os.File) int {
	l.inherit = append(l.inherit, f)
	return firstFD + len(l.inherit) - 1
}

func (l *launch) closeInherited() {
	for _, f := range l.inherit {
		_ = f.Close() // nothing remained to be written
	}
}

// memory makes an anonymous file and returns the path at which QEMU can open it.
func (l *launch) memory(name string, data []byte) (string, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("making a file in memory for the %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		return "", errors.Join(fmt.Errorf("copying the %s: %w", name, err), f.Close())
	}
	return fmt.Sprintf("/proc/self/fd/%d", l.give(f)), nil
}

// tap makes the machine's network interface. It is a port of the bridge that exists as long as
// QEMU runs.
func (l *launch) tap() (int, error) {
	if err := l.socket.check(); err != nil {
		return 0, err
	}
	name := portName("tap", l.mac)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	// QEMU uses the same flags for a tap that it makes itself. With the header, the emulated
	// kernel need not segment large packets.
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	var f *os.File
	err = l.socket.Namespace.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("opening /dev/net/tun: %w; if it is missing: modprobe tun", err)
		}
		f = os.NewFile(uintptr(fd), "/dev/net/tun")
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return errors.Join(fmt.Errorf("making tap %s: %w; does the board run already?", name, err), f.Close())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	number := l.give(f)
	if err := l.socket.Namespace.Attach(name, l.socket.Bridge); err != nil {
		return 0, err
	}
	return number, l.socket.Namespace.Up(name)
}
