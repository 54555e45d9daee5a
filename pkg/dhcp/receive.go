package dhcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A receiver reads messages, many by one system call, into memory of its own.
type receiver struct {
	conn     syscall.RawConn
	messages [readBatch]mmsghdr
	from     [readBatch]unix.RawSockaddrInet4
	parts    [readBatch]unix.Iovec
	data     [readBatch][maxPacket + 1]byte
}

// An mmsghdr is the struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	unix.Msghdr
	length uint32 // bytes that were received
}

func newReceiver(conn *Conn) (*receiver, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("dhcp: using the socket: %w", err)
	}
	return &receiver{conn: raw}, nil
}

// receive waits for messages, and returns how many have come. They are good until it is called
// again.
func (r *receiver) receive() (n int, err error) {
	waitErr := r.conn.Read(func(fd uintptr) bool {
		n, err = r.read(fd)
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		err = waitErr
	}
	if err == unix.EINTR {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("dhcp: reading messages: %w", err)
	}
	return n, nil
}

// read is recvmmsg(2) without waiting.
func (r *receiver) read(fd uintptr) (int, error) {
	for i := range r.messages {
		m := &r.messages[i]
		r.parts[i].Base = &r.data[i][0]
		r.parts[i].SetLen(len(r.data[i]))
		m.Name, m.Namelen = (*byte)(unsafe.Pointer(&r.from[i])), unix.SizeofSockaddrInet4
		m.Iov = &r.parts[i]
		m.SetIovlen(1)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])), readBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// at returns a message, and where it came from.
func (r *receiver) at(i int) ([]byte, netip.AddrPort) {
	from := &r.from[i]
	port := (*[2]byte)(unsafe.Pointer(&from.Port)) // in network order
	return r.data[i][:r.messages[i].length], netip.AddrPortFrom(netip.AddrFrom4(from.Addr), binary.BigEndian.Uint16(port[:]))
}
