package boardlog

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// parseExtended parses a record of the kernel's extended netconsole
// (Documentation/networking/netconsole.rst), with or without the kernel's release:
//
//	[RELEASE,]LEVEL,SEQUENCE,MICROSECONDS,FLAGS[,ncfrag=OFFSET/TOTAL];TEXT
func parseExtended(datagram string) (Line, bool) {
	header, text, ok := strings.Cut(datagram, ";")
	fields := strings.Split(header, ",")
	if !ok || len(header) > maxHeader || len(fields) < 4 {
		return Line{}, false
	}
	if _, err := strconv.Atoi(fields[0]); err != nil {
		fields = fields[1:] // the release
	}
	if len(fields) < 4 {
		return Line{}, false
	}
	level, err1 := strconv.ParseUint(fields[0], 10, 16)
	_, err2 := strconv.ParseUint(fields[1], 10, 64)
	micros, err3 := strconv.ParseUint(fields[2], 10, 63)
	if err1 != nil || err2 != nil || err3 != nil {
		return Line{}, false
	}
	text, _, _ = strings.Cut(text, "\n") // a dictionary of devices follows
	text = fmt.Sprintf("[%5d.%06d] %s", micros/1e6, micros%1e6, text)
	return Line{Source: Netconsole, Severity: int(level) & severityBits, Text: text}, true
}

const maxHeader = 200 // bytes, before the text

// An assembler makes lines of what arrives in pieces: boot code sends parts of lines, and
// kernels before 3.18 as well. One board's pieces come in order.
type assembler struct {
	mu     sync.Mutex
	pieces map[string]piece // by board
}

type piece struct {
	text  string
	since time.Time
}

// pieceWait is how long a part of a line waits for its end.
const pieceWait = time.Second

// add returns the lines that a datagram of a board completes.
func (a *assembler) add(board, datagram string, now time.Time) []Line {
	a.mu.Lock()
	defer a.mu.Unlock()
	if line, ok := parseExtended(datagram); ok {
		return append(a.flushLocked(board), line)
	}
	rest := a.pieces[board].text + datagram
	var lines []Line
	for {
		text, after, ended := strings.Cut(rest, "\n")
		if !ended && len(rest) <= maxText {
			break
		}
		if !ended {
			text, after = rest[:maxText], rest[maxText:]
		}
		lines = appendText(lines, text)
		rest = after
	}
	if rest == "" {
		delete(a.pieces, board)
		return lines
	}
	if a.pieces == nil {
		a.pieces = map[string]piece{}
	}
	a.pieces[board] = piece{rest, now}
	return lines
}

// flushLocked returns what a board has sent of a line.
func (a *assembler) flushLocked(board string) []Line {
	text := a.pieces[board].text
	delete(a.pieces, board)
	return appendText(nil, text)
}

// late returns, by board, the parts of lines that have waited too long.
func (a *assembler) late(now time.Time) map[string][]Line {
	a.mu.Lock()
	defer a.mu.Unlock()
	lines := map[string][]Line{}
	for board, p := range a.pieces {
		if now.Sub(p.since).Abs() >= pieceWait {
			lines[board] = a.flushLocked(board)
		}
	}
	return lines
}

// appendText adds a line of plain text, unless it is empty.
func appendText(lines []Line, text string) []Line {
	if strings.TrimSpace(text) == "" {
		return lines
	}
	return append(lines, Line{Source: Netconsole, Severity: Notice, Text: text})
}
