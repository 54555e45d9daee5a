package boardlog

import (
	"strconv"
	"strings"
	"time"
)

// Priorities of RFC 5424 §6.2.1.
const (
	maxPriority     = 191
	defaultPriority = 13 // user, notice: of a message without one (RFC 3164 §4.3.3)
	severityBits    = 7
	kernelFacility  = 0
)

// parseSyslog returns the lines of a datagram of RFC 5424 or 3164, or of what is near enough.
// A line break separates messages, as those that netcat sends; one without a priority
// continues the message before it.
func parseSyslog(datagram string) []Line {
	var lines []Line
	header := Line{Source: Syslog, Severity: defaultPriority & severityBits}
	for text := range strings.SplitSeq(strings.TrimRight(datagram, "\r\n\x00"), "\n") {
		if priority, rest, ok := cutPriority(text); ok {
			header, text = parseMessage(priority, rest)
		}
		line := header
		line.Text = text
		lines = append(lines, line)
	}
	return lines
}

// cutPriority cuts <N> off.
func cutPriority(s string) (priority int, rest string, ok bool) {
	number, rest, ok := strings.Cut(s, ">")
	number, begins := strings.CutPrefix(number, "<")
	priority, err := strconv.Atoi(number)
	if !ok || !begins || err != nil || len(number) > 3 || priority < 0 || priority > maxPriority {
		return 0, s, false
	}
	return priority, rest, true
}

// parseMessage parses what comes after the priority. The sender's own time and host name are
// left out: the board is known by its address, and may have no clock.
func parseMessage(priority int, s string) (header Line, text string) {
	header = Line{Source: Syslog, Severity: priority & severityBits}
	if rest, ok := strings.CutPrefix(s, "1 "); ok {
		header.Program, text = parse5424(rest)
	} else {
		header.Program, text = parse3164(s)
	}
	if priority>>3 == kernelFacility && header.Program == "" {
		header.Program = KernelProgram
	}
	return header, text
}

// parse5424 parses, after the version,
//
//	TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA [MSG]
func parse5424(s string) (program, text string) {
	var fields [5]string
	for i := range fields {
		fields[i], s, _ = strings.Cut(s, " ")
	}
	if program = fields[2]; program == "-" {
		program = ""
	}
	text = strings.TrimPrefix(withoutData(s), " ")
	return program, strings.TrimPrefix(text, "\ufeff") // RFC 5424 §6.4
}

// withoutData cuts the structured data off: "-", or elements in brackets, in whose quoted
// values a backslash precedes ", \ and ] (RFC 5424 §6.3.3).
func withoutData(s string) string {
	if rest, ok := strings.CutPrefix(s, "-"); ok {
		return rest
	}
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ']' && !quoted && !strings.HasPrefix(s[i+1:], "["):
			return s[i+1:]
		case s[i] != '[' && i == 0:
			return s
		}
	}
	return ""
}

// parse3164 parses
//
//	Mmm dd hh:mm:ss HOSTNAME TAG[PID]: TEXT
//
// of which time, host name and tag may be missing, or the time be that of RFC 3339.
func parse3164(s string) (program, text string) {
	rest, timed := cutTime(s)
	if timed {
		if host, after, ok := strings.Cut(rest, " "); ok && !strings.ContainsAny(host, ":[") {
			if program, text, ok := cutTag(after); ok {
				return program, text
			}
		}
	}
	program, text, _ = cutTag(rest)
	return program, text
}

func cutTime(s string) (rest string, ok bool) {
	if len(s) > len(time.Stamp) && s[len(time.Stamp)] == ' ' {
		if _, err := time.Parse(time.Stamp, s[:len(time.Stamp)]); err == nil {
			return s[len(time.Stamp)+1:], true
		}
	}
	first, rest, _ := strings.Cut(s, " ")
	if _, err := time.Parse(time.RFC3339, first); err == nil {
		return rest, true
	}
	return s, false
}

// cutTag cuts TAG: or TAG[PID]: off.
func cutTag(s string) (program, text string, ok bool) {
	end := strings.IndexAny(s, ":[ ")
	if end <= 0 || end > maxProgram || s[end] == ' ' {
		return "", s, false
	}
	program, rest := s[:end], s[end:]
	if rest[0] == '[' {
		if _, rest, ok = strings.Cut(rest, "]"); !ok {
			return "", s, false
		}
	}
	text, ok = strings.CutPrefix(rest, ":")
	if !ok {
		return "", s, false
	}
	return program, strings.TrimPrefix(text, " "), true
}
