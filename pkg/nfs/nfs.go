// Package nfs serves directory trees to boards that have them as their root
// file system: NFS version 3 (RFC 1813) with its MOUNT protocol, ONC RPC over
// TCP (RFC 5531), and a portmapper version 2 (RFC 1833) that knows these two.
// It also proves an export the way a board would use it (Server.Probe).
//
// Files are reached by the kernel's own file handles and by system calls
// relative to them, never by path: a handle survives rename and restart, and
// no name or symbolic link leads out of an export. Ownership and permission
// are the kernel's: each call runs under its caller's user and group ids.
package nfs

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"pibootd/pkg/nfs/rpc"
)

const (
	// keySize is what Server.Key must have.
	keySize = 32

	// maxIO is the largest READ and WRITE, announced by FSINFO.
	maxIO = rpc.MaxData

	// defaultMemory is Server.MaxMemory unless it is set.
	defaultMemory = 48 << 20

	// nobody is the user and group of squashed callers unless the export names
	// others.
	nobody = 65534
)

// A Server serves exports. Set its fields before the first call of a method;
// the methods are safe for concurrent use.
type Server struct {
	// Key authenticates file handles: 32 random bytes that the caller keeps in
	// the state directory. With another key, every handle a board holds is bad.
	Key []byte

	// CallsFile is where the server records calls that must not run twice, so
	// that a client may repeat them after this process was killed; "": nowhere.
	CallsFile string

	Log     *slog.Logger     // nil discards
	OnMount func(MountEvent) // called for each MNT and UMNT if not nil; must not block
	OnLimit func(LimitEvent) // likewise for exports at a limit; at most once a minute for each

	// OnBadHandle is likewise called, with the client's address, for each call whose file handle
	// this Key has not sealed, as after the key was replaced.
	OnBadHandle func(netip.Addr)

	MaxConns       int // at once, half of them for anybody; 0 means 1024
	MaxClientConns int // at once from one address; 0 means 32
	MaxClientCalls int // running at once for one address; 0 means 16
	MaxCalls       int // running at once in all, each on a thread of its own; 0 means 64

	// MaxMemory bounds the memory, in bytes, that the calls of all clients use
	// while they are read and answered; 0 means 48 MiB. Two large calls always
	// fit. When it is used up, sockets are read later.
	MaxMemory int

	start      sync.Once
	startErr   error
	self       identity
	running    chan struct{}
	memory     *rpc.Memory
	verifier   atomic.Uint64
	handles    *handleKey
	attrs      attrCache
	walking    chan struct{} // one held by each walk of an export
	floors     floors
	committers committers
	journal    *journal
	exports    exportTable
	mounts     mountTable
	counters   counters // of calls that reach no export
}

// A MountOp is what a board did with an export.
type MountOp string

// The operations of a MountEvent.
const (
	Mounted   MountOp = "mount"
	Unmounted MountOp = "unmount"
	Refused   MountOp = "refused"
)

// A MountEvent reports one MNT or UMNT call.
type MountEvent struct {
	Client netip.Addr
	Export string // the path as the client gave it
	Op     MountOp
	Reason string // why it was refused; else empty
}

// ready prepares s on its first use.
func (s *Server) ready() error {
	s.start.Do(func() {
		if len(s.Key) != keySize {
			s.startErr = fmt.Errorf("nfs: the key of the file handles has %d bytes; want %d", len(s.Key), keySize)
			return
		}
		if s.handles, s.startErr = newHandleKey(s.Key); s.startErr != nil {
			return
		}
		s.running = make(chan struct{}, or(s.MaxCalls, 64))
		s.walking = make(chan struct{}, maxWalks)
		s.memory = rpc.NewMemory(or(s.MaxMemory, defaultMemory))
		if s.CallsFile != "" {
			if s.journal, s.startErr = openJournal(s.CallsFile); s.startErr != nil {
				return
			}
		}
		s.self, s.startErr = ownIdentity()
		s.newVerifier()
		s.counters = newCounters(nfsProgram(), mountProgram(), portmapProgram())
	})
	return s.startErr
}

// newVerifier changes the write verifier: clients then send again whatever
// they have written and not committed (RFC 1813 §3.3.7).
func (s *Server) newVerifier() {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	s.verifier.Store(binary.BigEndian.Uint64(b[:]))
}

func (s *Server) log() *slog.Logger {
	return cmp.Or(s.Log, slog.New(slog.DiscardHandler))
}

// or is n, or d where n is not set.
func or(n, d int) int {
	if n <= 0 {
		return d
	}
	return n
}

// ownIdentity is whose rights the process has between calls.
func ownIdentity() (identity, error) {
	groups, err := os.Getgroups()
	if err != nil {
		return identity{}, fmt.Errorf("nfs: reading the groups of this process: %w", err)
	}
	id := identity{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())}
	for _, g := range groups {
		id.groups = append(id.groups, uint32(g))
	}
	return id, nil
}

// errGarbage is what a procedure returns for arguments that cannot be decoded.
var errGarbage = errors.New("arguments cannot be decoded")
