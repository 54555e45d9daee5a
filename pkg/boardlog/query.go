package boardlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// A Query says which lines are wanted.
type Query struct {
	Board    string // "": of all boards
	After    int64  // lines with a greater ID
	Last     int    // the last so many of them, at most 1000; 0: the first 1000
	Contains string // in program or text, in upper or lower case; "": all
}

// Lines returns the lines that q asks for, in the order of their IDs.
func (l *Log) Lines(ctx context.Context, q Query) ([]Line, error) {
	boards := []string{q.Board}
	if q.Board == "" {
		var err error
		if boards, err = l.boards(); err != nil {
			return nil, fmt.Errorf("boardlog: reading: %w", err)
		}
	}
	m := matcher{q, strings.ToLower(q.Contains), time.Now().Add(-l.keep())}
	all := []Line{}
	for _, board := range boards {
		if !l.hasAfter(board, q.After) {
			continue
		}
		lines, err := l.linesOf(ctx, board, m)
		if err != nil {
			return nil, fmt.Errorf("boardlog: reading: %w", err)
		}
		all = append(all, lines...)
	}
	slices.SortFunc(all, func(a, b Line) int { return cmp.Compare(a.ID, b.ID) })
	return m.page(all), nil
}

// hasAfter reports whether a board may have lines after one: all that were written since the
// start are known.
func (l *Log) hasAfter(board string, after int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.latest[board]
	return !known || last > after
}

// linesOf returns a page of one board's lines.
func (l *Log) linesOf(ctx context.Context, board string, m matcher) ([]Line, error) {
	list, err := l.segmentsOf(board)
	if err != nil {
		return nil, err
	}
	// Those that end before the first line that is wanted.
	for len(list) > 1 && list[1].first <= m.After+1 {
		list = list[1:]
	}
	if m.Last > 0 {
		slices.Reverse(list)
	}
	var lines []Line
	for _, s := range list {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		found, err := s.read(board, m)
		if err != nil {
			return nil, err
		}
		if m.Last > 0 {
			lines = slices.Concat(found, lines)
		} else {
			lines = append(lines, found...)
		}
		if len(lines) >= m.limit() {
			break
		}
	}
	return m.page(lines), nil
}

// A matcher is a query, prepared.
type matcher struct {
	Query
	contains string // in lower case
	since    time.Time
}

func (m matcher) limit() int {
	if m.Last > 0 {
		return min(m.Last, maxPage)
	}
	return maxPage
}

// page returns those of lines that an answer has room for.
func (m matcher) page(lines []Line) []Line {
	surplus := max(0, len(lines)-m.limit())
	if m.Last > 0 {
		return lines[surplus:]
	}
	return lines[:len(lines)-surplus]
}

func (m matcher) matches(line Line) bool {
	if line.ID <= m.After || time.UnixMicro(line.ID).Before(m.since) {
		return false
	}
	return m.contains == "" || strings.Contains(strings.ToLower(line.Program+": "+line.Text), m.contains)
}

// read returns the matching lines of a segment: with Last the last, else the first.
func (s segment) read(board string, m matcher) ([]Line, error) {
	text, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // pruned meanwhile
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	end := bytes.LastIndexByte(text, '\n') + 1 // the rest is being written
	var lines []Line
	for stored := range strings.Lines(string(text[:end])) {
		line, ok := parseStored(board, strings.TrimSuffix(stored, "\n"))
		if !ok || !m.matches(line) {
			continue
		}
		if lines = append(lines, line); m.Last == 0 && len(lines) == m.limit() {
			break
		}
	}
	return m.page(lines), nil
}
