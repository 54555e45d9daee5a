package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
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
// 1 and do not wrap; only their low 16 bits are sent. Block 0 is the OACK.
type sender struct {
	terms
	conn *net.UDPConn // connected to the client
	file io.Reader
	size int64 // bytes in file, as the client was told

	acked int64    // last block that the client has acknowledged; -1: none, not even the OACK
	next  int64    // block to transmit next
	read  int64    // last block read from file
	last  int64    // the file's last block
	slots [][]byte // packets from acked+1 to read, at their block modulo window

	// repeated is whether the blocks after acked were transmitted more than
	// once for another reason than silence.
	repeated bool

	// heard is when the client's first ACK came, in Unix nanoseconds; 0: none
	// yet. Other goroutines read it.
	heard atomic.Int64
}

// start readies s to send size bytes of file by the given terms.
func (s *sender) start(file io.Reader, size int64, t terms) {
	s.terms, s.file, s.size = t, file, size
	s.slots = make([][]byte, t.window)
	// A file that fills its last block is ended by an empty one (RFC 1350 §6).
	s.last = size/int64(t.block) + 1
	s.acked, s.next = 0, 1
	if t.oack != nil {
		s.acked, s.next = -1, 0
	}
}

// send transmits until the client has acknowledged the last block.
func (s *sender) send() error {
	retries := 0
	for s.acked < s.last {
		if err := s.transmit(); err != nil {
			return err
		}
		moved, err := s.await()
		if err != nil {
			return err
		}
		if moved {
			retries = 0
			continue
		}
		retries++
		if retries > maxRetries {
			return fmt.Errorf("waiting for an ACK of block %d of %d: %w", s.acked+1, s.last, errSilent)
		}
		s.next = s.acked + 1
	}
	return nil
}

// transmit sends the blocks from next to the end of the window.
func (s *sender) transmit() error {
	end := min(s.acked+int64(s.window), s.last)
	if s.acked < 0 {
		end = 0
	}
	for ; s.next <= end; s.next++ {
		packet, err := s.packet(s.next)
		if err != nil {
			return err
		}
		if _, err := s.conn.Write(packet); err != nil {
			return fmt.Errorf("sending block %d: %w", s.next, err)
		}
	}
	return nil
}

// packet returns block n, which is in the window.
func (s *sender) packet(n int64) ([]byte, error) {
	if n == 0 {
		return s.oack, nil
	}
	slot := &s.slots[n%int64(s.window)]
	if n <= s.read {
		return *slot, nil
	}
	length := min(int64(s.block), s.size-(n-1)*int64(s.block))
	if *slot == nil {
		*slot = make([]byte, headerLen+length)
	}
	// Only the last block is shorter, and no other will follow it here.
	*slot = (*slot)[:headerLen+length]
	binary.BigEndian.PutUint16(*slot, opData)
	binary.BigEndian.PutUint16((*slot)[2:], uint16(n))
	if _, err := io.ReadFull(s.file, (*slot)[headerLen:]); err != nil {
		// A file that became shorter must not look complete to the client.
		return nil, fmt.Errorf("reading block %d of %d: %w", n, s.last, err)
	}
	s.read = n
	return *slot, nil
}

// await reads until the client answers in a way that calls for transmission.
// moved is false if it did not within the timeout.
func (s *sender) await() (moved bool, err error) {
	// Set once, so that a chatty client cannot put the retransmission off.
	if err := s.conn.SetReadDeadline(time.Now().Add(s.timeout)); err != nil {
		return false, fmt.Errorf("waiting for an ACK: %w", err)
	}
	var buf [headerLen + defaultBlock]byte
	for {
		n, err := s.conn.Read(buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("waiting for an ACK: %w", err)
		}
		block, ok, err := parseReply(buf[:n])
		if err != nil {
			return false, err
		}
		if ok && s.ack(block) {
			return true, nil
		}
	}
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
	s.heard.CompareAndSwap(0, time.Now().UnixNano())
	return true
}

// sent returns how many bytes of the file the client has acknowledged.
func (s *sender) sent() int64 {
	return min(max(s.acked, 0)*int64(s.block), s.size)
}
