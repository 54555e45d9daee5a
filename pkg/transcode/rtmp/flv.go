package rtmp

import (
	"bytes"
	"encoding/binary"
	"io"
)

// An flvWriter writes what a client publishes as FLV (Video File Format 10.1, Annex E).
// What another reader needs to begin, it keeps.
type flvWriter struct {
	to Publication

	last                   io.Writer // that has the beginning
	waits                  bool      // last gets nothing before a key frame
	metadata, video, audio []byte    // tags: of the metadata, and of what decoders need first
}

// flvHeader announces video and sound, so that readers wait for both, if only for a while.
var flvHeader = []byte{'F', 'L', 'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0}

// write passes a message on. It returns an error if the publication has ended.
func (f *flvWriter) write(m message) error {
	if m.kind == typeData {
		name := appendString(nil, "@setDataFrame")
		m.body = bytes.TrimPrefix(m.body, name)
	}
	if len(m.body) == 0 {
		return nil
	}
	tag := appendTag(nil, m)
	config := f.keep(m, tag)
	w, err := f.to.Writer()
	if err != nil || w == nil {
		f.last = nil
		return err
	}
	if w != f.last {
		f.last, f.waits = w, f.video != nil && !config
		_, _ = w.Write(bytes.Join([][]byte{flvHeader, f.metadata, f.video, f.audio}, nil))
		if config {
			return nil
		}
	}
	if f.waits && !config && !isKey(m) {
		return nil
	}
	f.waits = f.waits && !isKey(m)
	_, _ = w.Write(tag) // if it is gone, there will be another one
	return nil
}

// keep keeps a tag that others need. It reports whether it is one.
func (f *flvWriter) keep(m message, tag []byte) bool {
	switch {
	case m.kind == typeData:
		f.metadata = tag
	case m.kind == typeVideo && isVideoConfig(m.body):
		f.video = tag
	case m.kind == typeAudio && isAudioConfig(m.body):
		f.audio = tag
	default:
		return false
	}
	return true
}

// isVideoConfig reports whether video is what a decoder needs first: of codecs with a number
// H.264 has it, of those with a name (Enhanced RTMP) all.
func isVideoConfig(b []byte) bool {
	if b[0]&0x80 != 0 {
		return b[0]&0x0f == 0
	}
	return b[0]&0x0f == 7 && len(b) > 1 && b[1] == 0
}

func isAudioConfig(b []byte) bool {
	switch b[0] >> 4 {
	case 10: // AAC
		return len(b) > 1 && b[1] == 0
	case 9: // with a name
		return b[0]&0x0f == 0
	}
	return false
}

// isKey reports whether a message has a key frame.
func isKey(m message) bool { return m.kind == typeVideo && m.body[0]>>4&7 == 1 }

func appendTag(b []byte, m message) []byte {
	b = putUint24(append(b, m.kind), uint32(len(m.body)))
	b = append(putUint24(b, m.timestamp&0xffffff), byte(m.timestamp>>24), 0, 0, 0)
	b = append(b, m.body...)
	return binary.BigEndian.AppendUint32(b, uint32(11+len(m.body)))
}
