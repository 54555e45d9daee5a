package mediafile

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
)

// A ProgramMap says which elementary streams a program of a transport stream has from
// some byte on (ISO 13818-1 §2.4.4.8).
type ProgramMap struct {
	// Bytes is where the latest program association begins before the map: what is read
	// from there on is known by this map.
	Bytes int64
	At    int64            // where the map begins
	Types map[uint16]uint8 // stream types (table 2-34) by PID
	// Complete says that the maps of all programs of the association were found.
	Complete bool
	// Sets has the latest sequence parameter set of each H.265 stream, as far as one was
	// found after a map that names the stream: its colors are in it.
	Sets map[uint16]string
}

const (
	// maxSection is the longest section of an association or a map.
	maxSection = 1024
	// maxMapPIDs bounds how many programs are followed.
	maxMapPIDs = 64
	// tableAssociation and tableMap are table identifiers.
	tableAssociation, tableMap = 0, 2
	// typeH265 is the stream type of H.265 (table 2-34).
	typeH265 = 0x24
	// maxHead is how much of a PES packet is searched for a parameter set: it is in one of
	// the first NAL units.
	maxHead = 1024
)

// ReadProgramMaps calls visit for each program map of a transport stream, and again when the
// sequence parameter set of an H.265 stream is another one, until it returns false or the
// stream ends. r begins at this offset of the stream, within a packet or not.
// Packets have 188 bytes, 192 (M2TS) or 204.
func ReadProgramMaps(r io.Reader, offset int64, visit func(ProgramMap) bool) error {
	s := mapScanner{sections: map[uint16]*section{0: {}}, found: map[uint16]bool{}, visit: visit, heads: map[uint16][]byte{}}
	buf, kept := make([]byte, 64<<10), 0
	for {
		n, err := io.ReadFull(r, buf[kept:])
		data := buf[:kept+n]
		used, more := s.packets(data, offset)
		if !more || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		kept = copy(buf, data[used:])
		offset += int64(used)
	}
}

// A mapScanner follows the tables of a transport stream.
type mapScanner struct {
	stride    int                 // bytes from packet to packet; 0: not known
	sections  map[uint16]*section // by PID: of the association and the maps
	found     map[uint16]bool     // PIDs of maps since the latest association that differs
	latest    int64               // where the latest association begins
	visit     func(ProgramMap) bool
	latestMap ProgramMap
	heads     map[uint16][]byte // beginnings of PES packets of H.265 by PID
}

// A section is what there is of one.
type section struct {
	at   int64 // where it begins in the stream
	data []byte
}

// packets reads the whole packets of data, which begins at offset. It returns how many
// bytes it has read, and whether more is wanted.
func (s *mapScanner) packets(data []byte, offset int64) (used int, more bool) {
	for {
		if s.stride == 0 || used < len(data) && data[used] != 0x47 {
			next := 0
			if next, s.stride = syncOf(data[used:]); s.stride == 0 {
				return max(used, len(data)-2*204), true
			}
			used += next
		}
		if used+s.stride > len(data) {
			return min(used, len(data)), true
		}
		if !s.packet(data[used:used+tsPacketBytes], offset+int64(used)) {
			return used, false
		}
		used += s.stride
	}
}

// syncOf returns where the first of three packets begins that follow on each other, and
// their distance; 0 if there are none.
func syncOf(data []byte) (first, stride int) {
	for first = range data {
		for _, stride := range []int{tsPacketBytes, 192, 204} {
			if data[first] == 0x47 && first+2*stride < len(data) && data[first+stride] == 0x47 && data[first+2*stride] == 0x47 {
				return first, stride
			}
		}
	}
	return 0, 0
}

// packet adds a packet to the section that it belongs to.
func (s *mapScanner) packet(p []byte, at int64) bool {
	pid := uint16(p[1]&0x1f)<<8 | uint16(p[2])
	table := s.sections[pid]
	if p[1]&0x80 != 0 || p[3]&0x10 == 0 {
		return true
	}
	payload := p[4:]
	if p[3]&0x20 != 0 {
		payload = payload[min(1+int(payload[0]), len(payload)):]
	}
	if s.latestMap.Types[pid] == typeH265 && table == nil {
		return s.head(pid, payload, p[1]&0x40 != 0)
	}
	if table == nil {
		return true
	}
	if p[1]&0x40 != 0 && len(payload) > 0 {
		payload = payload[min(1+int(payload[0]), len(payload)):]
		*table = section{at: at}
	} else if table.data == nil {
		return true // its beginning was not seen
	}
	table.data = append(table.data, payload...)
	data := table.data
	if len(data) < 3 {
		return true
	}
	size := 3 + int(data[1]&0xf)<<8 + int(data[2])
	if size > maxSection || len(data) < size {
		return true
	}
	begin := table.at
	*table = section{}
	return s.section(pid, begin, data[:size])
}

// section reads a whole section with its header of 8 bytes and its checksum.
func (s *mapScanner) section(pid uint16, at int64, data []byte) bool {
	if len(data) < 12 || data[5]&1 == 0 { // of later
		return true
	}
	body := data[8 : len(data)-4]
	switch {
	case pid == 0 && data[0] == tableAssociation:
		s.latest = at
		s.associate(body)
	case pid != 0 && data[0] == tableMap:
		s.found[pid] = true
		s.latestMap = ProgramMap{
			Bytes: s.latest, At: at, Types: streamTypes(body), Complete: len(s.found) >= len(s.sections)-1, Sets: s.latestMap.Sets,
		}
		return s.visit(s.latestMap)
	}
	return true
}

// head adds to the beginning of a PES packet of H.265 what a packet has of it, and calls visit
// if there is another sequence parameter set in it.
func (s *mapScanner) head(pid uint16, payload []byte, begins bool) bool {
	if begins {
		s.heads[pid] = s.heads[pid][:0]
	} else if n := len(s.heads[pid]); n == 0 || n >= maxHead {
		return true // its beginning was not seen, or has been searched
	}
	s.heads[pid] = append(s.heads[pid], payload...)
	set := parameterSet(s.heads[pid])
	if set == nil || s.latestMap.Sets[pid] == string(set) {
		return true
	}
	s.heads[pid] = s.heads[pid][:0]
	sets := maps.Clone(s.latestMap.Sets)
	if sets == nil {
		sets = map[uint16]string{}
	}
	sets[pid] = string(set)
	s.latestMap.Sets = sets
	return s.visit(s.latestMap)
}

// ParameterSet returns the sequence parameter set in the beginning of the first PES packet of
// H.265 with this PID that has one; "" if there is none. data begins anywhere in a transport
// stream.
func ParameterSet(data []byte, pid uint16) string {
	set := ""
	s := mapScanner{
		sections: map[uint16]*section{}, heads: map[uint16][]byte{}, latestMap: ProgramMap{Types: map[uint16]uint8{pid: typeH265}},
		visit: func(m ProgramMap) bool {
			set = m.Sets[pid]
			return false
		},
	}
	s.packets(data, 0)
	return set
}

// parameterSet returns the whole sequence parameter set that is in data of H.265 with start
// codes (ISO 23008-2 §7.4.2.2 and annex B); nil if there is none.
func parameterSet(data []byte) []byte {
	const kind = 33
	start := []byte{0, 0, 1}
	for {
		i := bytes.Index(data, start)
		if i < 0 || i+3 >= len(data) {
			return nil
		}
		data = data[i+3:]
		if end := bytes.Index(data, start); data[0]>>1&0x3f == kind && end > 0 {
			return bytes.TrimRight(data[:end], "\x00")
		}
	}
}

// associate follows the maps that an association names, and no others.
func (s *mapScanner) associate(body []byte) {
	named := map[uint16]*section{0: s.sections[0]}
	for ; len(body) >= 4 && len(named) <= maxMapPIDs; body = body[4:] {
		pid := uint16(body[2]&0x1f)<<8 | uint16(body[3])
		if program := uint16(body[0])<<8 | uint16(body[1]); program != 0 && pid != 0 {
			named[pid] = cmp.Or(s.sections[pid], &section{})
		}
	}
	for pid := range s.found {
		if named[pid] == nil {
			delete(s.found, pid)
		}
	}
	s.sections = named
}

// streamTypes reads a program map after its header.
func streamTypes(body []byte) map[uint16]uint8 {
	types := map[uint16]uint8{}
	if len(body) < 4 {
		return types
	}
	body = body[min(4+int(body[2]&0xf)<<8+int(body[3]), len(body)):]
	for len(body) >= 5 {
		types[uint16(body[1]&0x1f)<<8|uint16(body[2])] = body[0]
		body = body[min(5+int(body[3]&0xf)<<8+int(body[4]), len(body)):]
	}
	return types
}

// videoTypes are the stream types of video: MPEG-1, MPEG-2, MPEG-4, H.264, JPEG 2000,
// H.265, VVC, AVS and VC-1.
var videoTypes = []byte{0x01, 0x02, 0x10, 0x1b, 0x21, 0x24, 0x33, 0x42, 0xd2, 0xea}

// IsVideoType reports whether a stream type is one of video.
func IsVideoType(streamType uint8) bool { return bytes.IndexByte(videoTypes, streamType) >= 0 }
