package boardlog

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// A Log is the log of all boards. It is safe for concurrent use. Set its fields before Run.
type Log struct {
	Dir      string        // has a directory for each board
	MaxBytes int64         // of each board's files, about; 0 means 16 MB
	Keep     time.Duration // lines that are older go; 0 means 30 days
	Logger   *slog.Logger  // nil discards

	// OnFinding is called with each line that has a Finding, also with one that is dropped
	// because its board logs too much. It must not block. nil drops them.
	OnFinding func(Line, Finding)

	limits limits
	writer writer // Run's alone

	mu      sync.Mutex
	waiting []Line
	dropped int64            // lines that came while maxWaiting were waiting
	latest  map[string]int64 // board → ID of its last line; nil until it is read
	more    chan struct{}    // has an element if there is something in waiting
	changed chan struct{}    // closed and replaced when lines were written
}

const (
	// maxWaiting bounds the lines that wait for the disk; about 10 MB.
	maxWaiting = 32768
	// writeEvery is the least time between two writes: lines that come together are
	// written together, and a kill costs no more than these.
	writeEvery = 100 * time.Millisecond
	// maxWrite is how many lines are written without a look at the size of their file.
	maxWrite = 128
	// pruneEvery is how often boards that log nothing are looked at.
	pruneEvery = time.Hour
	// maxPage bounds the lines of an answer.
	maxPage = 1000
)

// New returns a log in dir, which need not exist.
func New(dir string) *Log {
	return &Log{Dir: dir, more: make(chan struct{}, 1), changed: make(chan struct{})}
}

// Add adds lines of a board, in order. It never blocks: it drops lines of a board that logs
// too many, and any while the disk does not keep up. A zero At becomes now.
func (l *Log) Add(board string, lines ...Line) {
	now := time.Now()
	for _, line := range lines {
		line.Board = board
		if line.At.IsZero() {
			line.At = now
		}
		if f := line.Finding(); f != "" && l.OnFinding != nil {
			l.OnFinding(line.cleaned(), f)
		}
		ok, missed := l.limits.admit(board, now)
		if missed > 0 {
			l.queue(droppedLine(line, missed))
		}
		if ok {
			l.queue(line.cleaned())
		}
	}
}

func (l *Log) queue(line Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) >= maxWaiting {
		l.dropped++
		return
	}
	l.waiting = append(l.waiting, line)
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// Run writes what Add has queued until ctx ends, and then the rest. A kill costs the lines of
// the last tenth of a second. What cannot be written is dropped, because a full disk must not
// fill the memory. One Run at a time.
func (l *Log) Run(ctx context.Context) {
	l.resume()
	l.prune(time.Now())
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.write()
			return
		case now := <-tick.C:
			l.prune(now)
		case <-l.more:
			l.write()
			select {
			case <-time.After(writeEvery):
			case <-ctx.Done():
			}
		}
	}
}

// write writes what waits, and gives each line its ID.
func (l *Log) write() {
	l.mu.Lock()
	lines, dropped := l.waiting, l.dropped
	l.waiting, l.dropped = nil, 0
	l.mu.Unlock()
	if dropped > 0 {
		l.log().Warn("lines of boards' logs dropped: the disk does not keep up", "lines", dropped)
	}
	boards := map[string][]Line{}
	for _, line := range lines {
		line.ID = l.writer.nextID(time.Now())
		boards[line.Board] = append(boards[line.Board], line)
	}
	written := map[string]int64{}
	for _, board := range slices.Sorted(maps.Keys(boards)) {
		for some := range slices.Chunk(boards[board], maxWrite) {
			if err := l.append(board, some); err != nil {
				l.writer.complain(l.log(), err)
				break
			}
			written[board] = some[len(some)-1].ID
		}
	}
	l.notify(written)
}

func (l *Log) notify(written map[string]int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.latest == nil {
		l.latest = map[string]int64{}
	}
	maps.Copy(l.latest, written)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Follow yields the lines that a query without Last asks for, and then new ones as they come,
// until ctx ends. A consumer may take its time, which holds up nobody; it misses what is
// pruned meanwhile.
func (l *Log) Follow(ctx context.Context, q Query) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for {
			changed := l.nextWrite() // before reading: what is written from now on closes it
			for more := true; more; {
				lines, err := l.Lines(ctx, q)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					yield(Line{}, err)
					return
				}
				for _, line := range lines {
					if ctx.Err() != nil || !yield(line, nil) {
						return
					}
					q.After = line.ID
				}
				more = len(lines) == maxPage
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (l *Log) nextWrite() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Log) log() *slog.Logger {
	if l.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Logger.With("component", "boardlog")
}

func (l *Log) maxBytes() int64     { return cmp.Or(l.MaxBytes, 16<<20) }
func (l *Log) keep() time.Duration { return cmp.Or(l.Keep, 30*24*time.Hour) }

// droppedLine says in a board's log how many of its lines were dropped.
func droppedLine(next Line, missed int) Line {
	return Line{
		At: next.At, Board: next.Board, Source: next.Source, Severity: Warning, Program: "pibootd",
		Text: fmt.Sprintf("%d lines dropped: a board may log %d at once and %d a second", missed, burst, perSecond),
	}
}
