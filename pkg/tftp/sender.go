package tftp

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

// maxRetries bounds how often a window is sent again before the client is
// taken for gone: with the default of 1 s, well inside the 30 s that boot code
// gives a file.
const maxRetries = 8

// errSilent ends a transfer whose client does not answer.
var errSilent = fmt.Errorf("no answer to %d retransmissions", maxRetries)

// A sender sends one file to one client, a window of blocks at a time (RFC
// 7440; a window of one block is RFC 1350's lockstep). Blocks are counted from
// 1 and do not wrap; only their low 16 bits are sent. Block 0 is the OACK. It
// waits for nothing: a loop calls it when there is something to do.
type sender struct {
	terms
	file chunks

	acked    int64     // last block that the client has acknowledged; -1: none, not even the OACK
	next     int64     // block to transmit next
	last     int64     // the file's last block
	deadline time.Time // when what was transmitted is taken for lost
	retries  int
	starved  bool // the block to transmit next is still to be read

	// repeated is whether the blocks after acked were transmitted more than
	// once for another reason than silence.
	repeated bool

	// heard is when the client last acknowledged something new, in Unix
	// nanoseconds; 0: not yet. Other goroutines read it.
	heard atomic.Int64
}

// start readies s to send size bytes by the given terms.
func (s *sender) start(size int64, t terms) {
	s.terms = t
	// A file that fills its last block is ended by an empty one (RFC 1350 §6).
	s.last = size/int64(t.block) + 1
	s.acked, s.next = 0, 1
	if t.oack != nil {
		s.acked, s.next = -1, 0
	}
}

// complete reports whether the client has acknowledged the last block.
func (s *sender) complete() bool { return s.acked >= s.last }

// sent returns how many bytes of the file the client has acknowledged.
func (s *sender) sent() int64 {
	return min(max(s.acked, 0)*int64(s.block), s.file.size)
}

// received takes what the client sent, and sends what it may have next. The
// clock runs on unless there is something to transmit: a chatty client cannot
// put a retransmission off.
func (t *transfer) received(l *loop, packet []byte) error {
	block, ok, err := parseReply(packet)
	if err != nil || !ok {
		return err
	}
	before := t.acked
	if !t.ack(block) {
		return nil
	}
	if t.acked > before {
		t.retries = 0
		t.heard.Store(l.now.UnixNano())
		t.file.pass(t.acked)
		t.readAhead(l)
	}
	t.transmit(l)
	return nil
}

// ack takes an ACK and reports whether there is something to transmit.
func (s *sender) ack(block uint16) bool {
	ahead := int64(block - uint16(s.acked)) // modulo 65536: block numbers roll over to 0
	inFlight := s.next - 1 - s.acked
	if ahead > inFlight {
		return false
	}
	if ahead == 0 {
		// In lockstep a repeated ACK is a duplicate, and answering it would
		// double every packet from here on (RFC 1123 §4.2.3.1). In a wider
		// window it says that the first block was lost (RFC 7440 §4): repeat
		// the window, but only once, for the same reason.
		if s.window == 1 || s.repeated {
			return false
		}
		s.repeated = true
		s.next = s.acked + 1
		return true
	}
	// Blocks behind a lost one are dropped by the client: go back to it.
	s.repeated = ahead < inFlight
	s.acked += ahead
	s.next = s.acked + 1
	return true
}

// transmit sends the blocks from next to the end of the window.
func (t *transfer) transmit(l *loop) {
	t.deadline, t.starved = l.now.Add(t.timeout), false
	if t.acked < 0 {
		l.put(t, [headerLen]byte(t.oack), t.oack[headerLen:])
		t.next = 1
		return
	}
	for end := min(t.acked+int64(t.window), t.last); t.next <= end; t.next++ {
		data, ok := t.file.data(t.next)
		if !ok {
			t.starved = true
			return
		}
		header := [headerLen]byte{1: opData}
		binary.BigEndian.PutUint16(header[2:], uint16(t.next))
		l.put(t, header, data)
	}
}

// readAhead has the next chunk of the file read if it is time for that: at once
// what is in memory, the rest by a goroutine. Until that has ended, the transfer
// counts towards its client's limit, so that a disk that hangs does not collect
// waiting transfers.
func (t *transfer) readAhead(l *loop) {
	if !t.file.wantsMore() {
		return
	}
	read := t.file.readNext()
	if read == nil {
		return
	}
	t.listener.started.Go(func() {
		if read() {
			l.chunkRead(t)
		} else {
			t.listener.release(t.client.Addr())
		}
	})
}

// resume continues after the wait for a chunk of the file.
func (t *transfer) resume(l *loop) error {
	if err := t.file.accept(); err != nil {
		return fmt.Errorf("after block %d of %d: %w", t.next-1, t.last, err)
	}
	t.readAhead(l)
	if t.starved {
		t.transmit(l)
	}
	return nil
}

// onTimeout sends the window again to a client that has not answered in time.
func (t *transfer) onTimeout(l *loop) error {
	t.retries++
	if t.retries > maxRetries {
		return fmt.Errorf("waiting for an ACK of block %d of %d: %w", t.acked+1, t.last, errSilent)
	}
	t.next = t.acked + 1
	t.transmit(l)
	return nil
}
