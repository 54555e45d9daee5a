package worker

import (
	"bytes"
	"math"
	"strconv"
)

// A packet is what ffprobe reports of one, in seconds.
type packet struct {
	stream    int
	pts, dts  float64 // NaN if there is none
	duration  float64
	size      int   // bytes
	pos       int64 // bytes from the beginning of the file; -1 if unknown
	key       bool
	discarded bool // by an edit list: it is decoded, but never shown
	encrypted bool
}

// timed reports whether a packet says when it is decoded.
func (p packet) timed() bool { return !math.IsNaN(p.dts) }

// newPacket returns a packet that says nothing.
func newPacket() packet { return packet{pts: math.NaN(), dts: math.NaN(), pos: -1} }

// encryptionInfo is the side data of packets that are encrypted.
const encryptionInfo = "Encryption info"

// field receives a line about p. A film has millions of them, so it allocates nothing.
func (p *packet) field(line []byte) {
	equals := bytes.IndexByte(line, '=')
	if equals < 0 {
		return
	}
	value := line[equals+1:]
	switch string(line[:equals]) {
	case "stream_index":
		p.stream, _ = strconv.Atoi(string(value))
	case "pts_time":
		p.pts = parseTime(value)
	case "dts_time":
		p.dts = parseTime(value)
	case "duration_time":
		if d := parseTime(value); d > 0 {
			p.duration = d
		}
	case "size":
		p.size, _ = strconv.Atoi(string(value))
	case "pos":
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= 0 {
			p.pos = n
		}
	case "flags":
		// K, D, C: key, discard, corrupt.
		p.key = len(value) > 0 && value[0] == 'K'
		p.discarded = len(value) > 1 && value[1] == 'D'
	case "side_data_type":
		p.encrypted = p.encrypted || string(value) == encryptionInfo
	}
}

func (p *packet) set(key, value string) { p.field([]byte(key + "=" + value)) }

// maxTime is more seconds than any time stamp says.
const maxTime = 1e15

// parseTime parses seconds with six decimals, as ffprobe writes them. It returns NaN
// for N/A, and for what is no time.
func parseTime(text []byte) float64 {
	digits, negative := bytes.CutPrefix(text, []byte("-"))
	point := len(digits) - 7
	if point < 1 || point > 9 || digits[point] != '.' {
		return parseOddTime(text)
	}
	n := 0
	for i, c := range digits {
		switch {
		case i == point:
		case c < '0' || c > '9':
			return math.NaN()
		default:
			n = 10*n + int(c-'0')
		}
	}
	if negative {
		n = -n
	}
	return float64(n) / 1e6
}

// parseOddTime parses seconds in any other form.
func parseOddTime(text []byte) float64 {
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(math.Abs(f) <= maxTime) {
		return math.NaN()
	}
	return f
}
