package howto

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// An Export is a line of an exports file: a directory, and who may mount it.
type Export struct {
	Path    string
	Clients []string // host, network or pattern, without its options; "": everybody
}

// Limits of what is read.
const (
	MaxFile    = 1 << 20 // bytes of a configuration file
	maxEntries = 4096    // exports, hosts or subnets in it
	maxLine    = 64 << 10
)

// ParseExports reads an exports file, exports(5). A line that it does not
// understand is an error that names it.
func ParseExports(text []byte) ([]Export, error) {
	if len(text) > MaxFile {
		return nil, fmt.Errorf("howto: exports is too long; want at most %d bytes", MaxFile)
	}
	var list []Export
	joined := bytes.ReplaceAll(text, []byte("\\\n"), []byte(" "))
	number := 0
	for line := range strings.Lines(string(joined)) {
		number++
		line, _, _ = strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		words, err := exportWords(line)
		if err != nil {
			return nil, fmt.Errorf("howto: exports, line %d: %w", number, err)
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "-") { // "-" sets options for what follows on the line
			continue
		}
		if len(list) == maxEntries {
			return nil, fmt.Errorf("howto: more than %d exports", maxEntries)
		}
		list = append(list, newExport(words))
	}
	return list, nil
}

func newExport(words []string) Export {
	e := Export{Path: words[0]}
	for _, client := range words[1:] {
		if strings.HasPrefix(client, "-") {
			continue
		}
		host, _, _ := strings.Cut(client, "(")
		e.Clients = append(e.Clients, host)
	}
	return e
}

// exportWords splits a line at white space. A path with white space is in quotes
// or has it as \040.
func exportWords(line string) ([]string, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("%d bytes; want at most %d", len(line), maxLine)
	}
	var words []string
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words, nil
		}
		word, rest := "", ""
		if quoted, ok := strings.CutPrefix(line, `"`); ok {
			var closed bool
			if word, rest, closed = strings.Cut(quoted, `"`); !closed {
				return nil, fmt.Errorf("%.40q has no closing quote", line)
			}
		} else {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			word, rest = line[:end], line[end:]
		}
		words, line = append(words, unescape(word)), rest
	}
}

// unescape replaces \ooo, three octal digits, by the byte that they stand for.
func unescape(word string) string {
	var out strings.Builder
	for i := 0; i < len(word); i++ {
		if word[i] == '\\' && i+3 < len(word) {
			if code, err := strconv.ParseUint(word[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(code))
				i += 3
				continue
			}
		}
		out.WriteByte(word[i])
	}
	return out.String()
}
