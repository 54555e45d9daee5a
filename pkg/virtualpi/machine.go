//go:build linux

package virtualpi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"pibootd/pkg/netlab"
)

const (
	qemu        = "qemu-system-aarch64"
	qemuPackage = "qemu-system-arm"
)

// MachineOptions configure a machine, except for the files that it boots.
type MachineOptions struct {
	Console  io.Writer // receives the output of the serial port; nil discards. After an error, which Wait returns, it receives no more
	MemoryMB int       // 0 means 768
	CPUs     int       // 0 means 2
}

// A Machine is a running QEMU. Its methods are safe for concurrent use.
type Machine struct {
	off  context.CancelCauseFunc
	done chan struct{}
	err  error // result of Wait; set before done is closed

	events          *os.File // QMP
	console, stderr *tail
}

// Reasons why a machine ends before its kernel powers it off.
var (
	errOff   = errors.New("switched off")
	errPanic = errors.New("the kernel panicked")
)

// Start starts QEMU with exactly the kernel, initramfs and command line in boot, plugged into s
// with the board's address. The machine runs until its kernel powers it off, panics or reboots,
// until Off, or until ctx ends. QEMU dies with this process, however the process ends, and
// leaves nothing behind, because its tap ends with it and its files are in memory.
//
// The caller must call Wait or Off.
func (b *Board) Start(ctx context.Context, boot *Boot, s Socket, o MachineOptions) (*Machine, error) {
	path, err := exec.LookPath(qemu)
	if err != nil {
		return nil, fmt.Errorf("virtualpi: starting board %s: %w; install the package %s", b.MAC, err, qemuPackage)
	}
	if err := checkKernel(boot.Kernel); err != nil {
		return nil, fmt.Errorf("virtualpi: starting board %s: %w", b.MAC, err)
	}
	l := launch{path: path, mac: b.MAC, boot: boot, socket: s, options: o}
	m, err := l.start(ctx)
	if err != nil {
		return nil, fmt.Errorf("virtualpi: starting board %s: %w", b.MAC, err)
	}
	return m, nil
}

// checkKernel rejects a kernel that QEMU would start as a raw binary, which crashes.
func checkKernel(kernel []byte) error {
	const (
		magicAt = 56 // Linux, Documentation/arch/arm64/booting.rst
		magic   = 0x644d5241
	)
	isGzip := bytes.HasPrefix(kernel, []byte{0x1f, 0x8b})
	isImage := len(kernel) >= magicAt+4 && binary.LittleEndian.Uint32(kernel[magicAt:]) == magic
	if !isGzip && !isImage {
		return fmt.Errorf("the kernel it was served (%d bytes) is no 64-bit Image, plain or gzipped; 32-bit kernels are not imitated", len(kernel))
	}
	return nil
}

// Wait waits until the machine is off. It returns nil if the kernel powered it off or Off was
// called, else an error that explains why, with the last lines of the console.
func (m *Machine) Wait() error {
	<-m.done
	return m.err
}

// Off switches the machine off, if it is running, and returns Wait's error.
func (m *Machine) Off() error {
	m.off(errOff)
	return m.Wait()
}

// run starts cmd, closes started, waits for cmd and closes done.
func (m *Machine) run(ctx context.Context, n *netlab.Namespace, cmd *exec.Cmd, started chan<- struct{}) {
	defer close(m.done)
	defer m.off(nil)
	reason := make(chan string, 1)
	// The kernel sends Pdeathsig when the thread that started QEMU ends, so the same thread
	// waits for QEMU.
	exit := n.Do(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() { reason <- stopReason(m.events) }()
		close(started)
		return cmd.Wait()
	})
	if cmd.Process == nil {
		m.err = errors.Join(exit, m.events.Close())
		return
	}
	m.err = errors.Join(m.explain(exit, context.Cause(ctx), <-reason), m.console.err, m.events.Close())
}

// explain returns why the machine stopped. It returns nil if the kernel powered it off or Off was
// called.
func (m *Machine) explain(exit, cause error, reason string) error {
	switch {
	case exit == nil && reason == "guest-shutdown", errors.Is(cause, errOff):
		return nil
	case cause != nil:
		return fmt.Errorf("virtualpi: %w%s", cause, m.console)
	case exit == nil && reason == "guest-reset":
		return fmt.Errorf("virtualpi: the kernel rebooted%s", m.console)
	case exit == nil:
		return fmt.Errorf("virtualpi: %s ended, reason %q%s%s", qemu, reason, m.stderr, m.console)
	}
	return fmt.Errorf("virtualpi: %s ended: %w%s%s", qemu, exit, m.stderr, m.console)
}
