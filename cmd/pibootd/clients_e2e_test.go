//go:build e2e

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

// A lanHost asks the daemon at 10.77.0.1, each time on a new socket.
type lanHost struct{ net *netlab.Namespace }

// putKernel gives board 3333347a a kernel, and returns its content.
func (l *lab) putKernel(t *testing.T) []byte {
	t.Helper()
	kernel := make([]byte, 300_000)
	for i := range kernel {
		kernel[i] = byte(i >> 9)
	}
	if err := os.WriteFile(filepath.Join(l.state, "roots/3333347a/boot/firmware/kernel8.img"), kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	return kernel
}

// callers ask each server for what a board and a person ask it for.
func (h lanHost) callers(mac pi.MAC, kernel []byte) []*caller {
	fetches := func(name string, want []byte) func(context.Context) error {
		return func(ctx context.Context) error {
			got, err := h.fetch(ctx, name)
			if err == nil && want != nil && !bytes.Equal(got, want) {
				err = fmt.Errorf("%d bytes of %s; want the %d that are there", len(got), name, len(want))
			}
			return err
		}
	}
	const nfs, mount, portmap = 100003, 100005, 100000
	return []*caller{
		{name: "dhcp", ask: func(ctx context.Context) error { return h.discover(ctx, mac) }},
		{name: "tftp", ask: fetches("3333347a/config.txt", nil)},
		{name: "tftp, a kernel", ask: fetches("3333347a/kernel8.img", kernel)},
		{name: "nfs", ask: func(ctx context.Context) error { return h.callTCP(ctx, "10.77.0.1:2049", nfs, 3) }},
		{name: "mount, udp", ask: func(ctx context.Context) error { return h.callUDP(ctx, "10.77.0.1:2049", mount, 3) }},
		{name: "portmap", ask: func(ctx context.Context) error { return h.callTCP(ctx, "10.77.0.1:111", portmap, 2) }},
		{name: "portmap, udp", ask: func(ctx context.Context) error { return h.callUDP(ctx, "10.77.0.1:111", portmap, 2) }},
		{name: "http", ask: h.get},
		{name: "queue", ask: func(ctx context.Context) error {
			return h.talk(ctx, "10.77.0.1:4222", nil, func(r io.Reader) error { return expect(r, []byte("INFO ")) })
		}},
	}
}

// expect reads what has to come first.
func expect(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("the answer begins with %q; want %q", got, want)
	}
	return nil
}

func (h lanHost) dial(ctx context.Context, _, addr string) (conn net.Conn, err error) {
	err = h.net.Do(func() error { conn, err = new(net.Dialer).DialContext(ctx, "tcp4", addr); return err })
	return conn, err
}

// talk sends what is asked on a connection of its own and reads the answer.
func (h lanHost) talk(ctx context.Context, addr string, question []byte, answer func(io.Reader) error) error {
	conn, err := h.dial(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(question); err != nil {
		return err
	}
	return answer(conn)
}

func (h lanHost) get(ctx context.Context) error {
	transport := &http.Transport{DialContext: h.dial, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.77.0.1:8080/metrics", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}

// nullCall is a call of the procedure that does nothing (RFC 5531 §9, §12.1), and what the
// reply begins with.
func nullCall(program, version uint32) (call, reply []byte) {
	xid := rand.Uint32()
	for _, word := range []uint32{xid, 0, 2, program, version, 0, 0, 0, 0, 0} {
		call = binary.BigEndian.AppendUint32(call, word)
	}
	for _, word := range []uint32{xid, 1, 0, 0, 0, 0} {
		reply = binary.BigEndian.AppendUint32(reply, word)
	}
	return call, reply
}

func (h lanHost) callTCP(ctx context.Context, addr string, program, version uint32) error {
	mark := func(record []byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(record))), record...)
	}
	call, reply := nullCall(program, version)
	return h.talk(ctx, addr, mark(call), func(r io.Reader) error { return expect(r, mark(reply)) })
}

func (h lanHost) callUDP(ctx context.Context, addr string, program, version uint32) error {
	call, reply := nullCall(program, version)
	conn, err := h.listen(ctx, "0.0.0.0:0")
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _, err = conn.ask(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)), call, func(got []byte) bool { return bytes.Equal(got, reply) })
	return err
}

// discover asks for an address, as boot code does.
func (h lanHost) discover(ctx context.Context, mac pi.MAC) error {
	conn, err := h.listen(ctx, "0.0.0.0:68")
	if err != nil {
		return err
	}
	defer conn.Close()
	discover, err := dhcpv4.NewDiscovery(mac[:], dhcpv4.WithBroadcast(true))
	if err != nil {
		return err
	}
	_, _, err = conn.ask(&net.UDPAddr{IP: net.IPv4bcast, Port: 67}, discover.ToBytes(), func(got []byte) bool {
		offer, err := dhcpv4.FromBytes(got)
		return err == nil && offer.TransactionID == discover.TransactionID && offer.YourIPAddr.String() == "10.77.0.50"
	})
	return err
}

// fetch reads a file by TFTP (RFC 1350), a block of 1408 bytes after the other.
func (h lanHost) fetch(ctx context.Context, name string) (content []byte, err error) {
	const blockSize, opData, opOACK = 1408, 3, 6
	conn, err := h.listen(ctx, "0.0.0.0:0")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	to, next := net.Addr(&net.UDPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 69}), uint16(0)
	message := fmt.Appendf([]byte{0, 1}, "%s\x00octet\x00blksize\x00%d\x00", name, blockSize)
	for {
		got, from, err := conn.ask(to, message, func(got []byte) bool {
			if len(got) >= 4 && got[1] == opData && binary.BigEndian.Uint16(got[2:]) == next-1 {
				_ = conn.send(to, message) // the server has not had it
			}
			return len(got) >= 4 && (got[1] == opOACK && next == 0 || got[1] == opData && binary.BigEndian.Uint16(got[2:]) == next || got[1] == 5)
		})
		if err != nil && next > 0 {
			return nil, fmt.Errorf("broken off: %v", err) // without the cause: the port of a transfer closes with it
		}
		if err != nil {
			return nil, err
		}
		switch got[1] {
		case opData:
			content = append(content, got[4:]...)
		case opOACK:
		default:
			return nil, fmt.Errorf("error %q", got[4:])
		}
		to, message = from, binary.BigEndian.AppendUint16([]byte{0, 4}, next)
		next++
		if got[1] == opData && len(got) < 4+blockSize {
			return content, conn.send(to, message)
		}
	}
}

// A datagramSocket hears of closed ports.
type datagramSocket struct {
	net.PacketConn
	buf   [64 << 10]byte
	stop  func() bool   // keeps the end of its context from ending it
	ended chan struct{} // closed when that has ended it
}

// Close frees the port at once: while a deadline is set, it would be freed a little later.
func (s *datagramSocket) Close() error {
	if !s.stop() {
		<-s.ended
	}
	return s.PacketConn.Close()
}

func (h lanHost) listen(ctx context.Context, addr string) (*datagramSocket, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) {
			set = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), "eth0"))
		})
		return errors.Join(err, set)
	}}
	s := &datagramSocket{ended: make(chan struct{})}
	err := h.net.Do(func() (err error) { s.PacketConn, err = config.ListenPacket(ctx, "udp4", addr); return err })
	if err != nil {
		return nil, err
	}
	s.stop = context.AfterFunc(ctx, func() {
		_ = s.SetDeadline(time.Unix(1, 0))
		close(s.ended)
	})
	return s, nil
}

func (s *datagramSocket) send(to net.Addr, message []byte) error {
	_, err := s.WriteTo(message, to)
	return err
}

// ask sends a message once, and returns the first datagram that is its answer.
func (s *datagramSocket) ask(to net.Addr, message []byte, isAnswer func([]byte) bool) ([]byte, net.Addr, error) {
	if err := s.send(to, message); err != nil {
		return nil, nil, err
	}
	for {
		n, from, err := s.ReadFrom(s.buf[:])
		if err != nil {
			return nil, nil, err
		}
		if isAnswer(s.buf[:n]) {
			return slices.Clone(s.buf[:n]), from, nil
		}
	}
}
