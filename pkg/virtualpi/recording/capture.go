//go:build linux

package recording

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
)

// captureBuffer holds what is on the wire while the recorder waits for a processor, in bytes.
const captureBuffer = 256 << 20

// Capture records what the board with the address board asks the server for, on an interface that
// both talk through, until stop is called.
func Capture(on *netlab.Namespace, iface, mount string, server, board netip.Addr) (stop func() (*Recording, error), err error) {
	var file *os.File
	err = on.Do(func() (err error) {
		file, err = openCapture(iface)
		return err
	})
	if err != nil {
		return nil, err
	}
	w := newWire(server, board, mount)
	done := make(chan error, 1)
	go func() { done <- w.read(file) }()
	return func() (*Recording, error) {
		if err := errors.Join(file.Close(), <-done); err != nil {
			return nil, err
		}
		return w.rec.finished()
	}, nil
}

func openCapture(iface string) (*os.File, error) {
	card, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all & 0xffff, Ifindex: card.Index}); err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("capturing on %s: %w", iface, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "capture on "+iface), nil
}

// read reads packets until the file is closed.
func (w *wire) read(file *os.File) error {
	packet := make([]byte, 1<<16)
	for {
		n, err := file.Read(packet)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("capturing: %w", err)
		}
		if err := w.packet(packet[:n]); err != nil {
			return err
		}
	}
}
