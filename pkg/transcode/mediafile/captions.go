package mediafile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Captions are in the video itself: ATSC A/53 part 4 §6.2.3 has the message, in SEI of
// H.264 and H.265 and in the user data of MPEG-2, CTA-608 and CTA-708 what is in it.

// captionsBegin begins a message with captions: user_identifier and user_data_type_code.
const captionsBegin = "GA94\x03"

const (
	// captionMessage is more than a message has: 31 triples, and what keeps them from
	// looking like a start code.
	captionMessage = 160
	captionsBlock  = 64 << 10
	// repeated is how often a control code is there if it is none by chance.
	repeated = 2
)

// ReadCaptions returns which channels (CC1 to CC4) and services (SERVICE1 to SERVICE6)
// the captions in a stream of video have, and whether there is a message for captions at all.
// It reads to the end.
func ReadCaptions(r io.Reader) (names []string, some bool, err error) {
	seen := map[string]int{}
	var window []byte
	block := make([]byte, captionsBlock)
	for {
		n, err := io.ReadFull(r, block)
		window = append(window, block[:n]...)
		last := err != nil
		used := scanCaptions(window, last, seen)
		window = append(window[:0], window[used:]...)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return captionNames(seen), len(seen) > 0, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("reading captions: %w", err)
		}
	}
}

// scanCaptions counts what the messages in data have, and returns how many bytes of it are
// done with. last says that no more follow.
func scanCaptions(data []byte, last bool, seen map[string]int) int {
	at := 0
	for {
		i := bytes.Index(data[at:], []byte(captionsBegin))
		if i < 0 {
			return max(at, len(data)-len(captionsBegin)+1)
		}
		at += i
		end := min(at+captionMessage, len(data))
		if end == len(data) && !last && end-at < captionMessage {
			return at
		}
		countCaptions(data[at+len(captionsBegin):end], seen)
		at += len(captionsBegin)
	}
}

// countCaptions counts what one message has (A/53 part 4, table 6.9).
func countCaptions(message []byte, seen map[string]int) {
	message = bytes.ReplaceAll(message, []byte{0, 0, 3}, []byte{0, 0})
	if len(message) < 2 || message[0]&0x40 == 0 {
		return
	}
	seen[""]++
	count := int(message[0] & 0x1f)
	for triple := message[2:]; count > 0 && len(triple) >= 3; count, triple = count-1, triple[3:] {
		if name := captionOf(triple[0], triple[1], triple[2]); name != "" {
			seen[name]++
		}
	}
}

// captionOf returns the channel or service that a triple is about, if it says so.
func captionOf(marker, first, second byte) string {
	if marker&0xfc != 0xfc { // marker bits, and valid
		return ""
	}
	switch kind := marker & 3; {
	case kind < 2 && first&0x70 == 0x10: // a control code of a field of CTA-608
		return fmt.Sprintf("CC%d", 1+2*kind+first>>3&1)
	case kind == 3 && second>>5 > 0 && second>>5 < 7 && second&0x1f > 0: // a packet of CTA-708 with its first block
		return fmt.Sprintf("SERVICE%d", second>>5)
	}
	return ""
}

func captionNames(seen map[string]int) []string {
	var names []string
	for name, n := range seen {
		if name != "" && n >= repeated {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
