package worker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// packetsBegin is how ffprobe begins a report with packets.
	packetsBegin = "{\n    \"packets\": [\n"
	// maxPacketBytes is more than ffprobe prints about one packet.
	maxPacketBytes = 64 << 10
)

// readPacketLines reads the packets of a report, if it begins with them as ffprobe
// writes it: a line for each, more for one with side data. A parser of any JSON would
// take longer than ffprobe takes to read a film. It returns the rest of the report,
// itself a report.
func (r *report) readPacketLines(from *bufio.Reader, progress func(packets int)) (io.Reader, error) {
	if begin, err := from.Peek(len(packetsBegin)); err != nil || string(begin) != packetsBegin {
		return from, nil // any other JSON, or none
	}
	if _, err := from.Discard(len(packetsBegin)); err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		p, last, err := readPacket(from)
		if err != nil {
			return nil, fmt.Errorf("packet %d: %w", n, err)
		}
		if last {
			return io.MultiReader(strings.NewReader("{"), from), nil
		}
		r.add(p)
		if n%reportEvery == 0 {
			progress(n)
		}
	}
}

// readPacket reads the lines of one packet. last says that there was none, but the end
// of the list.
func readPacket(from *bufio.Reader) (p packet, last bool, err error) {
	var text []byte
	for open := 0; ; {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return p, false, fmt.Errorf("it is cut off: %w", err)
		}
		if open += bytes.Count(line, []byte("{")) - bytes.Count(line, []byte("}")); open == 0 && text == nil {
			switch line = bytes.TrimSpace(line); string(line) {
			case "":
				continue
			case "]", "],":
				return p, true, nil
			}
			if p, ok := parsePacket(string(line)); ok {
				return p, false, nil
			}
		}
		if text = append(text, line...); len(text) > maxPacketBytes {
			return p, false, errors.New("it is too long")
		}
		if open == 0 {
			return p, false, json.Unmarshal(bytes.TrimSuffix(bytes.TrimSpace(text), []byte(",")), &p)
		}
	}
}

// parsePacket parses a packet without side data, as ffprobe writes it; false if it is
// something else.
func parsePacket(line string) (p packet, ok bool) {
	line, opens := strings.CutPrefix(strings.TrimSuffix(line, ","), "{ ")
	line, closes := strings.CutSuffix(line, " }")
	if !opens || !closes || strings.ContainsAny(line, `\[]{}`) {
		return p, false
	}
	for more := true; more; {
		var field string
		field, line, more = strings.Cut(line, ", ")
		key, value, _ := strings.Cut(field, ": ")
		if key == `"stream_index"` {
			index, err := strconv.Atoi(value)
			if p.Stream = index; err != nil {
				return p, false
			}
			continue
		}
		if len(value) < 2 || value[0] != '"' || value[len(value)-1] != '"' {
			return p, false
		}
		value = value[1 : len(value)-1]
		switch key {
		case `"pts_time"`:
			p.PTS = value
		case `"dts_time"`:
			p.DTS = value
		case `"duration_time"`:
			p.Duration = value
		case `"pos"`:
			p.Pos = value
		case `"flags"`:
			p.Flags = value
		}
	}
	return p, true
}
