// Package registry has the registered boards with their settings, the boards that
// were discovered but not registered, and the other machines with workers. Lookups
// use memory only; a change is stored when the call that makes it returns.
package registry

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

// ErrUnknown is matched by the errors about a board that is not registered.
var ErrUnknown = errors.New("no such board")

// A Registry is the set of known boards. It is safe for concurrent use.
type Registry struct {
	store *store.Store
	// changing is held during a change, including the write to disk, so that
	// changes are made one at a time. Lookups never wait for it.
	changing sync.Mutex

	mu       sync.RWMutex // guards the following fields; no I/O under it
	pis      map[pi.Serial]entry
	machines map[string]machine // by name
	seen     map[pi.MAC]sighting

	written time.Time // when seen was last stored; guarded by changing
}

type entry struct {
	pi    Pi
	token [sha256.Size]byte
}

// Open reads the boards of s.
func Open(ctx context.Context, s *store.Store) (*Registry, error) {
	r := &Registry{store: s, pis: map[pi.Serial]entry{}, machines: map[string]machine{}, seen: map[pi.MAC]sighting{}}
	if err := r.loadPis(ctx); err != nil {
		return nil, fmt.Errorf("registry: reading boards: %w", err)
	}
	if err := r.loadMachines(ctx); err != nil {
		return nil, fmt.Errorf("registry: reading machines: %w", err)
	}
	if err := r.loadSeen(ctx); err != nil {
		return nil, fmt.Errorf("registry: reading discovered boards: %w", err)
	}
	return r, nil
}

// Add registers p, to which it assigns an ID, and the token of p's worker, of which
// only a hash is stored. A zero p.Added becomes now.
func (r *Registry) Add(ctx context.Context, p Pi, token string) (Pi, error) {
	if token == "" {
		return Pi{}, errors.New("registry: a board needs a token for its worker")
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	if err := r.Check(p); err != nil {
		return Pi{}, err
	}
	if p.Added.IsZero() {
		p.Added = time.Now()
	}
	p.Added = time.Unix(0, p.Added.UnixNano()) // as it is read from the store
	p.Settings = p.Settings.clone()
	added := entry{pi: p, token: sha256.Sum256([]byte(token))}
	id, err := r.insert(ctx, added)
	if err != nil {
		return Pi{}, fmt.Errorf("registry: adding %s: %w", p.Name, err)
	}
	added.pi.ID = id

	r.mu.Lock()
	defer r.mu.Unlock()
	r.pis[p.Serial] = added
	delete(r.seen, p.MAC)
	return added.pi, nil
}

// Update changes a registered board. change receives a copy. Changes of its serial
// number, ID, time of addition, root and token have no effect.
func (r *Registry) Update(ctx context.Context, serial pi.Serial, change func(*Pi)) (Pi, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	old, err := r.entry(serial)
	if err != nil {
		return Pi{}, err
	}
	p := old.pi
	p.Settings = p.Settings.clone()
	change(&p)
	p.Serial, p.ID, p.Added = old.pi.Serial, old.pi.ID, old.pi.Added
	p.Root = old.pi.Root
	p.Settings = p.Settings.clone()
	if err := errors.Join(p.validate(), r.conflicts(p)); err != nil {
		return Pi{}, fmt.Errorf("registry: changing %s: %w", old.pi.Name, err)
	}
	if err := r.update(ctx, p); err != nil {
		return Pi{}, fmt.Errorf("registry: changing %s: %w", old.pi.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pis[serial] = entry{pi: p, token: old.token}
	return p, nil
}

// SetRoot records that a board has another root, and the token of the worker in it.
// The board gets another ID, because its export is of another tree.
func (r *Registry) SetRoot(ctx context.Context, serial pi.Serial, root Root, token string) (Pi, error) {
	if token == "" {
		return Pi{}, errors.New("registry: a board needs a token for its worker")
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	e, err := r.entry(serial)
	if err != nil {
		return Pi{}, err
	}
	e.pi.Root, e.token = root, sha256.Sum256([]byte(token))
	if err = e.pi.validate(); err == nil {
		e.pi.ID, err = r.insert(ctx, e)
	}
	if err != nil {
		return Pi{}, fmt.Errorf("registry: changing the root of %s: %w", e.pi.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pis[serial] = e
	return e.pi, nil
}

// Remove removes a board. The error matches ErrUnknown if there is no such board.
func (r *Registry) Remove(ctx context.Context, serial pi.Serial) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	if _, err := r.entry(serial); err != nil {
		return err
	}
	err := r.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM pis WHERE serial = ?", serial.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("registry: removing %s: %w", serial, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pis, serial)
	return nil
}

// Check reports every reason why Add would refuse p, so that nothing is prepared
// for a board that cannot be added.
func (r *Registry) Check(p Pi) error {
	err := errors.Join(p.validate(), r.known(p.Serial), r.conflicts(p))
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

func (r *Registry) known(serial pi.Serial) error {
	if p, ok := r.BySerial(serial); ok {
		return pi.Conflicting("serial", fmt.Errorf("serial %s is registered already, as %s; remove that one first", serial, p.Name))
	}
	return nil
}

// conflicts reports the values of p that must be unique and that others have, too.
func (r *Registry) conflicts(p Pi) error {
	var problems []error
	taken := func(field, format string, args ...any) {
		problems = append(problems, pi.Conflicting(field, fmt.Errorf(format, args...)))
	}
	if _, ok := r.MachineByName(p.Name); ok {
		taken("name", "name %s belongs to a worker that is no board; want another name", p.Name)
	}
	for _, other := range r.All() {
		if other.Serial == p.Serial {
			continue
		}
		if other.MAC == p.MAC {
			taken("mac", "address %s belongs to %s (serial %s)", p.MAC, other.Name, other.Serial)
		}
		if other.Name == p.Name {
			taken("name", "name %s belongs to the board with serial %s; want another name", p.Name, other.Serial)
		}
		if other.IP == p.IP {
			taken("ip", "ip %s belongs to %s (serial %s); want another address", p.IP, other.Name, other.Serial)
		}
	}
	return errors.Join(problems...)
}

// Authenticate reports whether this token belongs to the worker of this name: a
// board's serial number, or a machine's name. No other spelling of either is
// accepted.
func (r *Registry) Authenticate(worker, token string) bool {
	serial, err := pi.ParseSerial(worker)
	if err != nil {
		return r.CheckMachineToken(worker, token)
	}
	return worker == serial.String() && r.CheckToken(serial, token)
}

// WorkerSettings returns the settings of a worker's board or machine. They are
// empty if it is not registered, or its name is spelled differently.
func (r *Registry) WorkerSettings(worker string) Settings {
	serial, err := pi.ParseSerial(worker)
	if err != nil {
		m, _ := r.MachineByName(worker)
		return m.Settings()
	}
	board, ok := r.BySerial(serial)
	if !ok || worker != serial.String() {
		return Settings{}
	}
	return board.Settings
}

// CheckToken reports whether token is the board's. Its duration does not depend on
// the right token.
func (r *Registry) CheckToken(serial pi.Serial, token string) bool {
	got := sha256.Sum256([]byte(token))
	e, err := r.entry(serial)
	return subtle.ConstantTimeCompare(got[:], e.token[:]) == 1 && err == nil
}

func (r *Registry) entry(serial pi.Serial) (entry, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, ok := r.pis[serial]
	if !ok {
		return entry{}, fmt.Errorf("registry: serial %s: %w", serial, ErrUnknown)
	}
	return e, nil
}

// BySerial returns the board with this serial number.
func (r *Registry) BySerial(serial pi.Serial) (Pi, bool) {
	e, err := r.entry(serial)
	return e.pi, err == nil
}

// ByMAC returns the board with this Ethernet address.
func (r *Registry) ByMAC(mac pi.MAC) (Pi, bool) {
	return r.first(func(p Pi) bool { return p.MAC == mac })
}

// ByIP returns the board with this address, which may be an IPv4 address in IPv6
// form, as sockets report it.
func (r *Registry) ByIP(ip netip.Addr) (Pi, bool) {
	ip = ip.Unmap()
	return r.first(func(p Pi) bool { return p.IP == ip })
}

// first returns the first board that match accepts. There are dozens of boards and
// a handful of lookups a second: an index would cost more than it saves.
func (r *Registry) first(match func(Pi) bool) (Pi, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.pis {
		if match(e.pi) {
			return e.pi, true
		}
	}
	return Pi{}, false
}

// Find returns the board that a user refers to as ref: its name, serial number or
// Ethernet address. The error matches ErrUnknown and lists the registered boards.
func (r *Registry) Find(ref string) (Pi, error) {
	name := strings.ToLower(strings.TrimSpace(ref))
	if p, ok := r.first(func(p Pi) bool { return p.Name == name }); ok {
		return p, nil
	}
	if serial, err := pi.ParseSerial(name); err == nil {
		if p, ok := r.BySerial(serial); ok {
			return p, nil
		}
	}
	if mac, err := pi.ParseMAC(name); err == nil {
		if p, ok := r.ByMAC(mac); ok {
			return p, nil
		}
	}
	return Pi{}, fmt.Errorf("registry: %q: %w; want a name, serial number or Ethernet address of %s", ref, ErrUnknown, r.choices())
}

// choices lists the registered boards for an error text.
func (r *Registry) choices() string {
	const most = 8
	all := r.All()
	if len(all) == 0 {
		return "a registered board, of which there is none"
	}
	var names []string
	for _, p := range all[:min(most, len(all))] {
		names = append(names, fmt.Sprintf("%s (%s, %s)", p.Name, p.Serial, p.MAC))
	}
	if more := len(all) - most; more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// All returns the registered boards, sorted by name.
func (r *Registry) All() []Pi {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Pi, 0, len(r.pis))
	for _, e := range r.pis {
		all = append(all, e.pi)
	}
	slices.SortFunc(all, func(a, b Pi) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// FreeAddress returns the lowest address from first to last that no board has and
// for which taken returns false. taken may be nil. It is called in order and may be
// slow, like a ping.
func (r *Registry) FreeAddress(first, last netip.Addr, taken func(netip.Addr) bool) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, p := range r.All() {
		used[p.IP] = true
	}
	tried := 0
	for addr := first; addr.IsValid() && addr.Compare(last) <= 0; addr = addr.Next() {
		tried++
		if !used[addr] && (taken == nil || !taken(addr)) {
			return addr, nil
		}
	}
	return netip.Addr{}, pi.Conflicting("", fmt.Errorf("registry: all %d addresses of %s-%s are taken; widen addresses in the configuration's [dhcp], or remove a board", tried, first, last))
}
