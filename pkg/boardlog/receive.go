package boardlog

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
)

// A Format is what arrives at a port.
type Format int

// The formats.
const (
	FormatSyslog Format = iota
	FormatNetconsole
)

// A Receiver takes the logs of boards from UDP sockets. Set its fields before Serve.
type Receiver struct {
	Log *Log
	// Board returns the board that has an address; others are not heard.
	Board func(netip.Addr) (board string, ok bool)

	ignored atomic.Int64
}

// Ignored returns how many datagrams came from addresses that are no board's.
func (r *Receiver) Ignored() int64 { return r.ignored.Load() }

const (
	maxDatagram = 64 << 10
	// readBatch is how many datagrams one system call reads, so that a flood costs little.
	readBatch = 32
)

// Serve takes datagrams from conn until ctx ends, and returns nil. It returns an error only if
// conn itself fails. Serve does not close conn.
func (r *Receiver) Serve(ctx context.Context, conn *net.UDPConn, format Format) error {
	ctx, cancel := context.WithCancel(ctx)
	var a assembler
	var started sync.WaitGroup
	defer started.Wait()
	defer cancel()
	started.Go(func() {
		<-ctx.Done()
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	})
	if format == FormatNetconsole {
		started.Go(func() { r.completeLate(ctx, &a) })
	}
	packets := ipv4.NewPacketConn(conn)
	batch := make([]ipv4.Message, readBatch)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, maxDatagram)}
	}
	for {
		n, err := packets.ReadBatch(batch, 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("boardlog: reading: %w", err)
		}
		for _, m := range batch[:n] {
			from := m.Addr.(*net.UDPAddr).AddrPort().Addr().Unmap()
			r.receive(from, m.Buffers[0][:m.N], format, &a)
		}
	}
}

// receive adds the lines of a datagram to the log, if a board has sent it.
func (r *Receiver) receive(from netip.Addr, datagram []byte, format Format, a *assembler) {
	board, ok := r.Board(from)
	if !ok {
		r.ignored.Add(1)
		return
	}
	if format == FormatNetconsole {
		r.Log.Add(board, a.add(board, string(datagram), time.Now())...)
		return
	}
	r.Log.Add(board, parseSyslog(string(datagram))...)
}

// completeLate adds parts of lines whose end does not come.
func (r *Receiver) completeLate(ctx context.Context, a *assembler) {
	tick := time.NewTicker(pieceWait)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for board, lines := range a.late(now) {
				r.Log.Add(board, lines...)
			}
		case <-ctx.Done():
			return
		}
	}
}
