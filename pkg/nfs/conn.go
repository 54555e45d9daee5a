package nfs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// maxPending is how many bytes of replies wait for those that follow them,
	// while their calls have come already: all are sent in one write.
	maxPending = 16 << 10

	// slowCall is when a quick call was not: the disk was busy. The next
	// slowCalls of the connection then run side by side.
	slowCall  = 2 * time.Millisecond
	slowCalls = 64
)

// errThreadLost ends a goroutine whose thread could not get its rights back.
var errThreadLost = errors.New("the thread has lost its rights")

// A conn is one client's connection.
//
// A call that is quick as a rule runs on the goroutine that reads the
// connection: handing it to another costs more than the call itself. Any other
// gets a goroutine of its own, so that nobody waits for a disk to write.
type conn struct {
	service  *service
	client   *client
	port     uint16
	nc       net.Conn
	programs []program
	calls    sync.WaitGroup
	writing  sync.Mutex

	// Of the reading goroutine alone:
	in      *bufio.Reader
	timed   bool            // the socket has a read deadline
	pending []byte          // replies to be sent
	raw     syscall.RawConn // nil if there is none
	quick   buffer          // of the reply to a quick call
	aside   int             // how many of the next quick calls do not run here
}

func (v *service) newConn(nc net.Conn, cl *client, port uint16, programs []program) *conn {
	c := &conn{
		service: v, client: cl, port: port, nc: nc, programs: programs,
		in: bufio.NewReaderSize(nc, smallBuffer), quick: buffer{s: v.server},
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		c.raw, _ = tcp.SyscallConn() // fails only once it is closed
	}
	c.quick.splices = c.raw != nil
	return c
}

// serve answers calls until either side closes the connection, and waits for
// those that run.
func (c *conn) serve(ctx context.Context) error {
	defer c.calls.Wait()
	for {
		ended := make(chan error, 1)
		go func() { ended <- c.read(ctx) }()
		if err := <-ended; err != errThreadLost {
			return err
		}
	}
}

// read runs a call for each record that arrives. While the client has as many
// running as it may, its further calls wait in the socket.
func (c *conn) read(ctx context.Context) error {
	for {
		if err := c.next(ctx); err != nil {
			return err
		}
	}
}

// next waits for a call, and runs it or starts it.
func (c *conn) next(ctx context.Context) error {
	call := c.buffered()
	if call == nil {
		c.flush() // this may have to wait
	}
	limit, err := c.await(call != nil)
	if err != nil {
		return err
	}
	if call == nil {
		call = c.buffered()
	}
	if !c.takeSlot(ctx) {
		return ctx.Err()
	}
	if len(call) <= limit && c.isQuick(call) {
		err := c.runHere(call) // where it is, in the read buffer
		_, _ = c.in.Discard(4 + len(call))
		return err
	}
	rec := &buffer{s: c.service.server}
	if err := c.receive(limit, rec, call != nil); err != nil {
		rec.free()
		<-c.client.slots
		return err
	}
	if call == nil && c.isQuick(rec.b) {
		defer rec.free()
		return c.runHere(rec.b)
	}
	c.calls.Go(func() {
		defer func() { <-c.client.slots }()
		c.runAside(rec)
	})
	return nil
}

// buffered is the next record, without its mark, if it is of one fragment and
// in the read buffer as a whole.
func (c *conn) buffered() []byte {
	if c.in.Buffered() < 4 {
		return nil
	}
	mark, _ := c.in.Peek(4)
	v := binary.BigEndian.Uint32(mark)
	n := int(v &^ lastFragment)
	if v&lastFragment == 0 || n > c.in.Buffered()-4 {
		return nil
	}
	rec, _ := c.in.Peek(4 + n)
	return rec[4:]
}

// isQuick reports whether a call should run here.
func (c *conn) isQuick(rec []byte) bool {
	if !isQuick(c.programs, rec) {
		return false
	}
	if c.aside > 0 {
		c.aside--
		return false
	}
	return true
}

// takeSlot waits for the client to have fewer calls running than it may, and
// reports false if ctx ends first.
func (c *conn) takeSlot(ctx context.Context) bool {
	select {
	case c.client.slots <- struct{}{}:
		return true
	default:
	}
	c.flush()
	select {
	case c.client.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits for a call to begin, unless one has, and returns how long it may
// be.
func (c *conn) await(begun bool) (limit int, err error) {
	limit = maxRecord
	if !c.service.server.exports.knows(c.client.addr) {
		limit, c.timed = maxStranger, true
		err = c.nc.SetReadDeadline(time.Now().Add(strangerTimeout))
	} else if c.timed && !begun {
		c.timed = false
		err = c.nc.SetReadDeadline(time.Time{})
	}
	if err != nil || begun {
		return limit, err
	}
	_, err = c.in.Peek(1)
	return limit, err
}

func (c *conn) receive(limit int, rec *buffer, arrived bool) error {
	if !arrived {
		c.timed = true
		if err := c.nc.SetReadDeadline(time.Now().Add(recordTimeout)); err != nil {
			return err
		}
	}
	return readRecord(c.in, limit, rec)
}

// runHere runs a quick call and keeps its reply to be sent with others.
func (c *conn) runHere(rec []byte) error {
	defer func() { <-c.client.slots }()
	start := time.Now()
	out := c.service.answer(rec, peer{c.client, c.port}, c.programs, &c.quick)
	if time.Since(start) > slowCall {
		c.aside = slowCalls
	}
	if c.quick.file != nil || len(c.pending)+len(out) > maxPending {
		c.flush()
	}
	if c.quick.file != nil || len(out) > maxPending {
		c.send(out, c.quick.file)
	} else {
		c.pending = append(c.pending, out...)
	}
	lost := c.quick.lost
	c.quick.reset()
	if lost {
		c.flush()
		return errThreadLost
	}
	return nil
}

// runAside runs a call on a goroutine of its own and sends the reply.
func (c *conn) runAside(rec *buffer) {
	reply := &buffer{s: c.service.server, splices: c.raw != nil}
	defer reply.free()
	out := c.service.answer(rec.b, peer{c.client, c.port}, c.programs, reply)
	rec.free()
	if out != nil {
		c.send(out, reply.file)
	}
}

// flush sends the replies that wait.
func (c *conn) flush() {
	if len(c.pending) > 0 {
		c.send(c.pending, nil)
		c.pending = c.pending[:0]
	}
}

// send sends out and then what is in file, if any, with its padding.
func (c *conn) send(out []byte, file *pipe) {
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.nc.SetWriteDeadline(time.Now().Add(recordTimeout))
	if err == nil && file != nil {
		pad := make([]byte, -file.n&3)
		if err = sendFile(c.raw, out, file); err == nil && len(pad) > 0 {
			_, err = c.nc.Write(pad)
		}
	} else if err == nil {
		_, err = c.nc.Write(out)
	}
	if err != nil {
		// What was sent of the reply cannot be taken back, so nothing that
		// follows could be read: the client has to connect again.
		_ = c.nc.Close()
	}
}
