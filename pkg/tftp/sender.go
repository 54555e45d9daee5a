package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
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
	socket socket
	file   chunks

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

// transmit sends the blocks from next to the end of the window.
func (s *sender) transmit(l *loop) error {
	s.deadline = l.now.Add(s.timeout)
	end := min(s.acked+int64(s.window), s.last)
	if s.acked < 0 {
		end = 0
	}
	for ; s.next <= end; s.next++ {
		packet, ok := s.packet(l.out[:0], s.next)
		if !ok {
			s.starved = true
			return nil
		}
		l.out = packet
		err := s.socket.send(packet)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
			continue // it is lost, as on a full network
		}
		if err != nil {
			return fmt.Errorf("sending block %d: %w", s.next, err)
		}
	}
	return nil
}

// packet appends block n, which is in the window, to p. ok is false if it is
// not read yet.
func (s *sender) packet(p []byte, n int64) (packet []byte, ok bool) {
	if n == 0 {
		return append(p, s.oack...), true
	}
	data, ok := s.file.data(n)
	p = binary.BigEndian.AppendUint16(p, opData)
	p = binary.BigEndian.AppendUint16(p, uint16(n))
	return append(p, data...), ok
}

// resume continues after the wait for a block.
func (s *sender) resume(l *loop) error {
	if err := s.file.accept(); err != nil {
		return fmt.Errorf("after block %d of %d: %w", s.next-1, s.last, err)
	}
	if !s.starved {
		return nil
	}
	s.starved = false
	return s.transmit(l)
}

// received takes what the client sent. The clock runs on unless there is
// something to transmit: a chatty client cannot put a retransmission off.
func (s *sender) received(l *loop, p []byte) error {
	block, ok, err := parseReply(p)
	if err != nil || !ok {
		return err
	}
	before := s.acked
	if !s.ack(block) {
		return nil
	}
	if s.acked > before {
		s.retries = 0
		s.heard.Store(l.now.UnixNano())
		s.file.pass(s.acked)
	}
	s.starved = false
	return s.transmit(l)
}

// onTimeout sends the window again to a client that has not answered in time.
func (s *sender) onTimeout(l *loop) error {
	s.retries++
	if s.retries > maxRetries {
		return fmt.Errorf("waiting for an ACK of block %d of %d: %w", s.acked+1, s.last, errSilent)
	}
	s.next = s.acked + 1
	return s.transmit(l)
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

// sent returns how many bytes of the file the client has acknowledged.
func (s *sender) sent() int64 {
	return min(max(s.acked, 0)*int64(s.block), s.file.size)
}
