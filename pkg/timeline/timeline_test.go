package timeline

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/store"
)

func TestEventsAreKeptInOrder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	l := open(t, openStore(t, file))
	stop := run(t, l)
	const events = 3 * maxBatch
	for i := range events {
		l.Record(numbered(i, i%2))
	}
	stop()
	l = open(t, openStore(t, file))
	var got []Event
	for after := int64(0); ; {
		page, err := l.Events(t.Context(), "", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		after = page[len(page)-1].ID
	}
	if len(got) != events {
		t.Fatalf("%d events; want %d", len(got), events)
	}
	for i, e := range got {
		want := numbered(i, i%2)
		want.ID = e.ID
		if e != want || i > 0 && e.ID <= got[i-1].ID {
			t.Fatalf("event %d = %+v; want %+v", i, e, want)
		}
	}
	board, err := l.Events(t.Context(), name(1), 0, 0)
	if err != nil || len(board) != events/2 || board[0].Detail != "1" {
		t.Errorf("%d events of one board, %v; want %d", len(board), err, events/2)
	}
}

func TestEachRecordersOrderIsKept(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	stop := run(t, l)
	const boards, each = 8, 200
	var recorders sync.WaitGroup
	for board := range boards {
		recorders.Go(func() {
			for i := range each {
				l.Record(numbered(i, board))
			}
		})
	}
	recorders.Wait()
	stop()
	for board := range boards {
		got, err := l.Events(t.Context(), name(board), 0, 0)
		if err != nil || len(got) != each {
			t.Fatalf("board %d: %d events, %v; want %d", board, len(got), err, each)
		}
		for i, e := range got {
			if e.Detail != fmt.Sprint(i) {
				t.Fatalf("board %d: event %d is %s", board, i, e.Detail)
			}
		}
	}
}

func TestLast(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	write(t, l, numbered(0, 0), numbered(1, 0), numbered(2, 1))
	if e, ok, err := l.Last(t.Context(), name(0)); err != nil || !ok || e.Detail != "1" || e.ID == 0 {
		t.Errorf("Last = %+v, %v, %v; want event 1", e, ok, err)
	}
	if e, ok, err := l.Last(t.Context(), name(2)); err != nil || ok {
		t.Errorf("Last of a board without events = %+v, %v, %v; want none", e, ok, err)
	}
}

func TestPageIsBounded(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	stop := run(t, l)
	for i := range maxPage + 1 {
		l.Record(numbered(i, 0))
	}
	stop()
	for _, limit := range []int{-1, 0, maxPage + 1} {
		if got, err := l.Events(t.Context(), "", 0, limit); err != nil || len(got) != maxPage {
			t.Errorf("Events with limit %d: %d, %v; want %d", limit, len(got), err, maxPage)
		}
	}
}

func TestRecordNeverBlocks(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	for i := range queueLen + 5 { // nobody writes
		l.Record(numbered(i, 0))
	}
	if got := l.Dropped(); got != 5 {
		t.Errorf("Dropped = %d; want 5", got)
	}
}

func TestOldEventsOfABoardGo(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	l.PerBoard = 10
	write(t, l, numbered(0, 1), numbered(1, 1))
	for i := range 25 {
		write(t, l, numbered(i, 0))
	}
	got, err := l.Events(t.Context(), name(0), 0, 0)
	if err != nil || len(got) != 10 || got[0].Detail != "15" || got[9].Detail != "24" {
		t.Errorf("Events = %v, %v; want the last ten", got, err)
	}
	if other, err := l.Events(t.Context(), name(1), 0, 0); err != nil || len(other) != 2 {
		t.Errorf("the other board has %d events, %v; want its 2", len(other), err)
	}
}

func TestOldBoardsGo(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	l.Boards = 3
	for i := range 3 {
		write(t, l, numbered(0, i))
	}
	l = open(t, s) // a restart remembers who was heard when
	l.Boards = 3
	write(t, l, numbered(1, 0))
	write(t, l, numbered(0, 3), numbered(1, 3))
	var boards []string
	events, err := l.Events(t.Context(), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		boards = append(boards, e.Board)
	}
	want := fmt.Sprint([]string{name(0), name(2), name(0), name(3), name(3)})
	if got := fmt.Sprint(boards); got != want {
		t.Errorf("events of %s; want %s: board 1 was silent for longest", got, want)
	}
}

func TestStrangersPushOutNoBoard(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	l.Strangers = 5
	write(t, l, numbered(0, 0))
	write(t, l, Event{At: noon, Board: "desk-pc", Kind: WorkerOnline})
	var flood []Event
	for i := range 500 {
		flood = append(flood, Event{At: noon, Board: fmt.Sprintf("02:00:00:00:%02x:%02x", i>>8, i&0xff), Kind: Unknown})
	}
	write(t, l, flood...)
	got, err := l.Events(t.Context(), "", 0, 0)
	if err != nil || len(got) != 7 || got[0].Board != name(0) || got[1].Board != "desk-pc" || got[6].Board != flood[499].Board {
		t.Errorf("%d events, %v; want those of the board and of the worker that is none, and the last five strangers'", len(got), err)
	}
}

func TestFollow(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	const early, late = maxPage + 50, 300
	var stored []Event
	for i := range early {
		stored = append(stored, numbered(i, 0))
	}
	write(t, l, stored...)
	stop := run(t, l)
	var followers sync.WaitGroup
	caughtUp := make(chan struct{})
	var once sync.Once
	for range 3 {
		followers.Go(func() {
			defer once.Do(func() { close(caughtUp) }) // also if it fails
			next := 0
			for e, err := range l.Follow(t.Context(), name(0), 0) {
				if err != nil || e.Detail != fmt.Sprint(next) {
					t.Errorf("event %d = %v, %v", next, e, err)
					return
				}
				if next++; next == early {
					once.Do(func() { close(caughtUp) })
				}
				if next == early+late {
					return
				}
			}
		})
	}
	<-caughtUp
	for i := range late {
		l.Record(numbered(0, 1)) // another board's
		l.Record(numbered(early+i, 0))
	}
	followers.Wait()
	stop()
}

func TestSlowFollowerHoldsUpNobody(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	defer run(t, l)()
	l.Record(numbered(0, 0))
	const events = 20
	seen := 0
	for e, err := range l.Follow(t.Context(), "", 0) {
		if err != nil || e.Detail != fmt.Sprint(seen) {
			t.Fatalf("event %d = %v, %v", seen, e, err)
		}
		if seen == 0 {
			// While this one is looked at, others come and a second follower
			// sees them all.
			for i := range events {
				l.Record(numbered(i+1, 0))
			}
			quick := 0
			for _, err := range l.Follow(t.Context(), "", 0) {
				if err != nil {
					t.Fatal(err)
				}
				if quick++; quick == events+1 {
					break
				}
			}
		}
		if seen++; seen == events+1 {
			break
		}
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	l := open(t, openStore(t, filepath.Join(t.TempDir(), "pibootd.db")))
	write(t, l, numbered(0, 0))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for e, err := range l.Follow(ctx, "", 0) {
		if err != nil || e.Detail != "0" {
			t.Errorf("Follow = %v, %v; want the one event", e, err)
		}
		cancel()
	}
}

func TestFollowReportsAFailedRead(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	execute(t, s, "INSERT INTO events (at, board, event) VALUES (1, 'x', 'no JSON')")
	var failed error
	for _, err := range l.Follow(t.Context(), "", 0) {
		failed = err
	}
	if failed == nil || !strings.Contains(failed.Error(), "timeline: event 1: ") {
		t.Errorf("Follow = %v; want an error that names event 1", failed)
	}
}

func TestRunWritesAgainAfterAFailure(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	l.retry = time.Millisecond
	failed := make(told, 1)
	l.Logger = slog.New(slog.NewTextHandler(failed, nil))
	execute(t, s, "ALTER TABLE events RENAME TO hidden")
	stop := run(t, l)
	l.Record(numbered(0, 0))
	<-failed
	execute(t, s, "ALTER TABLE hidden RENAME TO events")
	for e, err := range l.Follow(t.Context(), "", 0) {
		if err != nil || e.Detail != "0" {
			t.Errorf("Follow = %v, %v; want the event that could not be written at first", e, err)
		}
		break
	}
	stop()
}

func TestRunReportsWhatItCouldNotWrite(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "pibootd.db"))
	l := open(t, s)
	execute(t, s, "ALTER TABLE events RENAME TO hidden")
	l.Record(numbered(0, 0))
	l.Record(numbered(1, 0))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ended); err == nil || !strings.Contains(err.Error(), "timeline: 2 events lost: ") {
		t.Errorf("Run = %v; want 2 events lost", err)
	}
}

// told gets a value when something was logged.
type told chan struct{}

func (c told) Write(p []byte) (int, error) {
	select {
	case c <- struct{}{}:
	default:
	}
	return len(p), nil
}

// write stores events in a transaction of their own.
func write(t *testing.T, l *Log, events ...Event) {
	t.Helper()
	if err := l.write(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	l.notifyFollowers()
}

// run starts l and returns what ends it once all that was recorded is written.
func run(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func numbered(i, board int) Event {
	return Event{At: noon, Board: name(board), Kind: File, Detail: fmt.Sprint(i)}
}

func name(board int) string { return fmt.Sprintf("1000000%d", board) }

func open(t *testing.T, s *store.Store) *Log {
	t.Helper()
	l, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openStore(t *testing.T, file string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func execute(t *testing.T, s *store.Store, statement string) {
	t.Helper()
	err := s.Write(t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), statement)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
