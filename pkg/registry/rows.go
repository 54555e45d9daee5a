package registry

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"pibootd/pkg/pi"
)

// insert stores a board, in place of an old one with the same serial number, and
// returns its new ID.
func (r *Registry) insert(ctx context.Context, e entry) (int64, error) {
	p := e.pi
	settings, err := json.Marshal(p.Settings)
	if err != nil {
		return 0, err
	}
	var id int64
	err = r.store.Write(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM pis WHERE serial = ?", p.Serial.String()); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO pis (serial, mac, name, ip, template, version, arch, clone, settings, token, added)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			p.Serial.String(), p.MAC.String(), p.Name, p.IP.String(), p.Template, p.Version, string(p.Arch), p.Clone,
			string(settings), hex.EncodeToString(e.token[:]), p.Added.UnixNano())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM discovered WHERE mac = ?", p.MAC.String()); err != nil {
			return err
		}
		id, err = result.LastInsertId()
		return err
	})
	return id, err
}

// update stores the fields of a board that can change.
func (r *Registry) update(ctx context.Context, p Pi) error {
	settings, err := json.Marshal(p.Settings)
	if err != nil {
		return err
	}
	return r.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE pis SET mac = ?, name = ?, ip = ?, settings = ?
			WHERE serial = ?`,
			p.MAC.String(), p.Name, p.IP.String(), string(settings), p.Serial.String())
		return err
	})
}

func (r *Registry) loadPis(ctx context.Context) error {
	rows, err := r.store.Query(ctx, "SELECT id, serial, mac, name, ip, template, version, arch, clone, settings, token, added FROM pis")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return err
		}
		r.pis[e.pi.Serial] = e
	}
	return rows.Err()
}

// scan reads a row of pis.
func scan(rows *sql.Rows) (entry, error) {
	var p Pi
	var serial, mac, ip, settings, token string
	var added int64
	err := rows.Scan(&p.ID, &serial, &mac, &p.Name, &ip, &p.Template, &p.Version, &p.Arch, &p.Clone, &settings, &token, &added)
	if err != nil {
		return entry{}, err
	}
	p.Added = time.Unix(0, added)
	if p.Serial, err = pi.ParseSerial(serial); err != nil {
		return entry{}, err
	}
	if p.MAC, err = pi.ParseMAC(mac); err != nil {
		return entry{}, err
	}
	if p.IP, err = netip.ParseAddr(ip); err != nil {
		return entry{}, err
	}
	if err := json.Unmarshal([]byte(settings), &p.Settings); err != nil {
		return entry{}, fmt.Errorf("settings of %s: %w", p.Name, err)
	}
	hash, err := parseHash(token)
	if err != nil {
		return entry{}, fmt.Errorf("token of %s: %w", p.Name, err)
	}
	return entry{pi: p, token: hash}, nil
}

// parseHash parses the hash of a token.
func parseHash(text string) ([sha256.Size]byte, error) {
	hash, err := hex.DecodeString(text)
	if err != nil || len(hash) != sha256.Size {
		return [sha256.Size]byte{}, fmt.Errorf("%d bytes; want the %d of a SHA-256", len(hash), sha256.Size)
	}
	return [sha256.Size]byte(hash), nil
}
