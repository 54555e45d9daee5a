package tftp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxTransferTime bounds a transfer as a whole, so that a client that
	// acknowledges a block now and then cannot keep it for ever.
	maxTransferTime = 10 * time.Minute

	// repeatGrace is how long after the client's first ACK a request may still
	// be read that it sent before it: they come by different sockets.
	repeatGrace = 500 * time.Millisecond

	// readAhead bounds how much of a file is read at once.
	readAhead = 64 << 10
)

// errReplaced ends a transfer whose client has sent another request from the
// same port.
var errReplaced = errors.New("client sent another request from the same port")

// A transfer answers one request.
type transfer struct {
	sender
	server  *Server
	client  netip.AddrPort
	req     request
	cancel  context.CancelCauseFunc
	started time.Time
}

// starting reports whether the client may have sent the request again before
// it saw the answer.
func (t *transfer) starting() bool {
	heard := t.heard.Load()
	return heard == 0 || time.Since(time.Unix(0, heard)) < repeatGrace
}

// run makes the transfer and closes its socket.
func (t *transfer) run(ctx context.Context) error {
	defer t.cancel(nil)
	ctx, stop := context.WithTimeout(ctx, maxTransferTime)
	defer stop()
	interrupt := context.AfterFunc(ctx, func() { _ = t.conn.Close() })
	err := t.answer(ctx)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if p := farewell(err); p != nil {
		_, _ = t.conn.Write(p) // best effort: a lost ERROR is not sent again (RFC 1350 §7)
	}
	if interrupt() {
		_ = t.conn.Close()
	}
	return err
}

// answer sends the file. A panic, which can only come from the Source, costs
// this transfer and not the server.
func (t *transfer) answer(ctx context.Context) (err error) {
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
	file, size, err := t.server.Source.Open(ctx, t.client.Addr(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return &refusal{Missing, codeNotFound, "file not found"}
	}
	if err != nil {
		return fmt.Errorf("opening %q: %w", name, err)
	}
	defer file.Close()
	mtu, err := pathMTU(t.conn)
	if err != nil {
		return err
	}
	t.start(bufio.NewReaderSize(file, int(min(size, readAhead))), size, agree(t.req.options, size, mtu, t.server.retransmit()))
	return t.send()
}

// farewell returns the ERROR that tells the client of err, or nil if it need
// not or must not be told. The text never says anything of this host.
func farewell(err error) []byte {
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
		File:    t.req.name,
		Bytes:   t.sent(),
		Took:    time.Since(t.started),
		Outcome: outcome(err),
		Err:     err,
	}
	if name, ok := cleanName(t.req.name); ok && done.Outcome != Refused {
		done.File = name
	}
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

// pathMTU returns the largest IPv4 packet that conn sends without fragments.
func pathMTU(conn *net.UDPConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("reading the path's MTU: %w", err)
	}
	var mtu int
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		mtu, sockErr = unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU)
	}); err != nil {
		return 0, fmt.Errorf("reading the path's MTU: %w", err)
	}
	if sockErr != nil {
		return 0, fmt.Errorf("reading the path's MTU: %w", sockErr)
	}
	return mtu, nil
}
