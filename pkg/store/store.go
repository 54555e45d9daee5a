// Package store holds what pibootd must not lose, boards, their timeline and
// the transcode jobs, in one SQLite file. What was committed survives
// kill -9 and a power cut: the journal is a write-ahead log that is synced
// before a commit returns.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"sync"

	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql
)

//go:embed migrations/*.sql
var migrations embed.FS

// A Store is the open database. It is safe for concurrent use.
type Store struct {
	db *sql.DB
	// SQLite has one writer at a time. Waiting here is fair and needs no
	// retries; waiting inside SQLite is a poll.
	writer sync.Mutex
}

// Open opens the database at file, mode 0600, and brings its schema up to
// date. A file that a newer pibootd has written is refused.
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
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %s: %w", file, err), db.Close())
	}
	return s, nil
}

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
	if err := s.db.Close(); err != nil {
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

// migrate applies the files of migrations/ that the database has not seen, in
// the order of their names. Their count is kept in user_version.
func (s *Store) migrate(ctx context.Context) error {
	names, have, err := schema(ctx, s.db)
	if err != nil {
		return err
	}
	for version := have + 1; version <= len(names); version++ {
		if err := s.apply(ctx, names[version-1], version); err != nil {
			return err
		}
	}
	return nil
}

// schema returns the names of the migrations and how many of them the database
// has seen.
func schema(ctx context.Context, db *sql.DB) (names []string, have int, err error) {
	if names, err = fs.Glob(migrations, "migrations/*.sql"); err != nil {
		return nil, 0, err
	}
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return nil, 0, fmt.Errorf("reading the schema version: %w", err)
	}
	if have > len(names) {
		return nil, 0, fmt.Errorf("the database has schema %d, this pibootd knows up to %d; use the newer pibootd", have, len(names))
	}
	return names, have, nil
}

func (s *Store) apply(ctx context.Context, name string, version int) error {
	text, err := migrations.ReadFile(name)
	if err != nil {
		return err
	}
	return s.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, string(text)); err != nil {
			return fmt.Errorf("schema %s: %w", path.Base(name), err)
		}
		// A PRAGMA takes no bound value; version is our own count.
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
			return fmt.Errorf("noting schema %d: %w", version, err)
		}
		return nil
	})
}
