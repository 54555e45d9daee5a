// Package store holds what pibootd must not lose, boards, their timeline and
// the transcode jobs, in one SQLite file. What was committed survives
// kill -9 and a power cut: the journal is a write-ahead log that is synced
// before a commit returns.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql
)

// A Store is the open database. It is safe for concurrent use.
type Store struct {
	db     *sql.DB
	copied string
	remove string // a directory that Close removes; "": none
	// SQLite has one writer at a time. Waiting here is fair and needs no
	// retries; waiting inside SQLite is a poll.
	writer sync.Mutex
}

// Open opens the database at file, mode 0600, and brings its schema up to
// date. Before that it copies one that an earlier version has left: see Copied. A file
// that a newer pibootd has written is refused; see NewerError.
func Open(ctx context.Context, file string) (*Store, error) {
	created, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := created.Close(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db, err := sql.Open("sqlite", source(file))
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", file, err)
	}
	s := &Store{db: db}
	if err := s.open(ctx, file); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, file string) error {
	all, have, err := schema(ctx, s.db, file)
	if err != nil {
		return err
	}
	if have > 0 && have < len(all) {
		if s.copied, err = copyBeside(ctx, file, have); err != nil {
			return err
		}
	}
	if err := s.migrate(ctx, all, have); err != nil {
		return fmt.Errorf("store: %s: %w", file, err)
	}
	return nil
}

// Copied returns the file that has the database as it was before Open brought its schema
// up to date: the way back to an earlier version. It is "" if there was nothing to do.
func (s *Store) Copied() string { return s.copied }

func source(file string) string {
	query := url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(10000)",
			"journal_mode(WAL)",
			"synchronous(FULL)",
			"foreign_keys(ON)",
		},
	}
	return fileURL(file, query)
}

func fileURL(file string, query url.Values) string {
	return "file:" + (&url.URL{Path: file}).EscapedPath() + "?" + query.Encode()
}

// Close closes the database.
func (s *Store) Close() error {
	err := s.db.Close()
	if s.remove != "" {
		err = errors.Join(err, os.RemoveAll(s.remove))
	}
	if err != nil {
		return fmt.Errorf("store: closing: %w", err)
	}
	return nil
}

// Write runs f in a transaction, one at a time, and commits it unless f
// returns an error, which Write then returns as it is. When Write returns nil
// what f wrote is on disk.
func (s *Store) Write(ctx context.Context, f func(*sql.Tx) error) error {
	s.writer.Lock()
	defer s.writer.Unlock()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store: beginning a transaction: %w", err)
	}
	if err := f(tx); err != nil {
		return errors.Join(err, rollback(tx))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store: committing: %w", err)
	}
	return nil
}

// rollback ends tx. A context that ended has rolled it back already.
func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return fmt.Errorf("store: rolling back: %w", err)
	}
	return nil
}

// Query runs a query outside any transaction.
func (s *Store) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return s.db.QueryContext(ctx, query, args...)
}

// QueryRow runs a query for one row outside any transaction.
func (s *Store) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return s.db.QueryRowContext(ctx, query, args...)
}
