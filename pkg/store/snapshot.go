package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
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
