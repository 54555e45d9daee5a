package tftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxTransferTime bounds a transfer as a whole, so that a client that
	// acknowledges a block now and then cannot keep it for ever.
	maxTransferTime = 10 * time.Minute

	// repeatGrace is how long after an ACK of the client the same request from
	// it may be one that it sent earlier: they come by different sockets, and a
	// busy host reads the one long after the other. It is boot code's own wait
	// before it repeats a request, and less than a board takes to start again.
	repeatGrace = 2 * time.Second

	// smallFile is up to which size, in bytes, files are sent without waiting
	// for a place: what is over in a moment hinders nobody.
	smallFile = 256 << 10
)

// errReplaced ends a transfer whose client has sent another request from the
// same port.
var errReplaced = errors.New("client sent another request from the same port")

// errTooLong ends a transfer that takes longer than any can.
var errTooLong = fmt.Errorf("not done after %v", maxTransferTime)

// A transfer answers one request. Until it sends it belongs to a goroutine of
// its own, then to a loop.
type transfer struct {
	sender
	listener *listener
	server   *Server
	client   netip.AddrPort
	mtu      int // of the way to the client
	req      request
	ctx      context.Context // of the Source; ends with the transfer
	cancel   context.CancelCauseFunc
	started  time.Time
	end      time.Time
	large    bool // it has one of the governor's places
	loop     *loop
	peer     peer // the client, to the loop

	stopped atomic.Pointer[error] // why it is to end; nil: it is not
}

// answers reports whether a repetition of the request was sent before the client
// saw the reply: because it has acknowledged nothing yet, or has done so recently.
func (t *transfer) answers() bool {
	heard := t.heard.Load()
	return heard == 0 || time.Since(time.Unix(0, heard)) < repeatGrace
}

// stop ends the transfer soon.
func (t *transfer) stop(why error) {
	t.stopped.CompareAndSwap(nil, &why)
	t.cancel(why)
}

// run readies the transfer and hands it to a loop.
func (t *transfer) run() {
	err := t.prepare()
	if t.ctx.Err() != nil {
		err = context.Cause(t.ctx)
	}
	t.listener.assign(t)
	if err == nil && t.loop.add(t) {
		return
	}
	if err == nil {
		err = context.Canceled
	}
	t.finish(err)
}

// prepare opens the file and negotiates how it is sent. A panic, which can only
// come from the Source, costs this transfer and not the server.
func (t *transfer) prepare() (err error) {
	defer func() {
		if p := recover(); p != nil {
			t.server.log().Error("transfer panicked", "addr", t.client, "file", t.req.name, "err", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	if err := t.req.refuse(); err != nil {
		return err
	}
	name, _ := cleanName(t.req.name)
	file, size, err := t.server.Source.Open(t.ctx, t.client.Addr(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return &refusal{Missing, codeNotFound, "file not found"}
	}
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	t.start(size, agree(t.req.options, size, t.mtu, t.server.retransmit()))
	if err := t.acquireSlot(size); err != nil {
		return errors.Join(err, file.Close())
	}
	t.end = time.Now().Add(maxTransferTime)
	return t.file.open(file, size, t.terms)
}

// acquireSlot waits until a large file may be sent.
func (t *transfer) acquireSlot(size int64) error {
	if size <= smallFile {
		return nil
	}
	select {
	case t.listener.large <- struct{}{}:
		t.large = true
		return nil
	case <-t.ctx.Done():
		return context.Cause(t.ctx)
	}
}

// begin sends the first packets and starts to read ahead.
func (t *transfer) begin(l *loop) {
	t.readAhead(l)
	t.transmit(l)
}

// finish ends the transfer, sends the client an error if there is one, and reports
// the outcome.
func (t *transfer) finish(err error) {
	if p := errorPacket(err); p != nil {
		_ = t.loop.sockets[t.peer.socket].sendTo(t.client, p) // best effort: a lost ERROR is not sent again (RFC 1350 §7)
	}
	if t.large {
		<-t.listener.large
	}
	t.cancel(nil)
	t.listener.forget(t) // before the report, which may make the client ask again
	if reading := t.file.close(); !reading {
		t.listener.release(t.client.Addr())
	}
	t.report(err)
	t.listener.started.Done()
}

// errorPacket returns the ERROR for err, or nil if the client needs none or must
// not get one. Its text never reveals anything about this host.
func errorPacket(err error) []byte {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return appendError(nil, refused.code, refused.text)
	case outcome(err) == Failed && !errors.Is(err, errSilent):
		return appendError(nil, codeUndefined, "internal error")
	}
	return nil
}

// outcome classifies the error that a transfer ended with.
func outcome(err error) Outcome {
	var refused *refusal
	switch {
	case err == nil:
		return Sent
	case errors.As(err, &refused):
		return refused.outcome
	case errors.As(err, new(*clientError)), errors.Is(err, syscall.ECONNREFUSED),
		errors.Is(err, errReplaced), errors.Is(err, context.Canceled):
		return Aborted
	}
	return Failed
}

func (t *transfer) report(err error) {
	done := Transfer{
		Client:  t.client.Addr(),
		Port:    t.client.Port(),
		Request: t.req.packet,
		File:    t.req.name,
		Bytes:   t.sent(),
		Took:    time.Since(t.started),
		Outcome: outcome(err),
		Err:     err,
	}
	if errors.Is(err, errSilent) {
		done.Block, done.Blocks = max(t.acked, 0), t.last
		if t.acked > 0 || t.oack != nil && t.acked == 0 {
			done.Block++
		}
	}
	if name, ok := cleanName(t.req.name); ok && done.Outcome != Refused {
		done.File = name
	}
	t.server.stats.of(done.Outcome).Add(1)
	t.server.stats.bytes.Add(uint64(done.Bytes))
	log := t.server.log().With("addr", done.Client, "file", done.File, "bytes", done.Bytes, "took", done.Took)
	if done.Outcome == Failed {
		log.Warn("transfer failed", "err", err)
	} else {
		log.Debug("transfer done", "outcome", done.Outcome, "err", err)
	}
	if t.server.OnDone != nil {
		t.server.OnDone(done)
	}
}
