package store

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s := open(t, good)
	fill(t, s)
	if err := Check(t.Context(), good); err != nil {
		t.Errorf("Check of a database in use = %v; want nil", err)
	}

	damaged := filepath.Join(dir, "torn.db")
	s, err := Open(t.Context(), damaged)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(damaged)
	if err != nil || bytes.Count(text, []byte("some event")) == 0 {
		t.Fatalf("the database: %d bytes, %v; want the events in it", len(text), err)
	}
	for at := len(text) / 2; at < len(text)-4096; at++ { // leaves the header
		text[at] = 0xff
	}
	garbage, newer, none := filepath.Join(dir, "garbage.db"), filepath.Join(dir, "newer.db"), filepath.Join(dir, "none.db")
	for file, bytes := range map[string][]byte{damaged: text, garbage: []byte(strings.Repeat("no database", 1000))} {
		if err := os.WriteFile(file, bytes, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, newer).db.Exec("PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{damaged: "is damaged: ", garbage: "not a database", newer: "schema 999", none: "unable to open"} {
		if err := Check(t.Context(), file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("Check = %v; want %s called %q", err, file, want)
		}
	}
	if _, err := os.Stat(none); err == nil {
		t.Error("Check made the file that was not there")
	}
}

// fill writes some pages of events.
func fill(t *testing.T, s *Store) {
	t.Helper()
	err := s.Write(t.Context(), func(tx *sql.Tx) error {
		for i := range 2000 {
			if err := insertEvent(t.Context(), tx, fmt.Sprintf("some event %d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func insertEvent(ctx context.Context, tx *sql.Tx, text string) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO events (at, board, event) VALUES (1, 'x', ?)", text)
	return err
}
