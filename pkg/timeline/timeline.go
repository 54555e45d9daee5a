// Package timeline keeps what happened to each board while it booted and
// worked: durable, in order, and bounded, so that it can be shown live, looked
// up weeks later, and never fills the disk.
package timeline

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"pibootd/pkg/store"
)

// Limits on what waits, and on what one transaction or query carries.
const (
	queueLen = 4096 // events; about a megabyte while the disk does not keep up
	maxBatch = 512
	maxPage  = 1000
)

// writeTime bounds one try to write a batch.
const writeTime = 10 * time.Second

// A Log is the timeline of all boards. It is safe for concurrent use. Set its
// fields, which Open fills in, before Run.
type Log struct {
	PerBoard  int          // events kept of each board; 2000
	Boards    int          // registered boards, and workers of other machines, of which events are kept; 256
	Strangers int          // other boards of which events are kept; 64
	Logger    *slog.Logger // reports failed writes; nil discards

	store   *store.Store
	queue   chan Event
	dropped atomic.Int64
	limits  limits
	retry   time.Duration    // after a failed write
	latest  map[string]int64 // board → ID of its last event; Run's alone once it runs

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when events were written
}

// Open returns the timeline in s.
func Open(ctx context.Context, s *store.Store) (*Log, error) {
	l := &Log{
		PerBoard:  2000,
		Boards:    256,
		Strangers: 64,
		store:     s,
		queue:     make(chan Event, queueLen),
		retry:     time.Second,
		latest:    map[string]int64{},
		changed:   make(chan struct{}),
	}
	rows, err := s.Query(ctx, "SELECT board, max(id) FROM events GROUP BY board")
	if err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var board string
		var id int64
		if err := rows.Scan(&board, &id); err != nil {
			return nil, fmt.Errorf("timeline: %w", err)
		}
		l.latest[board] = id
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("timeline: %w", err)
	}
	return l, nil
}

// Record queues e to be written by Run; a zero e.At becomes now, e.ID is
// given later. It never blocks: while the queue is full, because the disk does
// not keep up, new events are dropped and counted.
func (l *Log) Record(e Event) {
	select {
	case l.queue <- e.bounded():
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many events were lost since Open.
func (l *Log) Dropped() int64 { return l.dropped.Load() }

// Events returns up to limit events of a board, or of all boards if board is
// "", that come after the event with ID after, oldest first. limit is at most
// 1000, which 0 also means.
func (l *Log) Events(ctx context.Context, board string, after int64, limit int) ([]Event, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	query, args := "SELECT id, event FROM events WHERE id > ? ORDER BY id LIMIT ?", []any{after, limit}
	if board != "" {
		query, args = "SELECT id, event FROM events WHERE board = ? AND id > ? ORDER BY id LIMIT ?", []any{board, after, limit}
	}
	rows, err := l.store.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("timeline: reading: %w", err)
	}
	defer rows.Close()
	events := []Event{}
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("timeline: reading: %w", err)
	}
	return events, nil
}

// Last returns the newest event that the board itself caused, which shows that it
// was running then; ok is false if there is none.
func (l *Log) Last(ctx context.Context, board string) (e Event, ok bool, err error) {
	row := l.store.QueryRow(ctx, `SELECT id, event FROM events WHERE board = ?
		AND event ->> '$.kind' NOT IN (?, ?, ?) ORDER BY id DESC LIMIT 1`, board, LoginRefused, Stranger, Diagnosed)
	e, err = scan(row)
	if errors.Is(err, sql.ErrNoRows) {
		return Event{}, false, nil
	}
	return e, err == nil, err
}

// Newest returns the ID of the newest event; 0 if there is none.
func (l *Log) Newest(ctx context.Context) (id int64, err error) {
	if err := l.store.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM events").Scan(&id); err != nil {
		return 0, fmt.Errorf("timeline: reading: %w", err)
	}
	return id, nil
}

// scan reads the columns id and event from a row.
func scan(row interface{ Scan(...any) error }) (Event, error) {
	var id int64
	var text []byte
	if err := row.Scan(&id, &text); err != nil {
		return Event{}, fmt.Errorf("timeline: reading: %w", err)
	}
	var e Event
	if err := json.Unmarshal(text, &e); err != nil {
		return Event{}, fmt.Errorf("timeline: event %d: %w", id, err)
	}
	e.ID = id
	return e, nil
}

// Follow yields the events of a board, or of all boards if board is "", that
// come after the event with ID after: first those that are stored, then each
// new one once it is stored, in order and without a gap. It ends with ctx,
// without an error, or with the error that stopped it. A consumer may take its
// time, which holds up nobody; it misses only what Run prunes meanwhile.
func (l *Log) Follow(ctx context.Context, board string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			changed := l.nextWrite() // before reading: what is written from now on closes it
			more := true
			for more {
				events, err := l.Events(ctx, board, after, maxPage)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					yield(Event{}, err)
					return
				}
				for _, e := range events {
					if ctx.Err() != nil || !yield(e, nil) {
						return
					}
					after = e.ID
				}
				more = len(events) == maxPage
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// nextWrite returns a channel that is closed when something was written.
func (l *Log) nextWrite() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Log) notifyFollowers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}
