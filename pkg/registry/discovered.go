package registry

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"pibootd/pkg/pi"
)

// A Discovered is a board that sent a request and is not registered.
type Discovered struct {
	MAC       pi.MAC    `json:"mac"`
	Serial    pi.Serial `json:"serial,omitzero"` // 0 if its boot code does not send it
	Model     pi.Model  `json:"model,omitzero"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

// The number of boards that are not registered but remembered, and how often the
// store is updated. A board without an answer asks every few seconds, and anything
// on the network can invent boards.
const (
	maxDiscovered   = 256
	writeEvery      = time.Second // at most, for all of them together
	lastSeenChanges = time.Minute // a newer LastSeen alone is stored after this
)

// A sighting is what memory has about a discovered board.
type sighting struct {
	Discovered
	stored time.Time // the stored LastSeen; zero means not stored yet
}

// Discover records that a board sent a request. FirstSeen of an earlier sighting
// stays, and so do Serial and Model if d does not have them. A zero d.LastSeen
// becomes now. Discovered returns the board at once. The store is updated at most
// once a second, so a later call may have to store the board. What was not stored
// when the daemon died is recorded again when the board asks again. New boards
// replace those unseen for longest. Discover ignores registered boards.
func (r *Registry) Discover(ctx context.Context, d Discovered) error {
	if d.LastSeen.IsZero() {
		d.LastSeen = time.Now()
	}
	if _, err := pi.ParseMAC(d.MAC.String()); err != nil {
		return fmt.Errorf("registry: discovered board: %w", err)
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	if _, ok := r.ByMAC(d.MAC); ok {
		return nil
	}
	r.sight(d)
	if since := d.LastSeen.Sub(r.written); since >= 0 && since < writeEvery {
		return nil
	}
	r.written = d.LastSeen
	if err := r.writeSeen(ctx); err != nil {
		return fmt.Errorf("registry: noting discovered boards: %w", err)
	}
	return nil
}

// sight merges d into memory and makes room for it.
func (r *Registry) sight(d Discovered) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.seen[d.MAC]
	if !ok {
		d.FirstSeen = d.LastSeen
		if len(r.seen) >= maxDiscovered {
			r.forgetOldestLocked()
		}
		r.seen[d.MAC] = sighting{Discovered: d}
		return
	}
	d.FirstSeen = old.FirstSeen
	if d.Serial == 0 {
		d.Serial = old.Serial
	}
	if d.Model == "" {
		d.Model = old.Model
	}
	stored := old.stored
	if d.Serial != old.Serial || d.Model != old.Model {
		stored = time.Time{}
	}
	r.seen[d.MAC] = sighting{Discovered: d, stored: stored}
}

// forgetOldestLocked removes from memory the board unseen for longest.
func (r *Registry) forgetOldestLocked() {
	var oldest Discovered
	for _, s := range r.seen {
		if oldest.MAC == (pi.MAC{}) || s.LastSeen.Before(oldest.LastSeen) {
			oldest = s.Discovered
		}
	}
	delete(r.seen, oldest.MAC)
}

// writeSeen updates the store from memory.
func (r *Registry) writeSeen(ctx context.Context) error {
	due := r.due()
	if len(due) == 0 {
		return nil
	}
	err := r.store.Write(ctx, func(tx *sql.Tx) error {
		for _, d := range due {
			if err := upsert(ctx, tx, d); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM discovered WHERE mac NOT IN
			(SELECT mac FROM discovered ORDER BY last_seen DESC LIMIT ?)`, maxDiscovered)
		return err
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range due {
		r.seen[d.MAC] = sighting{Discovered: d, stored: d.LastSeen}
	}
	return nil
}

// due returns the boards that must be stored.
func (r *Registry) due() []Discovered {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var due []Discovered
	for _, s := range r.seen {
		if s.stored.IsZero() || s.LastSeen.Sub(s.stored).Abs() >= lastSeenChanges {
			due = append(due, s.Discovered)
		}
	}
	return due
}

func upsert(ctx context.Context, tx *sql.Tx, d Discovered) error {
	serial := ""
	if d.Serial != 0 {
		serial = d.Serial.String()
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO discovered (mac, serial, model, first_seen, last_seen) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (mac) DO UPDATE SET serial = excluded.serial, model = excluded.model, last_seen = excluded.last_seen`,
		d.MAC.String(), serial, string(d.Model), d.FirstSeen.UnixNano(), d.LastSeen.UnixNano())
	return err
}

// Discovered returns the boards that sent a request and are not registered, the one
// seen last first.
func (r *Registry) Discovered() []Discovered {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := make([]Discovered, 0, len(r.seen))
	for _, s := range r.seen {
		list = append(list, s.Discovered)
	}
	slices.SortFunc(list, func(a, b Discovered) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), bytes.Compare(a.MAC[:], b.MAC[:]))
	})
	return list
}

func (r *Registry) loadSeen(ctx context.Context) error {
	rows, err := r.store.Query(ctx, "SELECT mac, serial, model, first_seen, last_seen FROM discovered")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var d Discovered
		var mac, serial string
		var first, last int64
		if err := rows.Scan(&mac, &serial, &d.Model, &first, &last); err != nil {
			return err
		}
		if d.MAC, err = pi.ParseMAC(mac); err != nil {
			return err
		}
		if serial != "" {
			if d.Serial, err = pi.ParseSerial(serial); err != nil {
				return err
			}
		}
		d.FirstSeen, d.LastSeen = time.Unix(0, first), time.Unix(0, last)
		r.seen[d.MAC] = sighting{Discovered: d, stored: d.LastSeen}
	}
	return rows.Err()
}
