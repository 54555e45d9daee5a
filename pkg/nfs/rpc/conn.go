package rpc

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

// errTwiceLarge is the end of a connection: no procedure has both, so this
// cannot be a valid call.
var errTwiceLarge = errors.New("a call with much to read and much to answer")

// errThreadLost ends a goroutine whose thread could not get its rights back.
var errThreadLost = errors.New("the thread has lost its rights")

// A conn is one client's connection.
//
// A call that is usually quick runs on the goroutine that reads the connection,
// because handing it to another costs more than the call itself. Any other call
// gets a goroutine of its own, so that no call waits for another's disk writes.
type conn struct {
	server   *Server
	client   *client
	port     uint16
	nc       net.Conn
	programs []Program
	calls    sync.WaitGroup
	writing  sync.Mutex

	// Of the reading goroutine alone:
	in      *bufio.Reader
	timed   bool            // the socket has a read deadline
	pending []byte          // replies to be sent
	raw     syscall.RawConn // nil if there is none
	quick   Buffer          // of the reply to a quick call
	aside   int             // how many of the next quick calls do not run here
}

func (s *Server) newConn(nc net.Conn, cl *client, port uint16, programs []Program) *conn {
	c := &conn{
		server: s, client: cl, port: port, nc: nc, programs: programs,
		in: bufio.NewReaderSize(nc, smallBuffer), quick: Buffer{memory: s.Memory},
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

// read runs a call for each record that arrives. While a client is at its limit
// of running calls, its further calls wait in the socket.
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
	if !c.acquireSlot(ctx) {
		return ctx.Err()
	}
	var k kind
	if call != nil {
		k = c.kindOf(call, limit)
	}
	if !k.quick || len(call) > limit {
		return c.fetch(ctx, limit, call != nil, k)
	}
	held, err := c.reserveMemory(ctx, k.memory())
	if err != nil {
		c.done(0)
		return err
	}
	err = c.runHere(call, held) // where it is, in the read buffer
	_, _ = c.in.Discard(4 + len(call))
	return err
}

// fetch takes a call out of the read buffer, and runs it or starts it. Of one
// that has arrived k is the kind.
func (c *conn) fetch(ctx context.Context, limit int, arrived bool, k kind) error {
	rec := &Buffer{memory: c.server.Memory}
	held, err := c.receive(ctx, limit, rec, arrived)
	if err == nil && !arrived {
		k = c.kindOf(rec.Bytes, limit)
	}
	switch {
	case err != nil:
	case held == 0:
		held, err = c.reserveMemory(ctx, k.memory())
	case k.large && rec.pooled != nil:
		err = errTwiceLarge
	}
	if err != nil {
		rec.free()
		c.done(held)
		return err
	}
	if k.quick {
		defer rec.free()
		return c.runHere(rec.Bytes, held)
	}
	c.calls.Go(func() {
		defer c.done(held)
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
	n := int(v &^ LastFragment)
	if v&LastFragment == 0 || n > c.in.Buffered()-4 {
		return nil
	}
	rec, _ := c.in.Peek(4 + n)
	return rec[4:]
}

// kindOf is the kind of a call of at most limit bytes. It is quick only if it is
// to run on this goroutine.
func (c *conn) kindOf(rec []byte, limit int) kind {
	if limit == MaxStrangerCall {
		return kind{quick: true} // it reaches no file
	}
	k := kindOf(c.programs, rec)
	if k.quick && c.aside > 0 {
		c.aside--
		k.quick = false
	}
	return k
}

// acquireSlot waits until the client has fewer calls running than its limit. It
// reports false if ctx ends first.
func (c *conn) acquireSlot(ctx context.Context) bool {
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

// reserveMemory waits for n bytes of the budget that all clients share.
func (c *conn) reserveMemory(ctx context.Context, n int) (held int, err error) {
	shared := c.server.Memory.budget
	if n == 0 || shared.try(c.client, n) {
		return n, nil
	}
	c.flush()
	if err := shared.wait(ctx, c.client, n); err != nil {
		return 0, err
	}
	return n, nil
}

// done releases the slot of a call and the memory it held.
func (c *conn) done(held int) {
	if held > 0 {
		c.server.Memory.budget.release(c.client, held)
	}
	<-c.client.slots
}

// await waits for the first byte of a call, unless it has arrived, and returns
// the largest size of the call.
func (c *conn) await(begun bool) (limit int, err error) {
	limit = maxRecord
	if !c.server.Known(c.client.addr) {
		limit, c.timed = MaxStrangerCall, true
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

// receive reads a call into rec. It returns how much memory the call holds, which
// is none if the call is small.
func (c *conn) receive(ctx context.Context, limit int, rec *Buffer, arrived bool) (held int, err error) {
	if !arrived {
		if err := c.hurry(); err != nil {
			return 0, err
		}
	}
	mark, err := c.in.Peek(4)
	if err != nil {
		return 0, err
	}
	if v := binary.BigEndian.Uint32(mark); limit > smallBuffer && (v&LastFragment == 0 || v&^LastFragment > smallBuffer) {
		if held, err = c.reserveMemory(ctx, largeCall); err == nil {
			err = c.hurry() // it does not pay for having waited
		}
	}
	if err == nil {
		err = readRecord(c.in, limit, rec)
	}
	return held, err
}

// hurry gives the client recordTimeout for the rest of its call.
func (c *conn) hurry() error {
	c.timed = true
	return c.nc.SetReadDeadline(time.Now().Add(recordTimeout))
}

// runHere runs a quick call that holds so much memory, and queues its reply to
// be sent with others.
func (c *conn) runHere(rec []byte, held int) error {
	defer c.done(held)
	start := time.Now()
	out := c.server.answer(rec, peer{c.client, c.port}, c.programs, &c.quick)
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
	lost := c.quick.Lost
	c.quick.reset()
	if lost {
		c.flush()
		return errThreadLost
	}
	return nil
}

// runAside runs a call on a goroutine of its own and sends the reply.
func (c *conn) runAside(rec *Buffer) {
	reply := &Buffer{memory: c.server.Memory, splices: c.raw != nil}
	defer reply.free()
	out := c.server.answer(rec.Bytes, peer{c.client, c.port}, c.programs, reply)
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
