package boardlog

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/share"
)

// A board's lines are in segments, files that are named after the ID of their first line. The
// oldest are removed whole.
const (
	segmentSuffix = ".log"
	// segments is about how many a board has when it has used up its bytes or its time.
	segments = 8
	// minFree is what a board's log leaves free on the disk, in bytes.
	minFree = 128 << 20
)

// A segment is a file of lines.
type segment struct {
	path  string
	first int64 // the ID of its first line
	size  int64
	last  time.Time // when it was written last
}

// segmentsOf returns a board's segments, oldest first.
func (l *Log) segmentsOf(board string) ([]segment, error) {
	dir := filepath.Join(l.Dir, board)
	entries, err := os.ReadDir(dir) // sorted, and all numbers have one length
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []segment
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		first, err := strconv.ParseInt(number, 10, 64)
		info, infoErr := e.Info()
		if !ok || err != nil || infoErr != nil || !info.Mode().IsRegular() {
			continue // or it was removed meanwhile
		}
		list = append(list, segment{filepath.Join(dir, e.Name()), first, info.Size(), info.ModTime()})
	}
	return list, nil
}

// A writer is the state of what Run writes.
type writer struct {
	last       int64     // the latest ID
	complained time.Time // when a failure was logged
	torn       map[string]bool
}

// nextID returns a number that is greater than all before.
func (w *writer) nextID(now time.Time) int64 {
	w.last = max(w.last+1, now.UnixMicro())
	return w.last
}

// complain logs a failure, once a minute.
func (w *writer) complain(log *slog.Logger, err error) {
	if time.Since(w.complained) < time.Minute {
		return
	}
	w.complained = time.Now()
	log.Error("boards' logs not written", "err", err)
}

// append writes lines of one board by one call, and starts a new segment where that is due.
func (l *Log) append(board string, lines []Line) (err error) {
	if free, err := share.FreeBytes(l.Dir); err == nil && free < minFree {
		return fmt.Errorf("%d MB are free in %s; want %d at least", free>>20, l.Dir, int64(minFree)>>20)
	}
	name, err := l.currentSegment(board, lines[0])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var text []byte
	if l.writer.torn[board] {
		text = append(text, '\n') // after half a line that a full disk has left
	}
	for _, line := range lines {
		text = line.appendTo(text)
	}
	_, err = f.Write(text)
	if l.writer.torn == nil {
		l.writer.torn = map[string]bool{}
	}
	l.writer.torn[board] = err != nil
	return err
}

// currentSegment returns the file that a line goes to.
func (l *Log) currentSegment(board string, line Line) (string, error) {
	list, err := l.segmentsOf(board)
	if err != nil {
		return "", err
	}
	if len(list) > 0 {
		last := list[len(list)-1]
		if last.size < l.maxBytes()/segments && time.UnixMicro(line.ID).Sub(time.UnixMicro(last.first)) < l.keep()/segments {
			return last.path, nil
		}
	}
	if err := l.pruneBoard(board, time.UnixMicro(line.ID), l.maxBytes()*(segments-1)/segments); err != nil {
		return "", err
	}
	dir := filepath.Join(l.Dir, board)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.Join(dir, fmt.Sprintf("%019d%s", line.ID, segmentSuffix)), nil
}

// resume has IDs continue after those of an earlier run, also if the clock was set back since.
func (l *Log) resume() {
	boards, err := l.boards()
	if err != nil {
		l.writer.complain(l.log(), err)
	}
	for _, board := range boards {
		list, err := l.segmentsOf(board)
		if err != nil {
			l.writer.complain(l.log(), err)
		}
		for _, s := range list {
			l.writer.last = max(l.writer.last, s.first, s.last.UnixMicro())
		}
	}
}

// prune removes what is too old, of boards that log nothing as well.
func (l *Log) prune(now time.Time) {
	boards, err := l.boards()
	if err != nil {
		l.writer.complain(l.log(), err)
	}
	for _, board := range boards {
		if err := l.pruneBoard(board, now, l.maxBytes()); err != nil {
			l.writer.complain(l.log(), err)
		}
	}
}

// pruneBoard removes a board's oldest segments until what is left has no more than limit bytes,
// and those that were not written for so long that all of their lines are too old.
func (l *Log) pruneBoard(board string, now time.Time, limit int64) error {
	list, err := l.segmentsOf(board)
	if err != nil {
		return err
	}
	var size int64
	for _, s := range list {
		size += s.size
	}
	var errs []error
	for _, s := range list {
		if size <= limit && now.Sub(s.last) <= l.keep() {
			break
		}
		size -= s.size
		errs = append(errs, os.Remove(s.path))
	}
	if len(list) == 0 || size == 0 {
		_ = os.Remove(filepath.Join(l.Dir, board)) // unless there is something else in it
	}
	return errors.Join(errs...)
}

// boards returns those that have a directory.
func (l *Log) boards() ([]string, error) {
	entries, err := os.ReadDir(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}
