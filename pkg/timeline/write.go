package timeline

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"pibootd/pkg/pi"
)

// Run writes what Record queues until ctx ends, then what is still queued.
// Events that come while a transaction is on its way to the disk share the
// next one. A batch that cannot be written is tried again every second; Run
// returns an error only if the last one could not be written when ctx ended.
// One Run at a time.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return l.drain(ctx)
		case e := <-l.queue:
			batch := l.gather([]Event{e})
			if err := l.persist(ctx, batch); err != nil {
				return err
			}
		}
	}
}

// drain writes what is queued when ctx has ended, but no more than a full queue,
// because servers may still be recording.
func (l *Log) drain(ctx context.Context) error {
	for range queueLen / maxBatch {
		batch := l.gather(nil)
		if len(batch) == 0 {
			return nil
		}
		if err := l.persist(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// gather fills batch up with what is queued, without waiting.
func (l *Log) gather(batch []Event) []Event {
	for len(batch) < maxBatch {
		select {
		case e := <-l.queue:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// persist writes batch and retries until it succeeds or ctx ends. The end of ctx
// does not interrupt a write in progress.
func (l *Log) persist(ctx context.Context, batch []Event) error {
	for {
		last := ctx.Err() != nil
		writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
		err := l.write(writing, batch)
		cancel()
		if err == nil {
			l.notifyFollowers()
			return nil
		}
		if last {
			return fmt.Errorf("timeline: %d events lost: %w", len(batch)+len(l.queue), err)
		}
		l.log().Warn("timeline not written", "events", len(batch), "err", err)
		select {
		case <-time.After(l.retry):
		case <-ctx.Done():
		}
	}
}

// write stores batch and prunes, in one transaction.
func (l *Log) write(ctx context.Context, batch []Event) error {
	latest := maps.Clone(l.latest)
	err := l.store.Write(ctx, func(tx *sql.Tx) error {
		touched, err := insert(ctx, tx, batch)
		if err != nil {
			return err
		}
		for board := range ofOthers(batch) {
			if err := l.pruneOthers(ctx, tx, board); err != nil {
				return err
			}
		}
		maps.Copy(latest, touched)
		for board := range touched {
			if err := l.prune(ctx, tx, board); err != nil {
				return err
			}
		}
		return l.forget(ctx, tx, latest)
	})
	if err != nil {
		return err
	}
	l.latest = latest
	return nil
}

// insert stores batch and returns the last ID of each board in it.
func insert(ctx context.Context, tx *sql.Tx, batch []Event) (map[string]int64, error) {
	statement, err := tx.PrepareContext(ctx, "INSERT INTO events (at, board, event) VALUES (?, ?, ?)")
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	touched := map[string]int64{}
	for _, e := range batch {
		e.ID = 0 // the row has it
		text, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		result, err := statement.ExecContext(ctx, e.At.UnixNano(), e.Board, string(text))
		if err != nil {
			return nil, err
		}
		if touched[e.Board], err = result.LastInsertId(); err != nil {
			return nil, err
		}
	}
	return touched, nil
}

// prune removes a board's events but the last PerBoard.
func (l *Log) prune(ctx context.Context, tx *sql.Tx, board string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM events WHERE board = ?1 AND id <=
		(SELECT id FROM events WHERE board = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)`, board, l.PerBoard)
	return err
}

// ofOthers returns the boards for which batch has events that others have caused.
func ofOthers(batch []Event) map[string]bool {
	boards := map[string]bool{}
	for _, e := range batch {
		if e.Kind.byOthers() {
			boards[e.Board] = true
		}
	}
	return boards
}

// pruneOthers keeps events that others have caused to a tenth of a board's
// timeline, so that an attacker who tries to log in once a minute for two days
// cannot push out what the board itself did.
func (l *Log) pruneOthers(ctx context.Context, tx *sql.Tx, board string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM events WHERE id IN (
		SELECT id FROM events WHERE board = ? AND event ->> '$.kind' IN (?, ?) ORDER BY id DESC LIMIT -1 OFFSET ?)`,
		board, LoginRefused, Stranger, l.PerBoard/10)
	return err
}

// forget removes surplus boards, those silent for longest first, from the store
// and from latest.
func (l *Log) forget(ctx context.Context, tx *sql.Tx, latest map[string]int64) error {
	var boards, strangers []string
	for board := range latest {
		// Anything on the network can invent Ethernet addresses. Those must
		// not push out the boards and workers that are known.
		if _, err := pi.ParseMAC(board); err == nil {
			strangers = append(strangers, board)
		} else {
			boards = append(boards, board)
		}
	}
	surplus := slices.Concat(oldest(boards, latest, l.Boards), oldest(strangers, latest, l.Strangers))
	for _, board := range surplus {
		if _, err := tx.ExecContext(ctx, "DELETE FROM events WHERE board = ?", board); err != nil {
			return err
		}
		delete(latest, board)
	}
	return nil
}

// oldest returns the boards to remove so that keep remain.
func oldest(boards []string, latest map[string]int64, keep int) []string {
	slices.SortFunc(boards, func(a, b string) int { return cmp.Compare(latest[a], latest[b]) })
	return boards[:max(0, len(boards)-keep)]
}

func (l *Log) log() *slog.Logger {
	return cmp.Or(l.Logger, slog.New(slog.DiscardHandler))
}
