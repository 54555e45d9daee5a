package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"regexp"
)

// A Descent is the way of a database back to the schema of an earlier version.
type Descent struct {
	From, To int
	Lost     []string // what the earlier schema has no place for, e.g. "2 tokens of programs"
	Refused  []string // what has to end first, e.g. "1 job that has not ended"
	steps    []string // SQL, of each version down to To
}

// PlanDowngrade says what it takes to bring the database at file back to a schema. It
// changes nothing.
func PlanDowngrade(ctx context.Context, file string, to int) (d Descent, err error) {
	query := url.Values{"mode": {"rw"}, "_pragma": {"busy_timeout(10000)", "query_only(ON)"}}
	db, err := sql.Open("sqlite", fileURL(file, query))
	if err != nil {
		return d, fmt.Errorf("store: opening %s: %w", file, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	all, have, err := schema(ctx, db, file)
	if err != nil {
		return d, err
	}
	d = Descent{From: have, To: to}
	if to < 1 || to > have {
		return d, fmt.Errorf("store: %s has schema %d; want one from 1 to %d to go back to", file, have, have)
	}
	for n := have; n > to; n-- {
		text, err := all[n-1].down()
		if errors.Is(err, fs.ErrNotExist) {
			return d, fmt.Errorf("store: no version with a schema below %d can be gone back to: restore a copy or a backup that it made", n)
		}
		if err == nil {
			err = d.note(ctx, db, text)
		}
		if err != nil {
			return d, err
		}
		d.steps = append(d.steps, text)
	}
	return d, nil
}

// costs matches the lines of a step that say what to count. All is counted before the first
// step, so a count names what the newest schema has, too.
var costs = regexp.MustCompile(`(?m)^-- (lost|refused): (.+): (SELECT .+)$`)

// note counts what a step loses, and what it is refused for.
func (d *Descent) note(ctx context.Context, db *sql.DB, step string) error {
	for _, line := range costs.FindAllStringSubmatch(step, -1) {
		var n int
		if err := db.QueryRowContext(ctx, line[3]).Scan(&n); err != nil {
			return fmt.Errorf("store: counting %s: %w", line[2], err)
		}
		text := fmt.Sprintf("%s: %d", line[2], n)
		if n > 0 && line[1] == "lost" {
			d.Lost = append(d.Lost, text)
		} else if n > 0 {
			d.Refused = append(d.Refused, text)
		}
	}
	return nil
}

// Downgrade copies the database at file, which nobody may be using, and brings it back to
// an earlier schema. It returns the copy's name.
func (d Descent) Downgrade(ctx context.Context, file string) (copied string, err error) {
	if len(d.Refused) > 0 {
		return "", fmt.Errorf("store: %s cannot go back to schema %d: %s", file, d.To, d.Refused[0])
	}
	if copied, err = copyBeside(ctx, file, d.From); err != nil {
		return "", err
	}
	db, err := sql.Open("sqlite", source(file))
	if err != nil {
		return "", fmt.Errorf("store: opening %s: %w", file, err)
	}
	s := &Store{db: db}
	defer func() { err = errors.Join(err, s.Close()) }()
	for i, step := range d.steps {
		if err := s.apply(ctx, step, d.From-i-1); err != nil {
			return "", fmt.Errorf("store: going back from schema %d: %w", d.From-i, err)
		}
	}
	return copied, nil
}
