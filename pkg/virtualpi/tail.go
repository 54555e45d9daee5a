//go:build linux

package virtualpi

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

const (
	tailLines = 20
	// maxLine bounds a line that is kept; the rest of it is dropped.
	maxLine = 512
	// panicMark is the last line of a kernel that panics and does not reboot.
	panicMark = "---[ end Kernel panic"
)

// A tail forwards what is written to it and keeps the last lines.
type tail struct {
	to      io.Writer // nil: nowhere
	onPanic func()    // called on a line with panicMark; nil: nobody wants to know
	err     error     // of to, which gets no more after it

	lines   []string
	current []byte
}

// Write never fails, so that a console that nobody can read any more does not
// stop the machine from being watched.
func (t *tail) Write(p []byte) (int, error) {
	if t.to != nil && t.err == nil {
		if _, err := t.to.Write(p); err != nil {
			t.err = fmt.Errorf("virtualpi: passing on the console: %w", err)
		}
	}
	for rest := p; len(rest) > 0; {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		t.current = append(t.current, line[:min(len(line), maxLine-len(t.current))]...)
		if ended {
			t.endLine()
		}
		rest = after
	}
	return len(p), nil
}

func (t *tail) endLine() {
	line := string(bytes.TrimRight(t.current, "\r"))
	t.current = t.current[:0]
	if len(t.lines) == tailLines {
		t.lines = append(t.lines[:0], t.lines[1:]...)
	}
	t.lines = append(t.lines, line)
	if t.onPanic != nil && strings.Contains(line, panicMark) {
		t.onPanic()
	}
}

// String returns the last lines as an appendix to an error.
func (t *tail) String() string {
	lines := t.lines
	if len(t.current) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(t.current))
	}
	if len(lines) == 0 {
		return ""
	}
	return fmt.Sprintf("; it wrote last:\n%s", strings.Join(lines, "\n"))
}
