package access

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// A Change is an entry of the audit log: a request that changed something, or tried
// to log in.
type Change struct {
	ID     int64     `json:"id"`
	At     time.Time `json:"at"`
	Who    string    `json:"who"`            // "admin", a token's name, "socket", or "" if nobody was logged in
	Addr   string    `json:"addr,omitempty"` // of the client; "": the control socket
	Method string    `json:"method"`
	Path   string    `json:"path"`             // with the query
	Status int       `json:"status"`           // of the answer
	Detail string    `json:"detail,omitempty"` // the request's JSON, without secrets
}

// Limits of the entries that are kept. Those of refused requests have a limit of
// their own, so that who may change nothing cannot push the others out.
const (
	maxAudit   = 10_000
	maxRefused = 1000
)

// Audit adds an entry to the audit log. c.ID and a zero c.At are set.
func (k *Keeper) Audit(ctx context.Context, c Change) error {
	if c.At.IsZero() {
		c.At = k.now()
	}
	return failed("writing the audit log", k.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO audit (at, who, addr, method, path, status, detail) VALUES (?, ?, ?, ?, ?, ?, ?)",
			c.At.UnixNano(), c.Who, c.Addr, c.Method, c.Path, c.Status, c.Detail)
		if err != nil {
			return err
		}
		refused, limit := c.Status >= 400, maxAudit
		if refused {
			limit = maxRefused
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM audit WHERE id <= (SELECT id FROM audit WHERE (status >= 400) = ? ORDER BY id DESC LIMIT 1 OFFSET ?) AND (status >= 400) = ?", refused, limit, refused)
		return err
	}))
}

// Changes returns entries of the audit log, the newest first: at most limit of those
// before the one numbered before, 0 for the newest.
func (k *Keeper) Changes(ctx context.Context, before int64, limit int) (all []Change, err error) {
	rows, err := k.store.Query(ctx, "SELECT id, at, who, addr, method, path, status, detail FROM audit WHERE ? = 0 OR id < ? ORDER BY id DESC LIMIT ?", before, before, limit)
	if err != nil {
		return nil, failed("reading the audit log", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c Change
		var at int64
		if err := rows.Scan(&c.ID, &at, &c.Who, &c.Addr, &c.Method, &c.Path, &c.Status, &c.Detail); err != nil {
			return nil, failed("reading the audit log", err)
		}
		c.At = time.Unix(0, at)
		all = append(all, c)
	}
	return all, failed("reading the audit log", rows.Err())
}
