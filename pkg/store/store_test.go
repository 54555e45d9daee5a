package store

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWriteCommitsOrRollsBack(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "a b?.db")
	s := open(t, file)
	insert := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO events (at, board, event) VALUES (1, 'x', '{}')")
		return err
	}
	refused := errors.New("refused")
	if err := s.Write(ctx, func(tx *sql.Tx) error { return errors.Join(insert(tx), refused) }); !errors.Is(err, refused) {
		t.Fatalf("Write = %v; want %v", err, refused)
	}
	if err := s.Write(ctx, insert); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, file)
	var rows int
	if err := s.QueryRow(ctx, "SELECT count(*) FROM events").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("after reopening: %d events, %v; want 1", rows, err)
	}
}

func TestFileIsPrivate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	open(t, file)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, %v; want 0600", info.Mode(), err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	s := open(t, file)
	if _, err := s.db.Exec("PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), file)
	if err == nil || !strings.Contains(err.Error(), "schema 999") {
		t.Errorf("Open = %v; want the schema refused", err)
	}
}

func TestDurabilitySettings(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pibootd.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
		var got string
		if err := s.QueryRow(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %s", pragma, got, err, want)
		}
	}
}

func open(t *testing.T, file string) *Store {
	t.Helper()
	s, err := Open(t.Context(), file)
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
