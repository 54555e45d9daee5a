package rtmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Markers of AMF0 (Action Message Format 0 §2.1).
const (
	amfNumber     = 0
	amfBoolean    = 1
	amfString     = 2
	amfObject     = 3
	amfNull       = 5
	amfUndefined  = 6
	amfReference  = 7
	amfArray      = 8
	amfObjectEnd  = 9
	amfStrict     = 10
	amfDate       = 11
	amfLongString = 12
	amfXML        = 15
	amfTyped      = 16
)

const (
	maxDepth  = 8
	maxValues = 16 // of a command
)

var errShort = errors.New("AMF0 ends within a value")

// An amfValue is a number or a string; of others it says only that they are there.
type amfValue struct {
	marker byte
	number float64
	text   string
}

// readValues reads the values of a command.
func readValues(b []byte) ([]amfValue, error) {
	var list []amfValue
	for len(b) > 0 && len(list) < maxValues {
		v, rest, err := readValue(b, 0)
		if err != nil {
			return nil, err
		}
		list, b = append(list, v), rest
	}
	return list, nil
}

func readValue(b []byte, depth int) (v amfValue, rest []byte, err error) {
	if len(b) == 0 {
		return v, nil, errShort
	}
	if depth > maxDepth {
		return v, nil, fmt.Errorf("AMF0 has more than %d values within each other", maxDepth)
	}
	v.marker, b = b[0], b[1:]
	switch v.marker {
	case amfNumber:
		if len(b) < 8 {
			return v, nil, errShort
		}
		v.number = math.Float64frombits(binary.BigEndian.Uint64(b))
		return v, b[8:], nil
	case amfString:
		v.text, rest, err = readString(b, 2)
	case amfLongString, amfXML:
		v.text, rest, err = readString(b, 4)
	case amfBoolean:
		rest, err = skip(b, 1)
	case amfReference:
		rest, err = skip(b, 2)
	case amfDate:
		rest, err = skip(b, 10)
	case amfNull, amfUndefined:
		rest = b
	case amfObject, amfArray, amfStrict, amfTyped:
		rest, err = skipFields(v.marker, b, depth+1)
	default:
		err = fmt.Errorf("AMF0 has a value with the marker %d; want one of 0 to 16", v.marker)
	}
	return v, rest, err
}

// readString reads a string behind its length, which has this many bytes.
func readString(b []byte, lengthBytes int) (text string, rest []byte, err error) {
	if len(b) < lengthBytes {
		return "", nil, errShort
	}
	n := int64(0)
	for _, c := range b[:lengthBytes] {
		n = n<<8 | int64(c)
	}
	b = b[lengthBytes:]
	if n > int64(len(b)) {
		return "", nil, errShort
	}
	return string(b[:n]), b[n:], nil
}

func skip(b []byte, n int) ([]byte, error) {
	if len(b) < n {
		return nil, errShort
	}
	return b[n:], nil
}

// skipFields skips what an object or an array has.
func skipFields(marker byte, b []byte, depth int) (_ []byte, err error) {
	if marker == amfStrict {
		return skipItems(b, depth)
	}
	if marker == amfTyped {
		if _, b, err = readString(b, 2); err != nil {
			return nil, err
		}
	}
	if marker == amfArray {
		if b, err = skip(b, 4); err != nil {
			return nil, err
		}
	}
	for {
		if _, b, err = readString(b, 2); err != nil {
			return nil, err
		}
		if len(b) > 0 && b[0] == amfObjectEnd {
			return b[1:], nil
		}
		if _, b, err = readValue(b, depth); err != nil {
			return nil, err
		}
	}
}

// skipItems skips the values of a strict array.
func skipItems(b []byte, depth int) (_ []byte, err error) {
	if len(b) < 4 {
		return nil, errShort
	}
	n := binary.BigEndian.Uint32(b)
	for b = b[4:]; n > 0; n-- {
		if _, b, err = readValue(b, depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(append(b, amfString), uint16(len(s))), s...)
}

func appendNumber(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, amfNumber), math.Float64bits(v))
}

// appendObject appends an object of strings, given as name and value in turn.
func appendObject(b []byte, fields ...string) []byte {
	b = append(b, amfObject)
	for i := 0; i+1 < len(fields); i += 2 {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(fields[i]))), fields[i]...)
		b = appendString(b, fields[i+1])
	}
	return append(b, 0, 0, amfObjectEnd)
}
