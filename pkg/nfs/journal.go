package nfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

// A journal records which calls were started and how they were answered, so that
// a client that repeats a call after the server was killed gets the reply that it
// missed, and not, for example, that the file it removed does not exist.
//
// It is a file of slots, used in turn and written without syncing: the kernel
// keeps what a killed process has written, and a power cut loses only replies to
// calls that were running then. What is read back is checked, and a client's
// calls are looked up under its own address only.
type journal struct {
	file *os.File

	mu    sync.Mutex
	next  int
	seq   uint64
	known map[journalKey]journalEntry // of former processes
}

type journalKey struct {
	client netip.Addr
	rpc.ReplayKey
}

// A journalEntry is what was known of a call when its process ended.
type journalEntry struct {
	begun unix.StatxTimestamp // by the clock that files' times are from
	out   []byte              // the reply; nil: it was not answered
}

// Where what is in a slot.
const (
	slotSize     = 512
	journalSlots = 4096
	journalMagic = "pibootd's NFS calls, form 1\n" // in the first slot

	slotSum   = 0 // CRC-32 of the rest
	slotSeq   = 4
	slotBegun = 12
	slotAddr  = 28
	slotCall  = 32 // xid, program, procedure, size of the arguments
	slotArgs  = 48 // their sum
	slotLen   = slotArgs + rpc.ReplaySumSize
	slotReply = slotLen + 2
)

// openJournal opens the file, or creates it. It empties a file that is not a
// journal.
func openJournal(name string) (*journal, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nfs: opening the journal of calls: %w", err)
	}
	j := &journal{file: file, known: map[journalKey]journalEntry{}}
	content, err := io.ReadAll(io.LimitReader(file, (journalSlots+1)*slotSize))
	if err == nil {
		err = j.load(content)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("nfs: reading the journal of calls %s: %w", name, err), file.Close())
	}
	return j, nil
}

func (j *journal) load(content []byte) error {
	head := make([]byte, slotSize)
	copy(head, journalMagic)
	if len(content) < slotSize || string(content[:slotSize]) != string(head) {
		if err := j.file.Truncate(0); err != nil {
			return err
		}
		_, err := j.file.WriteAt(head, 0)
		return err
	}
	for i, rest := 0, content[slotSize:]; len(rest) > 0; i++ {
		slot := rest[:min(slotSize, len(rest))]
		rest = rest[len(slot):]
		seq, key, entry, ok := parseSlot(slot)
		if !ok {
			continue
		}
		j.known[key] = entry
		if seq >= j.seq {
			j.seq, j.next = seq, (i+1)%journalSlots
		}
	}
	return nil
}

func parseSlot(s []byte) (seq uint64, key journalKey, entry journalEntry, ok bool) {
	if len(s) < slotReply {
		return 0, key, entry, false
	}
	n := int(binary.BigEndian.Uint16(s[slotLen:]))
	if slotReply+n > len(s) || crc32.ChecksumIEEE(s[slotSeq:slotReply+n]) != binary.BigEndian.Uint32(s) {
		return 0, key, entry, false
	}
	key.client = netip.AddrFrom4([4]byte(s[slotAddr:]))
	key.XID, key.Program = binary.BigEndian.Uint32(s[slotCall:]), binary.BigEndian.Uint32(s[slotCall+4:])
	key.Procedure, key.Size = binary.BigEndian.Uint32(s[slotCall+8:]), binary.BigEndian.Uint32(s[slotCall+12:])
	copy(key.Sum[:], s[slotArgs:])
	entry.begun.Sec, entry.begun.Nsec = int64(binary.BigEndian.Uint64(s[slotBegun:])), binary.BigEndian.Uint32(s[slotBegun+8:])
	if n > 0 {
		entry.out = append([]byte(nil), s[slotReply:slotReply+n]...)
	}
	return binary.BigEndian.Uint64(s[slotSeq:]), key, entry, true
}

// A journaled is a call that the journal records. The zero value is a call that
// it does not record.
type journaled struct {
	journal *journal
	at      int64 // the slot's place in the file
	slot    []byte
}

// begin records that a call is running, or returns the reply of an earlier process
// that has answered it. If an earlier process started the call and was killed,
// again is when it started. j may be nil.
func (j *journal) begin(client netip.Addr, call rpc.ReplayKey) (running journaled, again *unix.StatxTimestamp, out []byte) {
	if j == nil || !client.Is4() {
		return journaled{}, nil, nil
	}
	var clock unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &clock) // fails for clocks that do not exist
	now := unix.StatxTimestamp{Sec: int64(clock.Sec), Nsec: uint32(clock.Nsec)}
	key := journalKey{client, call}
	j.mu.Lock()
	defer j.mu.Unlock()
	if entry, ok := j.known[key]; ok {
		delete(j.known, key)
		if entry.out != nil {
			return journaled{}, nil, entry.out
		}
		again, now = &entry.begun, entry.begun
	}
	j.seq++
	running = journaled{journal: j, at: int64(j.next+1) * slotSize, slot: newSlot(j.seq, key, now)}
	j.next = (j.next + 1) % journalSlots
	return running, again, nil
}

func newSlot(seq uint64, key journalKey, begun unix.StatxTimestamp) []byte {
	s := make([]byte, slotReply, slotSize)
	binary.BigEndian.PutUint64(s[slotSeq:], seq)
	binary.BigEndian.PutUint64(s[slotBegun:], uint64(begun.Sec))
	binary.BigEndian.PutUint32(s[slotBegun+8:], begun.Nsec)
	client := key.client.As4()
	copy(s[slotAddr:], client[:])
	for i, v := range []uint32{key.XID, key.Program, key.Procedure, key.Size} {
		binary.BigEndian.PutUint32(s[slotCall+4*i:], v)
	}
	copy(s[slotArgs:], key.Sum[:])
	return s
}

// write writes the slot to the file, with out as the reply, which is nil until
// there is one. Replies longer than the slot are not kept.
func (r journaled) write(out []byte) error {
	if r.journal == nil || len(out) > slotSize-slotReply {
		return nil
	}
	binary.BigEndian.PutUint16(r.slot[slotLen:], uint16(len(out)))
	slot := append(r.slot, out...)
	binary.BigEndian.PutUint32(slot, crc32.ChecksumIEEE(slot[slotSeq:]))
	if _, err := r.journal.file.WriteAt(slot, r.at); err != nil {
		return fmt.Errorf("writing the journal of calls: %w", err)
	}
	return nil
}
