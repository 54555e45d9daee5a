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
	// maxLine limits the length of a line; the rest of a longer line is dropped.
	maxLine = 512
	// panicMark is the start of the last line that a kernel prints when it panics and does not
	// reboot.
	panicMark = "---[ end Kernel panic"
)

// A tail forwards its input and keeps the last lines.
type tail struct {
	to      io.Writer // nil discards
	onPanic func()    // called on a line that contains panicMark; nil is allowed
	err     error     // from writing to to, which receives no more afterwards

	lines   []string
	current []byte
}

// Write never returns an error, so that pibootd keeps watching the machine if the reader of the
// console fails.
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

// String returns the last lines for the end of an error message.
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
