package registry

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/pi"
)

// A Machine is a registered machine that is not a board, such as a PC, and whose
// worker can connect to the queue. pibootd boots and exports nothing for it. Its
// Labels are shared with the registry: do not modify them.
type Machine struct {
	Name   string    `json:"name"` // also that of its worker; never that of a board
	Labels []string  `json:"labels,omitempty"`
	Weight float64   `json:"weight,omitzero"` // share of its time in which it transcodes; 0 means 1, the whole time
	Added  time.Time `json:"added"`
}

// ErrNoMachine is matched by the errors about a machine that is not registered.
var ErrNoMachine = errors.New("no such worker")

// maxMachines limits the registered machines: more, beside as many boards, could
// not be connected at once.
const maxMachines = 256

// legacyMuxerPrefix starts the names of legacy muxers in the queue.
const legacyMuxerPrefix = "muxer-"

type machine struct {
	Machine
	token [sha256.Size]byte
}

// Settings returns m's settings in the form of a board's.
func (m Machine) Settings() Settings { return Settings{Labels: m.Labels, Weight: m.Weight} }

func (m Machine) validate() error {
	name := Pi{Name: m.Name}.checkName()
	if strings.HasPrefix(m.Name, legacyMuxerPrefix) {
		name = fmt.Errorf("name %q reads as a muxer's of an older pool; want a name without %s", m.Name, legacyMuxerPrefix)
	}
	return errors.Join(pi.InvalidField("name", name), m.Settings().check())
}

// AddMachine registers m and the token of its worker, of which only a hash is
// stored. A zero m.Added becomes now.
func (r *Registry) AddMachine(ctx context.Context, m Machine, token string) (Machine, error) {
	if token == "" {
		return Machine{}, errors.New("registry: a machine needs a token for its worker")
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := errors.Join(m.validate(), r.machineConflicts(m.Name)); err != nil {
		return Machine{}, fmt.Errorf("registry: %w", err)
	}
	if m.Added.IsZero() {
		m.Added = time.Now()
	}
	m.Added = time.Unix(0, m.Added.UnixNano()) // as it is read from the store
	m.Labels = append([]string(nil), m.Labels...)
	added := machine{m, sha256.Sum256([]byte(token))}
	if err := r.insertMachine(ctx, added); err != nil {
		return Machine{}, fmt.Errorf("registry: adding %s: %w", m.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machines[m.Name] = added
	return m, nil
}

func (r *Registry) machineConflicts(name string) error {
	if _, ok := r.MachineByName(name); ok {
		return pi.Conflicting("name", fmt.Errorf("worker %s is registered already, and its token cannot be shown again; for a new one remove it first: pibootd remove-worker %s", name, name))
	}
	if p, ok := r.first(func(p Pi) bool { return p.Name == name }); ok {
		return pi.Conflicting("name", fmt.Errorf("name %s belongs to the board with serial %s; want another name", name, p.Serial))
	}
	if n := len(r.Machines()); n >= maxMachines {
		return pi.Conflicting("", fmt.Errorf("%d workers that are no boards are registered, the most there can be; remove one first", n))
	}
	return nil
}

func (r *Registry) insertMachine(ctx context.Context, m machine) error {
	settings, err := json.Marshal(m.Settings())
	if err != nil {
		return err
	}
	return r.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO machines (name, settings, token, added) VALUES (?, ?, ?, ?)",
			m.Name, string(settings), hex.EncodeToString(m.token[:]), m.Added.UnixNano())
		return err
	})
}

// UpdateMachine changes the settings of a registered machine. change receives a
// copy. Changes of its name, its token and Added have no effect. The error matches
// ErrNoMachine if there is no such machine.
func (r *Registry) UpdateMachine(ctx context.Context, name string, change func(*Machine)) (Machine, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	old, err := r.FindMachine(name)
	if err != nil {
		return Machine{}, err
	}
	m := old
	m.Labels = append([]string(nil), old.Labels...)
	change(&m)
	m.Name, m.Added = old.Name, old.Added
	m.Labels = append([]string(nil), m.Labels...)
	if err := m.validate(); err != nil {
		return Machine{}, fmt.Errorf("registry: changing %s: %w", m.Name, err)
	}
	if err := r.writeMachine(ctx, m); err != nil {
		return Machine{}, fmt.Errorf("registry: changing %s: %w", m.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machines[m.Name] = machine{m, r.machines[m.Name].token}
	return m, nil
}

func (r *Registry) writeMachine(ctx context.Context, m Machine) error {
	settings, err := json.Marshal(m.Settings())
	if err != nil {
		return err
	}
	return r.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE machines SET settings = ? WHERE name = ?", string(settings), m.Name)
		return err
	})
}

// RemoveMachine removes a machine and returns it. The error matches ErrNoMachine if
// there is no such machine.
func (r *Registry) RemoveMachine(ctx context.Context, name string) (Machine, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	m, err := r.FindMachine(name)
	if err != nil {
		return Machine{}, err
	}
	err = r.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM machines WHERE name = ?", m.Name)
		return err
	})
	if err != nil {
		return Machine{}, fmt.Errorf("registry: removing %s: %w", m.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.machines, m.Name)
	return m, nil
}

// CheckMachineToken is CheckToken for a machine.
func (r *Registry) CheckMachineToken(name, token string) bool {
	got := sha256.Sum256([]byte(token))
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.machines[name]
	return subtle.ConstantTimeCompare(got[:], m.token[:]) == 1 && ok
}

// MachineByName returns the machine with this name.
func (r *Registry) MachineByName(name string) (Machine, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.machines[name]
	return m.Machine, ok
}

// FindMachine returns the machine that a user refers to as ref. The error matches
// ErrNoMachine.
func (r *Registry) FindMachine(ref string) (Machine, error) {
	if m, ok := r.MachineByName(strings.ToLower(strings.TrimSpace(ref))); ok {
		return m, nil
	}
	return Machine{}, fmt.Errorf("registry: %q: %w that is no board; pibootd list-workers lists them", ref, ErrNoMachine)
}

// Machines returns all machines, sorted by name.
func (r *Registry) Machines() []Machine {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Machine, 0, len(r.machines))
	for _, m := range r.machines {
		all = append(all, m.Machine)
	}
	slices.SortFunc(all, func(a, b Machine) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (r *Registry) loadMachines(ctx context.Context) error {
	rows, err := r.store.Query(ctx, "SELECT name, settings, token, added FROM machines")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		m, err := scanMachine(rows)
		if err != nil {
			return err
		}
		r.machines[m.Name] = m
	}
	return rows.Err()
}

// scanMachine reads a row of machines.
func scanMachine(rows *sql.Rows) (machine, error) {
	var name, text, token string
	var added int64
	if err := rows.Scan(&name, &text, &token, &added); err != nil {
		return machine{}, err
	}
	var settings Settings
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return machine{}, fmt.Errorf("settings of %s: %w", name, err)
	}
	hash, err := parseHash(token)
	if err != nil {
		return machine{}, fmt.Errorf("token of %s: %w", name, err)
	}
	m := Machine{Name: name, Labels: settings.Labels, Weight: settings.Weight, Added: time.Unix(0, added)}
	return machine{m, hash}, nil
}
