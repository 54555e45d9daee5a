package disk

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// Offsets and values of a FAT directory entry.
const (
	fatAttrAt     = 11
	fatSumAt      = 13 // of a piece of a long name
	fatFirstHiAt  = 20
	fatTimeAt     = 22
	fatDateAt     = 24
	fatFirstLoAt  = 26
	fatSizeAt     = 28
	fatDeleted    = 0xe5
	fatAttrLong   = 0x0f
	fatAttrLabel  = 0x08
	fatAttrDir    = 0x10
	fatLongLast   = 0x40
	fatShortBytes = 11
	fatBaseBytes  = 8
	fatMaxPieces  = 20 // 255 characters, 13 to a piece
)

// parseFATDir reads the entries of a directory, without "." and "..".
func parseFATDir(raw []byte) ([]Entry, error) {
	var entries []Entry
	var long longName
	for ; len(raw) >= fatEntryBytes && raw[0] != 0; raw = raw[fatEntryBytes:] {
		entry := raw[:fatEntryBytes]
		switch {
		case entry[0] == fatDeleted:
			long = longName{}
			continue
		case entry[fatAttrAt]&fatAttrLong == fatAttrLong:
			long.add(entry)
			continue
		}
		e := parseFATEntry(entry, long.text(entry))
		long = longName{}
		if entry[fatAttrAt]&fatAttrLabel != 0 || e.Name == "." || e.Name == ".." {
			continue
		}
		if e.Name == "" || strings.ContainsAny(e.Name, "/\x00") {
			return nil, fmt.Errorf("entry %q: not a name: the FAT is damaged", e.Name)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseFATEntry(entry []byte, long string) Entry {
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(entry[at:]) }
	e := Entry{
		Name:     long,
		Dir:      entry[fatAttrAt]&fatAttrDir != 0,
		Modified: fatTime(u16(fatDateAt), u16(fatTimeAt)),
		first:    uint32(u16(fatFirstHiAt))<<16 | uint32(u16(fatFirstLoAt)),
	}
	if e.Name == "" {
		e.Name = shortName(entry[:fatShortBytes])
	}
	if !e.Dir {
		e.size = int64(binary.LittleEndian.Uint32(entry[fatSizeAt:]))
	}
	return e
}

// shortName returns the name in lower case, because the firmware asks TFTP for
// lower-case names.
func shortName(raw []byte) string {
	base := strings.TrimRight(string(raw[:fatBaseBytes]), " ")
	if extension := strings.TrimRight(string(raw[fatBaseBytes:]), " "); extension != "" {
		base += "." + extension
	}
	return strings.ToLower(strings.ToValidUTF8(base, "_"))
}

// fatTime converts a time of an entry, which has no time zone, as if it were UTC.
func fatTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&0xf), int(date&0x1f),
		int(clock>>11), int(clock>>5&0x3f), int(clock&0x1f)*2, 0, time.UTC)
}

// A longName collects the pieces of a long name. They precede the entry that they
// belong to, the last piece first.
type longName struct {
	units []uint16
	next  byte // the number that the next piece must have
	sum   byte
}

func (l *longName) add(entry []byte) {
	number := entry[0] &^ fatLongLast
	if entry[0]&fatLongLast != 0 {
		*l = longName{next: number, sum: entry[fatSumAt]}
	}
	if number == 0 || number > fatMaxPieces || number != l.next || entry[fatSumAt] != l.sum {
		*l = longName{}
		return
	}
	var piece []uint16
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		unit := binary.LittleEndian.Uint16(entry[at:])
		if unit == 0 {
			break
		}
		piece = append(piece, unit)
	}
	l.units = append(piece, l.units...)
	l.next--
}

// text returns the long name if it is complete and belongs to entry, else "".
func (l *longName) text(entry []byte) string {
	var sum byte
	for _, b := range entry[:fatShortBytes] {
		sum = sum>>1 | sum<<7
		sum += b
	}
	if l.next != 0 || sum != l.sum {
		return ""
	}
	return string(utf16.Decode(l.units))
}
