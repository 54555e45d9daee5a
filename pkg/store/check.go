package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"modernc.org/sqlite"
)

// sqliteCorrupt is SQLITE_CORRUPT.
const sqliteCorrupt = 11

// Check returns an error if Open would refuse the database at file, which must
// exist, or if it is damaged. It does not change its contents.
func Check(ctx context.Context, file string) (err error) {
	query := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(ON)"}} // a log left by a kill is read too, which takes writing
	db, err := sql.Open("sqlite", fileURL(file, query))
	if err != nil {
		return fmt.Errorf("store: opening %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, _, err := schema(ctx, db, file); err != nil {
		return err
	}
	var result string
	err = db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result)
	if damage := new(sqlite.Error); errors.As(err, &damage) && damage.Code() == sqliteCorrupt {
		result, err = damage.Error(), nil // worse than what the check can list
	}
	if err != nil {
		return fmt.Errorf("store: checking %s: %w", file, err)
	}
	if result != "ok" {
		return fmt.Errorf("store: %s is damaged: %s; restore it from a backup", file, result)
	}
	return nil
}
