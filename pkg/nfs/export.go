package nfs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
)

// A Squash says which callers of an export lose their user and group ids.
type Squash int

// The kinds of squashing.
const (
	NoSquash   Squash = iota // none: what a root file system needs
	RootSquash               // user and group 0
	AllSquash                // all
)

// An Export is a directory tree and who may mount it.
type Export struct {
	ID       uint32       // not 0; in every file handle: never used again for another tree
	Path     string       // what clients mount, e.g. /roots/3333347a
	Dir      string       // the tree on this machine; mounts below it are not part of it
	Only     string       // the one entry of Dir that clients see, and they cannot change Dir itself; "" means all
	Clients  []netip.Addr // who may mount it and use its handles
	ReadOnly bool

	// PrivilegedPort refuses calls from port 1024 and up, which on the client
	// every user may send from.
	PrivilegedPort bool

	Squash  Squash
	AnonUID uint32 // whom squashed callers become; 0 means 65534
	AnonGID uint32 // 0 means 65534

	// StreamDirs restricts clients, who are all AnonUID (Squash is AllSquash), to
	// changing what they have created, whatever modes allow. In a directory that
	// is not theirs, nor below an <other>.hls, they may create and remove one
	// thing: the directory <name>.hls beside a regular file <name>. Below it modes
	// decide, but it holds files and directories only, no links.
	StreamDirs bool

	// MaxBytes and MaxNames bound what lies below the export; 0: no limit, but
	// MaxBytes alone allows a million names. Calls that would exceed them get
	// NFS3ERR_DQUOT. Holes in files do not count.
	MaxBytes int64
	MaxNames int64

	// MinFree is how many bytes of the file system calls must leave free, together
	// with a hundredth of its inodes; 0: none. Clients that have written much
	// lately must leave up to twice as much, so that others can still write after
	// they have filled it. Calls that would use more get NFS3ERR_NOSPC.
	MinFree int64

	// Relaxed answers calls that change names or attributes at once and brings the
	// changes to the disk within a second. A power cut loses those that it finds in
	// memory, and no client makes them again. WRITE and COMMIT are not affected.
	Relaxed bool
}

// firstUserPort is the first that needs no privilege.
const firstUserPort = 1024

// Why a client may not use an export.
var (
	errAddress = fmt.Errorf("the address is not one of the export's clients: %w", statusAcces)
	errPort    = fmt.Errorf("the call comes from an unprivileged port, not from one below %d: %w", firstUserPort, statusAcces)
)

// maxExportPath is the longest path MOUNT carries (RFC 1813 §5.1.4, MNTPATHLEN).
const maxExportPath = 1024

// Check returns an error if e is not valid for any NFS server.
func (e Export) Check() error {
	if e.ID == 0 {
		return fmt.Errorf("nfs: export %q has no id; want a number above 0 that no other tree ever had", e.Path)
	}
	if !strings.HasPrefix(e.Path, "/") || path.Clean(e.Path) != e.Path || len(e.Path) > maxExportPath {
		return fmt.Errorf("nfs: export path %q is not usable; want a clean absolute path, e.g. /roots/3333347a", e.Path)
	}
	if e.Only != "" && checkNewName(e.Only) != nil {
		return fmt.Errorf("nfs: export %q shows %q only; want the name of one entry", e.Path, e.Only)
	}
	if e.MaxBytes < 0 || e.MaxNames < 0 || e.MinFree < 0 {
		return fmt.Errorf("nfs: export %q has limits below 0: %d bytes, %d names, %d bytes free; want 0 or more",
			e.Path, e.MaxBytes, e.MaxNames, e.MinFree)
	}
	if e.Squash < NoSquash || e.Squash > AllSquash {
		return fmt.Errorf("nfs: export %q has squash %d; want NoSquash, RootSquash or AllSquash", e.Path, e.Squash)
	}
	if e.StreamDirs && (e.Squash != AllSquash || e.AnonymousUID() == nobody) {
		return fmt.Errorf("nfs: export %q has StreamDirs, squash %d and anonymous user %d; want AllSquash, and a user that owns nothing else",
			e.Path, e.Squash, e.AnonUID)
	}
	return nil
}

// AnonymousUID is the user id of squashed callers.
func (e Export) AnonymousUID() uint32 { return orNobody(e.AnonUID) }

// AnonymousGID is the group id of squashed callers.
func (e Export) AnonymousGID() uint32 { return orNobody(e.AnonGID) }

// Export adds e, or replaces the export of the same path. Replacing disturbs no
// client: running calls finish under the old export, and with the same ID and
// tree all handles stay valid. If e.Dir cannot be served, Export changes nothing
// and returns an error that says what to do.
//
// The tree's file system cannot be unmounted until Unexport.
func (s *Server) Export(e Export) error {
	if err := s.ready(); err != nil {
		return err
	}
	if err := e.Check(); err != nil {
		return err
	}
	e.Clients = slices.Clone(e.Clients)
	for i, c := range e.Clients {
		e.Clients[i] = c.Unmap()
	}
	t, err := openTree(s, e)
	if err != nil {
		return fmt.Errorf("nfs: exporting %s as %s: %w", e.Dir, e.Path, err)
	}
	old, err := s.exports.put(t)
	if err != nil {
		return errors.Join(err, t.close())
	}
	return old.retire()
}

// MountPath returns path: this server exports a directory under any path.
func (s *Server) MountPath(path, _ string) string { return path }

// Unexport removes the export of that path, waits for its running calls and
// closes its tree. Its handles are then stale. It does nothing if the export does
// not exist. The export is removed even if Unexport returns an error.
func (s *Server) Unexport(path string) error {
	t := s.exports.remove(path)
	if t == nil {
		return nil
	}
	s.mounts.forget(path)
	if err := t.retire(); err != nil {
		return fmt.Errorf("nfs: closing the export %s: %w", path, err)
	}
	return nil
}

// Exports returns the exports, ordered by path.
func (s *Server) Exports() []Export {
	var all []Export
	for _, t := range s.exports.all() {
		e := t.export
		e.Clients = slices.Clone(e.Clients)
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Export) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// An exportTable holds the trees that are exported. The zero value is empty.
type exportTable struct {
	mu      sync.RWMutex
	byID    map[uint32]*tree
	byPath  map[string]*tree
	clients map[netip.Addr]struct{} // of any export
	retired map[*tree]struct{}      // out of the table, with calls that may run
}

// put adds t and returns the tree that it replaces, nil for none.
func (x *exportTable) put(t *tree) (*tree, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byID == nil {
		x.byID, x.byPath = map[uint32]*tree{}, map[string]*tree{}
	}
	if other := x.byID[t.export.ID]; other != nil && other.export.Path != t.export.Path {
		return nil, fmt.Errorf("nfs: export %s has the id %d of export %s; want an id of its own",
			t.export.Path, t.export.ID, other.export.Path)
	}
	old := x.byPath[t.export.Path]
	if old != nil {
		x.retireLocked(old)
		t.counters = old.counters
		if t.export.ID == old.export.ID && t.dev == old.dev {
			t.intake = old.intake
		}
		if t.sharesQuota(old) {
			t.quota = old.quota
		}
	}
	x.byID[t.export.ID], x.byPath[t.export.Path] = t, t
	x.collectLocked()
	return old, nil
}

// remove removes the tree of that path and returns it, nil for none.
func (x *exportTable) remove(path string) *tree {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.byPath[path]
	if t != nil {
		x.retireLocked(t)
		x.collectLocked()
	}
	return t
}

func (x *exportTable) retireLocked(t *tree) {
	delete(x.byPath, t.export.Path)
	delete(x.byID, t.export.ID)
	if x.retired == nil {
		x.retired = map[*tree]struct{}{}
	}
	x.retired[t] = struct{}{}
}

// forget drops t, a retired tree that no call uses any more.
func (x *exportTable) forget(t *tree) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.retired, t)
}

// holding returns the trees in which a call may be changing the file.
func (x *exportTable) holding(file inode) []*tree {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var all []*tree
	add := func(t *tree) {
		if !t.export.ReadOnly && t.mayHold(file) {
			all = append(all, t)
		}
	}
	for _, t := range x.byPath {
		add(t)
	}
	for t := range x.retired {
		add(t)
	}
	return all
}

// collectLocked rebuilds the set of clients.
func (x *exportTable) collectLocked() {
	x.clients = map[netip.Addr]struct{}{}
	for _, t := range x.byID {
		maps.Copy(x.clients, t.clients)
	}
}

// at returns the tree of that path, nil for none.
func (x *exportTable) at(path string) *tree {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.byPath[path]
}

// use returns the tree with that id for one call from that address and
// port, which releases it.
func (x *exportTable) use(id uint32, client netip.Addr, port uint16) (*tree, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.byID[id]
	if t == nil {
		return nil, statusStale
	}
	if err := t.admit(client, port); err != nil {
		return nil, err
	}
	t.calls.Add(1)
	return t, nil
}

// useRoot returns the wire handle of the root of the export of that path, as
// a call from that address and port may have it.
func (x *exportTable) useRoot(path string, client netip.Addr, port uint16) ([]byte, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	t := x.byPath[path]
	if t == nil {
		return nil, statusNoEnt
	}
	if err := t.admit(client, port); err != nil {
		return nil, err
	}
	return t.handle, nil
}

func (x *exportTable) all() []*tree {
	x.mu.RLock()
	defer x.mu.RUnlock()
	all := make([]*tree, 0, len(x.byPath))
	for _, t := range x.byPath {
		all = append(all, t)
	}
	return all
}

// knows reports whether client may mount anything at all.
func (x *exportTable) knows(client netip.Addr) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.clients[client]
	return ok
}
