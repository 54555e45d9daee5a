//go:build linux

package recording

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"pibootd/pkg/nfs/rpc"
)

// maxReply bounds a reply, in bytes: READs of 1 MiB and what is around them.
const maxReply = 2 << 20

// A session makes the calls of a recording on one connection. As many calls wait for their replies
// as did when it was recorded.
type session struct {
	rec  *Recording
	conn net.Conn

	mu       sync.Mutex
	answered sync.Cond
	handles  [][]byte      // of nodes; nil where no reply has had one
	names    map[entry]int // of nodes that exist at first
	listings map[int]*listing
	open     map[uint32]asked
	replies  int
	differ   int
	err      error
}

// An asked is a call without a reply yet.
type asked struct {
	call *Call
	node int // whose handle it gives: a node of its own for what was not in the recording
}

// A listing is how far a directory has been read. Cookies are the server's own.
type listing struct {
	cookie, verifier uint64
	end              bool
}

// nfs mounts the root and makes the calls. It returns how many it made, and to how many of them the
// reply has another status than the recorded one.
func (p Player) nfs(r *Recording) (calls, differ int, err error) {
	root, err := p.mount()
	if err != nil {
		return 0, 0, fmt.Errorf("mounting %s: %w", p.Mount, err)
	}
	conn, err := p.dial(nfsPort)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	s := &session{
		rec: r, conn: conn, handles: make([][]byte, len(r.Nodes)),
		names: r.names(), listings: map[int]*listing{}, open: map[uint32]asked{},
	}
	s.answered.L = &s.mu
	s.handles[0] = root
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.receive()
	}()
	calls, err = s.send()
	if err == nil {
		err = s.await(func() bool { return len(s.open) == 0 })
	}
	_ = conn.Close()
	<-done
	return calls, s.differ, err
}

// mount returns the root's handle.
func (p Player) mount() ([]byte, error) {
	conn, err := p.dial(p.MountPort)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var args rpc.Encoder
	args.String(p.Mount)
	const version = 3
	if _, err := conn.Write(record(message(1, programMount, version, procMnt, 0, 0, args.Buf))); err != nil {
		return nil, err
	}
	reply, err := readRecord(conn, nil)
	if err != nil {
		return nil, err
	}
	_, status, d := results(reply)
	if handle := d.Opaque(maxHandle); status == 0 && !d.Bad {
		return handle, nil
	}
	return nil, fmt.Errorf("status %d; want 0", status)
}

// message is a call (RFC 5531 §9) with AUTH_SYS.
func message(xid, program, version, proc, uid, gid uint32, args []byte) []byte {
	var body, e rpc.Encoder
	body.Uint32(0) // stamp
	body.String("board")
	for _, v := range []uint32{uid, gid, 0} { // and no further groups
		body.Uint32(v)
	}
	for _, v := range []uint32{xid, rpc.MsgCall, rpc.Version, program, version, proc, rpc.AuthSys} {
		e.Uint32(v)
	}
	e.Opaque(body.Buf)
	e.Uint32(rpc.AuthNone)
	e.Uint32(0)
	e.Buf = append(e.Buf, args...)
	return e.Buf
}

// results returns the xid of a reply, the status in its results and what follows.
func results(reply []byte) (xid, status uint32, d *rpc.Decoder) {
	d = &rpc.Decoder{Buf: reply}
	xid = d.Uint32()
	d.Take(3 * 4) // reply, accepted, verifier's flavor
	d.Opaque(rpc.MaxAuthBody)
	if d.Uint32() != rpc.Success {
		d.Bad = true
	}
	return xid, d.Uint32(), d
}

// readRecord reads a message into buf, or into a new buffer if that is too small.
func readRecord(in io.Reader, buf []byte) ([]byte, error) {
	var mark [4]byte
	if _, err := io.ReadFull(in, mark[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(mark[:])
	if n>>31 == 0 || n&^(1<<31) > maxReply {
		return nil, fmt.Errorf("record mark %x; want one fragment of at most %d bytes", n, maxReply)
	}
	if n &^= 1 << 31; int(n) > len(buf) {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(in, buf[:n])
	return buf[:n], err
}

// send makes the calls in their order, and returns how many it made.
func (s *session) send() (calls int, err error) {
	skipped := 0
	for i := range s.rec.Calls {
		c := &s.rec.Calls[i]
		extra, err := s.ready(c, skipped)
		calls += extra
		if err != nil {
			return calls, fmt.Errorf("call %d, procedure %d: %w", i, c.Proc, err)
		}
		args, needed := s.arguments(c)
		if !needed {
			skipped++
			continue
		}
		if err := s.write(uint32(i+1), c, c.Gives, args); err != nil {
			return calls, err
		}
		calls++
	}
	return calls, nil
}

// ready waits until the board had as many replies as when it made c, and until the handles of c are
// known. If no reply has had one, it makes a LOOKUP, which the recorded server made unnecessary.
func (s *session) ready(c *Call, skipped int) (extra int, err error) {
	if err := s.await(func() bool { return s.replies+skipped >= c.After }); err != nil {
		return 0, err
	}
	for _, node := range []int{c.Node, c.Other} {
		n, err := s.resolve(node)
		extra += n
		if err != nil {
			return extra, err
		}
	}
	return extra, nil
}

// resolve has the handle of a node be known.
func (s *session) resolve(node int) (extra int, err error) {
	if err := s.await(func() bool { return s.handles[node] != nil || len(s.open) == 0 }); err != nil {
		return 0, err
	}
	if s.handles[node] != nil {
		return 0, nil
	}
	of := s.rec.Nodes[node]
	if extra, err = s.resolve(of.Parent); err != nil {
		return extra, err
	}
	var args rpc.Encoder
	args.Opaque(s.handles[of.Parent])
	args.String(of.Name)
	if err := s.write(1<<31|uint32(node), &Call{Proc: procLookup, Node: of.Parent}, node, args.Buf); err != nil {
		return extra, err
	}
	if err := s.await(func() bool { return len(s.open) == 0 }); err != nil {
		return extra, err
	}
	if s.handles[node] == nil {
		return extra, fmt.Errorf("the server has no %q in node %d", of.Name, of.Parent)
	}
	return extra + 1, nil
}

// arguments returns the arguments of c for this server; needed is false for what is left of a
// directory that this server has listed in fewer replies.
func (s *session) arguments(c *Call) (args []byte, needed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var e rpc.Encoder
	e.Opaque(s.handles[c.Node])
	e.Buf = append(e.Buf, c.Args...)
	switch c.Proc {
	case procWrite:
		e.Uint32(uint32(c.Data))
		e.Buf = append(e.Buf, make([]byte, (c.Data+3)&^3)...)
	case procRename, procLink:
		e.Opaque(s.handles[c.Other])
		e.Buf = append(e.Buf, c.MoreArgs...)
	case procReaddir, procReaddirplus:
		at := e.Buf[len(e.Buf)-len(c.Args):]
		l := s.listings[c.Node]
		if l == nil || binary.BigEndian.Uint64(at) == 0 {
			l = &listing{}
			s.listings[c.Node] = l
		}
		binary.BigEndian.PutUint64(at, l.cookie)
		binary.BigEndian.PutUint64(at[8:], l.verifier)
		return e.Buf, !l.end
	}
	return e.Buf, true
}

func (s *session) write(xid uint32, c *Call, gives int, args []byte) error {
	s.mu.Lock()
	s.open[xid] = asked{c, gives}
	s.mu.Unlock()
	const version = 3
	_, err := s.conn.Write(record(message(xid, programNFS, version, c.Proc, c.UID, c.GID, args)))
	return err
}

// await waits until f, which is called with the lock held, is true.
func (s *session) await(f func() bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !f() && s.err == nil {
		s.answered.Wait()
	}
	return s.err
}

// receive reads replies until the connection ends.
func (s *session) receive() {
	in, buf := bufio.NewReaderSize(s.conn, 64<<10), make([]byte, maxReply)
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(answerTimeout))
		reply, err := readRecord(in, buf)
		s.mu.Lock()
		if err == nil {
			s.replied(reply)
		} else {
			s.err = fmt.Errorf("reading a reply: %w", err)
		}
		s.answered.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// replied takes a reply; the lock is held.
func (s *session) replied(reply []byte) {
	xid, status, d := results(reply)
	a, ok := s.open[xid]
	if !ok || d.Bad {
		s.err = fmt.Errorf("reply %x; want a result of an open call", reply[:min(len(reply), 64)])
		return
	}
	delete(s.open, xid)
	if xid>>31 == 0 {
		s.replies++
	}
	if status != a.call.Status {
		s.differ++
	}
	if status != 0 {
		return
	}
	switch a.call.Proc {
	case procReaddir, procReaddirplus:
		s.listed(a.call, d)
	case procCreate, procMkdir, procSymlink, procMknod:
		if !d.Bool() {
			return
		}
		fallthrough
	case procLookup:
		if a.node != 0 {
			s.handles[a.node] = bytes.Clone(d.Opaque(maxHandle))
		}
	}
}

// listed notes how far a directory was listed, and the handles of its entries.
func (s *session) listed(c *Call, d *rpc.Decoder) {
	l := s.listings[c.Node]
	if d.Bool() {
		skipAttributes(d)
	}
	l.verifier = d.Uint64()
	for d.Bool() {
		d.Uint64()
		name := string(d.Opaque(maxName))
		l.cookie = d.Uint64()
		if c.Proc == procReaddir {
			continue
		}
		if d.Bool() {
			skipAttributes(d)
		}
		if d.Bool() {
			handle := d.Opaque(maxHandle)
			if n, ok := s.names[entry{c.Node, name}]; ok && s.handles[n] == nil {
				s.handles[n] = bytes.Clone(handle)
			}
		}
	}
	l.end = d.Bool() || d.Bad
}

// names returns the nodes that exist at first, by their names.
func (r *Recording) names() map[entry]int {
	names := map[entry]int{}
	for i, n := range r.Nodes {
		if i > 0 && !n.Made {
			names[entry{n.Parent, n.Name}] = i
		}
	}
	return names
}
