package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// oldestBack is the schema of commits b738a06 to 8aa7799, the earliest that can be gone
// back to.
const oldestBack = 11

// Each migration above the oldest is undone by one of its own, and the schema is then as
// it was. Up again, everything is there that the earlier schema has a place for.
func TestDownAndUpAgain(t *testing.T) {
	all, err := allMigrations()
	if err != nil {
		t.Fatal(err)
	}
	for n := len(all); n > oldestBack; n-- {
		t.Run(all[n-1].name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pibootd.db")
			db := bare(t, file)
			migrateTo(t, db, all, n-1)
			before := shape(t, db)
			fillAll(t, db)
			migrateTo(t, db, all, n)
			after, rows := shape(t, db), contents(t, db)
			descend(t, file, n-1)
			if got := shape(t, db); got != before {
				t.Errorf("down again the schema is\n%s\nwant\n%s", got, before)
			}
			migrateTo(t, db, all, n)
			if got := shape(t, db); got != after {
				t.Errorf("up again the schema is\n%s\nwant\n%s", got, after)
			}
			if got := contents(t, db); got != rows {
				t.Errorf("up again the rows are\n%s\nwant\n%s", got, rows)
			}
		})
	}
}

// bare opens a database without a schema.
func bare(t *testing.T, file string) *Store {
	t.Helper()
	db, err := sql.Open("sqlite", source(file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &Store{db: db}
}

// migrateTo brings a database up to a version.
func migrateTo(t *testing.T, s *Store, all []migration, to int) {
	t.Helper()
	have, err := version(t.Context(), s.db)
	if err == nil {
		err = s.migrate(t.Context(), all[:to], have)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// descend brings the database back to a schema.
func descend(t *testing.T, file string, to int) Descent {
	t.Helper()
	d, err := PlanDowngrade(t.Context(), file, to)
	if err == nil {
		_, err = d.Downgrade(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shape returns the columns, indexes and triggers of a database. The order of columns
// means nothing here.
func shape(t *testing.T, s *Store) string {
	t.Helper()
	return query(t, s, `SELECT m.name || '.' || c.name || ' ' || c.type || ' ' || c."notnull" || ' ' || coalesce(c.dflt_value, '') || ' ' || c.pk
		FROM sqlite_schema m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1`) +
		query(t, s, "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL ORDER BY 1")
}

// contents returns the rows of the tables that all versions have.
func contents(t *testing.T, s *Store) (all string) {
	t.Helper()
	for _, table := range filled {
		all += query(t, s, fmt.Sprintf("SELECT %s FROM %s ORDER BY 1", strings.Join(columnsOf(table), " || '|' || "), strings.Fields(table)[0]))
	}
	return all
}

func query(t *testing.T, s *Store, text string) string {
	t.Helper()
	rows, err := s.Query(t.Context(), text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// filled are the tables of the oldest schema with those of their columns that are filled.
var filled = []string{
	"pis id serial mac name ip template version arch settings token added clone",
	"discovered mac serial model first_seen last_seen",
	"events id at board event",
	"jobs id state request probe plan output reason stderr created started ended entry priority mux paused identity labels",
	"units job unit seq kind spec frames state attempt worker result second second_worker tries",
	"attempts job unit attempt worker started ended outcome detail",
	"leases mac addr expires",
	"inbox path inode size mtime job reported",
	"workers name drained speeds",
	"machines name settings token added",
}

func columnsOf(table string) []string { return strings.Fields(table)[1:] }

// fillAll puts rows into every table that the oldest schema has. Whatever a column holds,
// its text has the number of its row.
func fillAll(t *testing.T, s *Store) {
	t.Helper()
	err := s.Write(t.Context(), func(tx *sql.Tx) error {
		for _, table := range filled {
			name, columns := strings.Fields(table)[0], columnsOf(table)
			for row := 1; row <= 3; row++ {
				values := slices.Repeat([]string{fmt.Sprint(row)}, len(columns))
				if _, err := tx.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO %s (%s) VALUES ('%s')", name, strings.Join(columns, ", "), strings.Join(values, "', '"))); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What an earlier schema has no place for is named, with how much of it there is. Jobs
// that an earlier version would do otherwise have to end first.
func TestDowngradeSaysWhatIsLost(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "pibootd.db")
	s := open(t, file)
	_, err := s.db.ExecContext(ctx, `
		INSERT INTO tokens (name, scope, hash, made) VALUES ('laptop', 'read', x'01', 1), ('phone', 'read', x'02', 1);
		INSERT INTO admin (id, password, changed) VALUES (1, 'x', 1);
		INSERT INTO jobs (id, state, request, created, preview) VALUES (1, 'done', '{}', 1, 0), (2, 'queued', '{}', 1, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := PlanDowngrade(ctx, file, 12)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(d.Lost), "[jobs that only probe their source: 1 the admin's password: 1 tokens of programs: 2]"; got != want {
		t.Errorf("lost: %s; want %s", got, want)
	}
	if _, err := d.Downgrade(ctx, file); err == nil || !strings.Contains(err.Error(), "jobs that have not ended") {
		t.Errorf("Downgrade with a job that has not ended = %v; want it refused", err)
	}
	if _, err := s.db.ExecContext(ctx, "UPDATE jobs SET ended = 5"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = PlanDowngrade(ctx, file, 12); err != nil {
		t.Fatal(err)
	}
	copied, err := d.Downgrade(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := Read(ctx, copied)
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	if names := query(t, saved, "SELECT name FROM tokens ORDER BY name"); names != "laptop\nphone\n" {
		t.Errorf("the copy's tokens: %q; want both", names)
	}
	if jobs := query(t, bare(t, file), "SELECT id FROM jobs"); jobs != "1\n" {
		t.Errorf("jobs after it: %q; want the first", jobs)
	}
	for _, to := range []int{0, -1, 13, 99, oldestBack - 1} {
		if _, err := PlanDowngrade(ctx, file, to); err == nil {
			t.Errorf("from 12 to %d: no error", to)
		}
	}
}

// A database of an earlier version is copied before it is migrated: once, however often
// that is tried, and again if the earlier version has worked with it since.
func TestFirstMigrationIsBackedUp(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "[a] pibootd.db")
	all, err := allMigrations()
	if err != nil {
		t.Fatal(err)
	}
	old := bare(t, file)
	migrateTo(t, old, all, oldestBack)
	fillAll(t, old)
	rows := contents(t, old)
	var copies []string
	for range 3 { // a start that fails after the copy
		name, err := copyBeside(ctx, file, oldestBack)
		if err != nil {
			t.Fatal(err)
		}
		copies = append(copies, name)
	}
	if copies[0] != copies[1] || copies[1] != copies[2] {
		t.Errorf("copies of one state: %q; want one", copies)
	}
	s, err := Open(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	if s.Copied() != copies[0] {
		t.Errorf("Open has copied to %q; want %q, which is there", s.Copied(), copies[0])
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, file); s.Copied() != "" {
		t.Errorf("the second Open has copied to %q; want nothing", s.Copied())
	}
	saved := bare(t, copies[0])
	if got, err := version(ctx, saved.db); err != nil || got != oldestBack || contents(t, saved) != rows {
		t.Errorf("the copy has schema %d, %v; want %d and all rows as they were", got, err, oldestBack)
	}
	if info, err := os.Stat(copies[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy's mode is %v, %v; want 0600", info.Mode(), err)
	}
}

// A database of a newer version is refused by all that open it, and the way back is named.
func TestNewerSchemaIsRefused(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "pibootd.db")
	s := open(t, file)
	copied, err := copyBeside(ctx, file, len(mustMigrations(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec("PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	_, openErr := Open(ctx, file)
	_, readErr := Read(ctx, file)
	_, planErr := PlanDowngrade(ctx, file, 12)
	for name, err := range map[string]error{"Open": openErr, "Read": readErr, "Check": Check(ctx, file), "PlanDowngrade": planErr} {
		var newer NewerError
		if !errors.As(err, &newer) || newer.Have != 999 || newer.Copy != copied || !strings.Contains(newer.Hint(), copied) {
			t.Errorf("%s = %v; want schema 999 refused, and the copy %s named", name, err, copied)
		}
	}
}

func mustMigrations(t *testing.T) []migration {
	t.Helper()
	all, err := allMigrations()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A program that only reads changes nothing under a daemon of an earlier version.
func TestReadOfAnEarlierVersion(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.db")
	old := bare(t, file)
	migrateTo(t, old, mustMigrations(t), oldestBack)
	fillAll(t, old)
	s, err := Read(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	if boards := query(t, s, "SELECT name FROM pis ORDER BY id"); boards != "1\n2\n3\n" {
		t.Errorf("boards: %q; want three", boards)
	}
	if tokens := query(t, s, "SELECT name FROM tokens"); tokens != "" {
		t.Errorf("tokens: %q; want none", tokens)
	}
	dir := s.remove
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil || dir == "" {
		t.Errorf("the copy in %q is still there", dir)
	}
	if have, err := version(t.Context(), old.db); err != nil || have != oldestBack {
		t.Errorf("the database has schema %d, %v; want %d, as it was", have, err, oldestBack)
	}
}
