package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pibootd/internal/durable"
)

// Snapshot copies the database at file, which a daemon may be using, as it is at one moment to
// the new file to, mode 0600.
func Snapshot(ctx context.Context, file, to string) (err error) {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if err := os.WriteFile(to, nil, 0o600); err != nil { // VACUUM INTO takes an empty file
		return fmt.Errorf("store: %w", err)
	}
	query := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)"}} // a log left by a kill is read too, which takes writing
	db, err := sql.Open("sqlite", fileURL(file, query))
	if err != nil {
		return fmt.Errorf("store: opening %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return fmt.Errorf("store: copying %s: %w", file, err)
	}
	return nil
}

// copyPattern matches the copies that were made of a database when it had a schema.
func copyPattern(file string, schema int) string {
	return fmt.Sprintf("%s.schema-%d.*", escapeGlob(file), schema)
}

// escapeGlob returns a pattern that matches a name alone.
func escapeGlob(name string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// copyTime is the time in a copy's name, which sorts as text does.
const copyTime = "20060102-150405"

// copyBeside copies a database before its schema is changed, and returns the copy's name.
// A start that is interrupted and tried again finds the copy that it made, and no other.
func copyBeside(ctx context.Context, file string, schema int) (name string, err error) {
	temp := fmt.Sprintf("%s.schema-%d.new", file, schema)
	if err := os.RemoveAll(temp); err != nil { // of an interrupted one
		return "", fmt.Errorf("store: %w", err)
	}
	if err := Snapshot(ctx, file, temp); err != nil {
		return "", errors.Join(err, os.Remove(temp))
	}
	copies, err := filepath.Glob(copyPattern(file, schema))
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	for _, older := range copies {
		if older != temp && sameContent(older, temp) {
			return older, os.Remove(temp)
		}
	}
	made, err := os.OpenFile(temp, os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("store: %w", err)
	}
	name = fmt.Sprintf("%s.schema-%d.%s", file, schema, time.Now().UTC().Format(copyTime))
	if err := durable.Commit(made, name); err != nil {
		return "", fmt.Errorf("store: copying %s: %w", file, err)
	}
	return name, nil
}

// sameContent reports whether two files have the same bytes.
func sameContent(a, b string) bool {
	hashes := [2][sha256.Size]byte{}
	for i, name := range []string{a, b} {
		file, err := os.Open(name)
		if err != nil {
			return false
		}
		hash := sha256.New()
		_, err = io.Copy(hash, file)
		if errors.Join(err, file.Close()) != nil {
			return false
		}
		hashes[i] = [sha256.Size]byte(hash.Sum(nil))
	}
	return hashes[0] == hashes[1]
}

// Read opens the database at file, which a daemon of an earlier version may be using, to
// be read. It changes nothing there: what has an earlier schema is read from a copy.
func Read(ctx context.Context, file string) (*Store, error) {
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	query := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(ON)"}}
	db, err := sql.Open("sqlite", fileURL(file, query))
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", file, err)
	}
	all, have, err := schema(ctx, db, file)
	if err == nil && have == len(all) {
		return &Store{db: db}, nil
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pibootd-*")
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s, err := readCopy(ctx, file, filepath.Join(dir, "pibootd.db"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.remove = dir
	return s, nil
}

// readCopy copies a database of an earlier version, and opens that with today's schema.
func readCopy(ctx context.Context, file, to string) (*Store, error) {
	if err := Snapshot(ctx, file, to); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", source(to))
	if err != nil {
		return nil, fmt.Errorf("store: opening %s: %w", to, err)
	}
	s := &Store{db: db}
	all, have, err := schema(ctx, db, to)
	if err == nil {
		err = s.migrate(ctx, all, have)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}
