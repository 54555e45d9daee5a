package rtmp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of what a client sends.
const (
	maxMessage      = 8 << 20  // bytes: a key frame
	maxLoginMessage = 64 << 10 // bytes, until the client publishes
	maxChunkStreams = 32
)

// Message types (Real-Time Messaging Protocol 1.0 §5.4, §7.1).
const (
	typeChunkSize     = 1
	typeAbort         = 2
	typeAck           = 3
	typeControl       = 4
	typeWindow        = 5
	typePeerBandwidth = 6
	typeAudio         = 8
	typeVideo         = 9
	typeData          = 18 // AMF0
	typeCommand       = 20 // AMF0
)

// A message is a whole one, out of its chunks.
type message struct {
	kind      byte
	stream    uint32 // message stream
	timestamp uint32 // milliseconds
	body      []byte
}

// A chunkReader puts messages together (§5.3.1).
type chunkReader struct {
	r       *bufio.Reader
	size    int // of a chunk, in bytes
	max     int // of a message, in bytes
	streams map[uint32]*chunkStream
	pending int // bytes of messages that are not complete
}

// A chunkStream has what its next chunk may leave out.
type chunkStream struct {
	message
	length   int
	delta    uint32
	extended bool // the time stamp is in four bytes of its own
	begun    bool // a message is not complete
}

func newChunkReader(r io.Reader) *chunkReader {
	return &chunkReader{r: bufio.NewReaderSize(r, 64<<10), size: 128, max: maxLoginMessage, streams: map[uint32]*chunkStream{}}
}

// message reads the next message. Those that concern chunks alone are obeyed here.
func (c *chunkReader) message() (message, error) {
	for {
		s, err := c.header()
		if err != nil {
			return message{}, err
		}
		n := min(c.size, s.length-len(s.body))
		if c.pending += n; c.pending > 2*c.max {
			return message{}, fmt.Errorf("more than %d bytes of messages that are not complete", 2*c.max)
		}
		at := len(s.body)
		s.body = append(s.body, make([]byte, n)...)
		if _, err := io.ReadFull(c.r, s.body[at:]); err != nil {
			return message{}, err
		}
		if len(s.body) < s.length {
			continue
		}
		m := s.message
		c.pending -= len(m.body)
		s.body, s.begun = nil, false
		if own, err := c.control(m); !own || err != nil {
			return m, err
		}
	}
}

// control obeys a message about chunks.
func (c *chunkReader) control(m message) (own bool, err error) {
	if m.kind != typeChunkSize && m.kind != typeAbort {
		return false, nil
	}
	if len(m.body) < 4 {
		return true, fmt.Errorf("%d bytes in a message of type %d; want 4", len(m.body), m.kind)
	}
	value := binary.BigEndian.Uint32(m.body)
	if m.kind == typeAbort {
		if s := c.streams[value]; s != nil {
			c.pending -= len(s.body)
			s.body, s.begun = nil, false
		}
		return true, nil
	}
	if value < 1 || value > 1<<31-1 {
		return true, fmt.Errorf("chunks of %d bytes; want 1 to %d", value, 1<<31-1)
	}
	c.size = int(min(value, maxMessage))
	return true, nil
}

// header reads what comes before the data of a chunk, and returns its stream.
func (c *chunkReader) header() (*chunkStream, error) {
	first, err := c.r.ReadByte()
	if err != nil {
		return nil, err
	}
	id, err := c.streamID(first & 0x3f)
	if err != nil {
		return nil, err
	}
	format := first >> 6
	s := c.streams[id]
	if s == nil {
		if format != 0 && format != 1 { // librtmp begins with the second
			return nil, fmt.Errorf("chunk stream %d begins with a header of type %d; want 0", id, format)
		}
		if len(c.streams) >= maxChunkStreams {
			return nil, fmt.Errorf("more than %d chunk streams", maxChunkStreams)
		}
		s = &chunkStream{}
		c.streams[id] = s
	}
	if s.begun && format != 3 {
		return nil, errors.New("a message begins before the one of its chunk stream is complete")
	}
	return s, c.fields(s, format)
}

// streamID reads the rest of a basic header (§5.3.1.1).
func (c *chunkReader) streamID(low byte) (uint32, error) {
	if low > 1 {
		return uint32(low), nil
	}
	var b [2]byte
	if _, err := io.ReadFull(c.r, b[:1+low]); err != nil {
		return 0, err
	}
	return uint32(b[0]) + uint32(b[1])<<8 + 64, nil
}

// fields reads a message header, whose type says what is left out (§5.3.1.2).
func (c *chunkReader) fields(s *chunkStream, format byte) error {
	var b [11]byte
	if _, err := io.ReadFull(c.r, b[:[4]int{11, 7, 3, 0}[format]]); err != nil {
		return err
	}
	stamp := s.delta
	if format < 3 {
		stamp = uint24(b[:])
		s.extended = stamp == 0xffffff
	}
	if format < 2 {
		s.length, s.kind = int(uint24(b[3:])), b[6]
		if s.length > c.max {
			return fmt.Errorf("a message of %d bytes; want %d at most", s.length, c.max)
		}
	}
	if format == 0 {
		s.stream = binary.LittleEndian.Uint32(b[7:])
	}
	if s.extended {
		if _, err := io.ReadFull(c.r, b[:4]); err != nil {
			return err
		}
		if format < 3 {
			stamp = binary.BigEndian.Uint32(b[:])
		}
	}
	switch {
	case s.begun: // the message continues
	case format == 0:
		s.timestamp, s.delta = stamp, 0
	default:
		s.timestamp, s.delta = s.timestamp+stamp, stamp
	}
	s.begun = true
	return nil
}

func uint24(b []byte) uint32 { return uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]) }

func putUint24(b []byte, v uint32) []byte { return append(b, byte(v>>16), byte(v>>8), byte(v)) }

// replyChunk is the size of the chunks that are sent, in bytes: no reply is longer.
const replyChunk = 4096

// appendMessage appends a message of one chunk, with the time stamp 0.
func appendMessage(b []byte, kind byte, stream uint32, body []byte) []byte {
	b = append(b, 3, 0, 0, 0) // chunk stream 3
	b = putUint24(b, uint32(len(body)))
	b = append(b, kind)
	b = binary.LittleEndian.AppendUint32(b, stream)
	return append(b, body...)
}
