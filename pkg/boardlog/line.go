// Package boardlog keeps what boards log: their boot code and kernel over netconsole, their
// programs over syslog, and their journal as the worker streams it. Each board has files of its
// own, bounded in size and age.
package boardlog

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// A Source says how a line came here.
type Source string

// The sources.
const (
	Netconsole Source = "netconsole" // boot code or kernel, over UDP
	Syslog     Source = "syslog"     // RFC 3164 or 5424, over UDP
	Journal    Source = "journal"    // streamed by the worker
)

// labels are the sources in at most eight letters, where they are longer.
var labels = map[Source]string{Netconsole: "console"}

// Severities of RFC 5424 §6.2.1, which are the kernel's levels too.
const (
	Emergency = 0
	Warning   = 4
	Notice    = 5
	Debug     = 7
)

// KernelProgram is the Program of the kernel's own lines, except those over netconsole, which
// have none.
const KernelProgram = "kernel"

// A Line is one line of a board's log. Its texts are valid UTF-8 without control characters.
type Line struct {
	ID       int64     `json:"id"` // rising over all boards: microseconds of the time of arrival, or a little more
	At       time.Time `json:"at"` // when it was logged, by the clock of this machine
	Board    string    `json:"board"`
	Name     string    `json:"name,omitzero"` // of the board; not stored
	Source   Source    `json:"source"`
	Severity int       `json:"severity"`
	Program  string    `json:"program,omitzero"`
	Text     string    `json:"text"`
}

// IsKernel reports whether the kernel, or boot code, has logged the line.
func (l Line) IsKernel() bool { return l.Source == Netconsole || l.Program == KernelProgram }

// String returns l as a line for people, in the form of timeline.Event, without a newline:
//
//	12:04:05.123  hlspi1  journal  sshd: Server listening on 0.0.0.0 port 22.
func (l Line) String() string {
	label := cmp.Or(labels[l.Source], string(l.Source))
	text := l.Text
	if l.Program != "" {
		text = l.Program + ": " + text
	}
	return fmt.Sprintf("%s  %s  %-8s %s", l.At.Format("15:04:05.000"), cmp.Or(l.Name, l.Board), label, text)
}

// Limits of a line, in bytes. A record of the kernel has at most 1 kB.
const (
	maxText    = 2048
	maxProgram = 48
)

// cleaned returns l with texts that can be stored and shown.
func (l Line) cleaned() Line {
	l.Text, l.Program = clean(l.Text, maxText), clean(l.Program, maxProgram)
	l.Source = Source(clean(string(l.Source), maxProgram))
	l.Severity = min(max(l.Severity, Emergency), Debug)
	return l
}

// clean returns at most limit bytes of s without terminal sequences, control characters and
// what changes the direction of text.
func clean(s string, limit int) string {
	s = withoutEscapes(s[:min(len(s), 2*limit)])
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\r' || r == '\n' || r == 0 || r == '\a' || r == '\b':
			return -1
		case unicode.IsGraphic(r):
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, "\ufffd"))
	for len(s) > limit {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return strings.TrimRight(s, " ")
}

const escape = 0x1b

// withoutEscapes removes the sequences that color terminals (ECMA-48 §5.4) and set their
// titles, which journals and consoles are full of.
func withoutEscapes(s string) string {
	if strings.IndexByte(s, escape) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		at := strings.IndexByte(s, escape)
		if at < 0 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:at])
		s = s[at+escapeLen(s[at:]):]
	}
	return b.String()
}

// escapeLen returns the length of the sequence that s begins with.
func escapeLen(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[': // ends with a byte from @ to ~
		for i := 2; i < len(s); i++ {
			if s[i] >= '@' && s[i] <= '~' {
				return i + 1
			}
		}
		return len(s)
	case ']': // ends with BEL or ESC \
		if end := strings.IndexAny(s[2:], "\a\x1b"); end >= 0 {
			return 2 + end + 1
		}
		return len(s)
	}
	return 2
}

// separator stands between the fields of a stored line. No field has one.
const separator = "\t"

// appendTo writes l as it is stored, with a newline. The board is the directory's name.
func (l Line) appendTo(b []byte) []byte {
	b = strconv.AppendInt(b, l.ID, 10)
	b = append(b, separator...)
	b = l.At.UTC().AppendFormat(b, time.RFC3339Nano)
	for _, field := range []string{string(l.Source), strconv.Itoa(l.Severity), l.Program, l.Text} {
		b = append(b, separator...)
		b = append(b, field...)
	}
	return append(b, '\n')
}

// parseStored reads a line that appendTo has written. ok is false for what a full disk or a
// power cut has left of one.
func parseStored(board, stored string) (l Line, ok bool) {
	fields := strings.SplitN(stored, separator, 6)
	if len(fields) < 6 {
		return Line{}, false
	}
	id, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return Line{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, fields[1])
	if err != nil {
		return Line{}, false
	}
	severity, err := strconv.Atoi(fields[3])
	if err != nil {
		return Line{}, false
	}
	return Line{ID: id, At: at, Board: board, Source: Source(fields[2]), Severity: severity, Program: fields[4], Text: fields[5]}.cleaned(), true
}
