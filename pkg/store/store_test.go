package store

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
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

// Jobs of a database from before there were labels are anybody's, and keep
// their order.
func TestOldJobsHaveNoLabels(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "pibootd.db")
	old := bare(t, file)
	all := mustMigrations(t)
	migrateTo(t, old, all, slices.IndexFunc(all, func(m migration) bool { return strings.HasSuffix(m.name, "_labels.sql") }))
	_, err := old.db.ExecContext(ctx, `
		INSERT INTO jobs (id, state, request, priority, mux, created) VALUES
			(1, 'queued', '{"source":"a.mp4"}', 0, 0, 1), (2, 'running', '{"source":"b.mp4","mux_id":2}', 0, 2, 2),
			(3, 'queued', '{"source":"c.mp4"}', 1, 0, 3), (4, 'done', '{"source":"d.mp4"}', 0, 0, 4);
		UPDATE jobs SET ended = 5 WHERE id = 4`)
	if err := errors.Join(err, old.Close()); err != nil {
		t.Fatal(err)
	}
	s := open(t, file)
	rows, err := s.Query(ctx, `SELECT id FROM jobs INDEXED BY jobs_live WHERE ended = 0 AND labels IN ('') ORDER BY priority DESC, mux DESC, (labels <> '') DESC, id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []int
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if err := rows.Err(); err != nil || !slices.Equal(got, []int{3, 2, 1}) {
		t.Errorf("jobs that wait: %v, %v; want 3, 2 and 1", got, err)
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
