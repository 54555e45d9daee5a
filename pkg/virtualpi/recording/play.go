//go:build linux

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
)

// answerTimeout bounds the wait for an answer. It is far longer than any server takes.
const answerTimeout = time.Minute

// A Player makes the requests of recordings again.
type Player struct {
	Board     *netlab.Namespace // has eth0 with the recorded board's addresses
	Addr      netip.Addr        // of the board
	Server    netip.Addr
	MountPort uint16 // TCP
	Mount     string // the root's export
}

// A Played is how long the parts of a boot took, and what the servers did otherwise than in the
// recording.
type Played struct {
	DHCP, TFTP, NFS time.Duration
	Bytes           int64 // by TFTP
	Calls           int   // of NFS
	Differ          int   // of Calls: their status is not the recorded one
}

// Play makes a boot's requests.
func (p Player) Play(r *Recording) (got Played, err error) {
	began := time.Now()
	if err := p.dhcp(r); err != nil {
		return got, fmt.Errorf("DHCP: %w", err)
	}
	got.DHCP, began = time.Since(began), time.Now()
	if got.Bytes, err = p.tftp(r); err != nil {
		return got, fmt.Errorf("TFTP: %w", err)
	}
	got.TFTP, began = time.Since(began), time.Now()
	if got.Calls, got.Differ, err = p.nfs(r); err != nil {
		return got, fmt.Errorf("NFS: %w", err)
	}
	got.NFS = time.Since(began)
	return got, nil
}

// listen opens a port of the board.
func (p Player) listen(addr netip.AddrPort) (conn *net.UDPConn, err error) {
	err = p.Board.Do(func() error {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
		return err
	})
	return conn, err
}

// dhcp sends each message and waits for its answer. An answer has the transaction id of its question.
func (p Player) dhcp(r *Recording) error {
	conn, err := p.listen(netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpPort+1))
	if err != nil {
		return err
	}
	defer conn.Close()
	everybody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpPort)
	buf := make([]byte, 1500)
	for i, message := range r.Discovers {
		if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
			return err
		}
		if _, err := conn.WriteToUDPAddrPort(message, everybody); err != nil {
			return err
		}
		for answered := false; !answered; {
			n, err := conn.Read(buf)
			if err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
			answered = n > 8 && bytes.Equal(buf[4:8], message[4:8])
		}
	}
	return nil
}

// tftp reads the files one after the other, in lockstep.
func (p Player) tftp(r *Recording) (total int64, err error) {
	for _, f := range r.Files {
		n, err := p.read(f)
		if err != nil {
			return total, fmt.Errorf("%s: %w", f.Name, err)
		}
		total += n
	}
	return total, nil
}

// read reads a file by system calls that wait in the kernel, so that most of the time is the server's.
func (p Player) read(f File) (size int64, err error) {
	var fd int
	err = p.Board.Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrInet4{Addr: p.Addr.As4()}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.Sendto(fd, f.Request, 0, &unix.SockaddrInet4{Addr: p.Server.As4(), Port: tftpPort}))
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4+f.blksize())
	n, from, err := unix.Recvfrom(fd, buf, 0)
	for err == unix.EINTR { // by the runtime's signals
		n, from, err = unix.Recvfrom(fd, buf, 0)
	}
	if err == nil {
		err = unix.Connect(fd, from)
	}
	for err == nil {
		var answer []byte
		if answer, err = f.answer(buf[:n]); err != nil || answer == nil {
			return size, err
		}
		if _, err = unix.Write(fd, answer); err != nil || answer[1] == opError {
			return size, err
		}
		if buf[1] == opData {
			size += int64(n - 4)
			if n < len(buf) {
				return size, nil
			}
		}
		for n, err = unix.Read(fd, buf); err == unix.EINTR; {
			n, err = unix.Read(fd, buf)
		}
	}
	return size, err
}

// answer returns what the board answers to a packet, nil for nothing.
func (f File) answer(packet []byte) ([]byte, error) {
	if len(packet) < 4 {
		return nil, fmt.Errorf("packet of %d bytes", len(packet))
	}
	switch op := packet[1]; {
	case op == opError && f.Size < 0:
		return nil, nil
	case op == opOAck && f.Probe:
		return []byte("\x00\x05\x00\x00Early terminate\x00"), nil
	case op == opOAck:
		return []byte{0, opAck, 0, 0}, nil
	case op == opData && f.Size >= 0:
		return []byte{0, opAck, packet[2], packet[3]}, nil
	}
	return nil, fmt.Errorf("got %q; want a file of %d bytes, -1 for none", packet[:min(len(packet), 64)], f.Size)
}

// blksize is the size of blocks that the board asks for, in bytes.
func (f File) blksize() int {
	fields := bytes.Split(f.Request, []byte{0})
	for i := 0; i+1 < len(fields); i++ {
		if string(fields[i]) == "blksize" {
			n := 0
			_, _ = fmt.Sscan(string(fields[i+1]), &n)
			return n
		}
	}
	return 512
}

// dial connects from the board to a port of the server.
func (p Player) dial(port uint16) (conn net.Conn, err error) {
	err = p.Board.Do(func() error {
		d := net.Dialer{Timeout: answerTimeout}
		conn, err = d.Dial("tcp4", netip.AddrPortFrom(p.Server, port).String())
		return err
	})
	return conn, err
}

// record returns message behind its record mark (RFC 5531 §11).
func record(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))|1<<31), message...)
}
