package rpc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// pageSize is how much a slot of a pipe holds at least.
	pageSize = 4096

	// maxPipes is how many empty pipes are kept.
	maxPipes = 16
)

// errSmallPipe reports that a pipe is too small for the data, which then has to be
// copied.
var errSmallPipe = errors.New("the pipe is too small")

// A pipe holds pages of a file on their way to a socket. Nothing is copied: a
// page that changes meanwhile is sent as it then is, newer than the
// attributes beside it and never older. All that can fail about the file has
// failed before the reply begins.
type pipe struct {
	r, w int
	size int // bytes it can hold if they begin with a page
	n    int // bytes in it
}

// newPipe returns an empty pipe. That of a process with few rights is small.
func (m *Memory) newPipe() (*pipe, error) {
	select {
	case p := <-m.pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	p := &pipe{r: fds[0], w: fds[1]}
	for _, size := range []int{2 * MaxData, MaxData} { // the larger needs CAP_SYS_RESOURCE
		var err error
		if p.size, err = unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, size); err == nil {
			break
		}
	}
	return p, nil
}

// holds reports whether p can take n bytes of a file from offset on.
func (p *pipe) holds(offset int64, n int) bool {
	return n+int(offset%pageSize) <= p.size
}

// freePipe keeps p for another call if it is empty.
func (m *Memory) freePipe(p *pipe) {
	if p.n == 0 {
		select {
		case m.pipes <- p:
			return
		default:
		}
	}
	p.close()
}

func (p *pipe) close() {
	_, _ = unix.Close(p.r), unix.Close(p.w) // nothing that is in it is wanted
}

// fill puts up to n bytes of the file fd into p, from offset on. It stops at
// the end of the file. p must be able to hold them.
func (p *pipe) fill(fd int, offset int64, n int) error {
	for p.n < n {
		m, err := unix.Splice(fd, &offset, p.w, nil, n-p.n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case m == 0:
			return nil
		default:
			p.n += int(m)
		}
	}
	return nil
}

// Splices reports whether Splice can be used for this reply.
func (b *Buffer) Splices() bool { return b.splices }

// Splice appends count bytes of the file fd from offset on to the reply, or fewer
// at the end of the file, without copying them, and returns how many. After an
// error it has appended nothing.
func (b *Buffer) Splice(fd int, offset int64, count int) (int, error) {
	p, err := b.memory.newPipe()
	if err != nil {
		return 0, err
	}
	if err = errSmallPipe; p.holds(offset, count) {
		err = p.fill(fd, offset, count)
	}
	if err != nil {
		b.memory.freePipe(p)
		return 0, err
	}
	b.file = p
	return p.n, nil
}

// Spliced reports whether Splice has appended something.
func (b *Buffer) Spliced() bool { return b.file != nil }

// Unsplice removes what Splice has appended.
func (b *Buffer) Unsplice() {
	if b.file != nil {
		b.memory.freePipe(b.file)
		b.file = nil
	}
}

// sendFile sends head and then what is in p.
func sendFile(conn syscall.RawConn, head []byte, p *pipe) error {
	var sent error
	err := conn.Write(func(fd uintptr) (done bool) {
		for sent == nil && len(head) > 0 {
			n, err := unix.SendmsgN(int(fd), head, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			if err == unix.EAGAIN {
				return false
			}
			if err != unix.EINTR {
				head, sent = head[max(n, 0):], err
			}
		}
		for sent == nil && p.n > 0 {
			n, err := unix.Splice(p.r, nil, int(fd), nil, p.n, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
			if err == unix.EAGAIN {
				return false
			}
			if err != unix.EINTR {
				p.n, sent = p.n-int(max(n, 0)), err
			}
		}
		return true
	})
	return errors.Join(err, sent)
}
