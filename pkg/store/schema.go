package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

//go:embed migrations/*.sql migrations/down/*.sql
var migrations embed.FS

// A migration is a file of SQL that takes the schema to the next version.
type migration struct {
	files embed.FS
	name  string // e.g. migrations/0001_boards.sql
}

// up returns the migration's SQL.
func (m migration) up() (string, error) {
	text, err := m.files.ReadFile(m.name)
	return string(text), err
}

// down returns the SQL that undoes it. Migrations of versions that nobody can go back to
// have none.
func (m migration) down() (string, error) {
	text, err := m.files.ReadFile(path.Join(path.Dir(m.name), "down", path.Base(m.name)))
	return string(text), err
}

// allMigrations returns the migrations in their order: that of version n is at n-1.
func allMigrations() ([]migration, error) {
	var all []migration
	for _, from := range []struct {
		files embed.FS
		dir   string
	}{{migrations, "migrations"}, {next, "next"}} {
		names, err := fs.Glob(from.files, from.dir+"/*.sql")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			all = append(all, migration{from.files, name})
		}
	}
	return all, nil
}

// Schema returns the schema that this version gives a database.
func Schema() int {
	all, err := allMigrations()
	if err != nil {
		return 0
	}
	return len(all)
}

// A NewerError reports a database that a newer version has changed.
type NewerError struct {
	File       string
	Have, Know int    // its schema, and the last that this version knows
	Copy       string // made before that, "" if there is none
}

func (e NewerError) Error() string {
	return fmt.Sprintf("%s is of a newer pibootd: it has schema %d, and this pibootd knows %d", e.File, e.Have, e.Know)
}

// Hint is what the user can do about it.
func (e NewerError) Hint() string {
	hint := fmt.Sprintf("install the newer pibootd again; to go back, stop it and run its pibootd db downgrade --to %d first", e.Know)
	if e.Copy != "" {
		hint += fmt.Sprintf("; or put %s in its place, which has nothing that happened since", e.Copy)
	}
	return hint
}

// schema returns the migrations and how many of them the database has seen.
func schema(ctx context.Context, db *sql.DB, file string) (all []migration, have int, err error) {
	if all, err = allMigrations(); err != nil {
		return nil, 0, err
	}
	if have, err = version(ctx, db); err != nil {
		return nil, 0, fmt.Errorf("store: %s: %w", file, err)
	}
	if have > len(all) {
		newer := NewerError{File: file, Have: have, Know: len(all)}
		if copies, _ := filepath.Glob(copyPattern(file, len(all))); len(copies) > 0 {
			newer.Copy = copies[len(copies)-1]
		}
		return nil, 0, fmt.Errorf("store: %w", newer)
	}
	return all, have, nil
}

// A querier is a database or a transaction.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// version returns how many migrations a database has seen.
func version(ctx context.Context, db querier) (have int, err error) {
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", err)
	}
	return have, nil
}

// migrate applies the migrations that the database has not seen. Their count is kept in
// user_version.
func (s *Store) migrate(ctx context.Context, all []migration, have int) error {
	for n := have + 1; n <= len(all); n++ {
		text, err := all[n-1].up()
		if err != nil {
			return err
		}
		if err := s.apply(ctx, text, n); err != nil {
			return fmt.Errorf("schema %s: %w", path.Base(all[n-1].name), err)
		}
	}
	return nil
}

// apply runs the SQL that makes the schema that of a version.
func (s *Store) apply(ctx context.Context, text string, version int) error {
	return s.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
		// A PRAGMA takes no bound value; version is our own count.
		if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
			return fmt.Errorf("noting schema %d: %w", version, err)
		}
		return nil
	})
}
