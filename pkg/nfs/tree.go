package nfs

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A tree is an export that is being served.
type tree struct {
	server   *Server
	export   Export
	clients  map[netip.Addr]struct{}
	counters counters

	// mount is a mount of the tree alone, which exists only in this process.
	// In it there is nothing above the root and nothing mounted inside, so the
	// kernel itself keeps ".." and every name within the export.
	mount  int
	root   int    // the root directory, open in that mount
	handle []byte // the root's wire handle
	noExec bool   // the file system is mounted noexec on this machine

	dev         uint64 // the root's device number
	manyDevices bool   // files of the tree may have others
	lateBlocks  bool   // a file has its blocks some time after it was written
	inPlace     bool   // a file that is written over keeps its blocks
	lateSpace   bool   // what was written is missing from the free space some time later
	copiesUp    bool   // a file is copied as a whole when it is first changed
	limits      limits

	calls    sync.WaitGroup // those using the tree
	changing turnstile      // of those that may change something
	quota    *quota
	floor    *floor // nil: none
	intake   *intake
	walks    sync.WaitGroup // those counting for the quota
	stop     chan struct{}  // closed to end them
	writers  writers
	syncer   inodeSyncer
	late     lateSync
	locks    [64]sync.Mutex // by inode: held while a call changes it
}

// openTree opens e's directory and makes sure that it can be served.
func openTree(s *Server, e Export) (*tree, error) {
	t := &tree{
		server: s, export: e, mount: -1, root: -1, quota: new(quota), intake: new(intake), stop: make(chan struct{}),
		clients: map[netip.Addr]struct{}{}, counters: newCounters(nfsProgram()),
	}
	for _, c := range e.Clients {
		t.clients[c] = struct{}{}
	}
	if err := t.open(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *tree) open() error {
	var err error
	t.mount, err = unix.OpenTree(unix.AT_FDCWD, t.export.Dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return fmt.Errorf("mounting it privately: %w; this needs root with CAP_SYS_ADMIN and Linux 5.8", err)
	case err != nil:
		return fmt.Errorf("mounting it privately: %w", err)
	}
	t.root, err = unix.Openat(t.mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening it: %w; want a directory", err)
	}
	if err := unix.Faccessat2(t.root, "", unix.R_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS); err != nil {
		return fmt.Errorf("asking for rights on it: %w; this needs Linux 5.8", err)
	}
	return t.openHandles()
}

// openHandles makes the root's handle and proves that the file system finds a
// file by its handle.
func (t *tree) openHandles() error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(t.root, &fs); err != nil {
		return fmt.Errorf("asking for its file system: %w", err)
	}
	fsType := uint32(fs.Type) // it is signed on 32-bit machines
	if !lastingHandles[fsType] {
		return noHandles(fsType, errHandlesEnd)
	}
	t.noExec = fs.Flags&unix.ST_NOEXEC != 0
	t.manyDevices = fsType == unix.BTRFS_SUPER_MAGIC || fsType == unix.OVERLAYFS_SUPER_MAGIC
	t.lateBlocks = !promptBlocks[fsType]
	t.lateSpace = fsType != unix.EXT4_SUPER_MAGIC && fsType != unix.XFS_SUPER_MAGIC && fsType != unix.TMPFS_MAGIC
	t.inPlace = fsType == unix.EXT4_SUPER_MAGIC || fsType == unix.TMPFS_MAGIC
	t.copiesUp = fsType == unix.OVERLAYFS_SUPER_MAGIC
	if t.limits = limitsOf(fs); t.copiesUp {
		t.limits.maxFile = largestFileIn(t.root)
	}
	root, err := inodeOf(t.root)
	if err != nil {
		return fmt.Errorf("asking for its attributes: %w", err)
	}
	t.dev = root.dev
	if t.export.MinFree > 0 {
		t.floor = t.server.floors.enter(t.dev)
	}
	fh, err := nameToHandle(t.root, "", unix.AT_EMPTY_PATH)
	if err == nil {
		t.handle, err = sealHandle(t.server.handles, t.export.ID, fh)
	}
	if err != nil {
		return noHandles(uint32(fs.Type), err)
	}
	fd, err := unix.OpenByHandleAt(t.root, fh, unix.O_PATH|unix.O_CLOEXEC)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("opening a file by its handle: %w; this needs root with CAP_DAC_READ_SEARCH", err)
	}
	if err != nil {
		return noHandles(uint32(fs.Type), err)
	}
	return unix.Close(fd)
}

// lastingHandles are the file systems whose handles find their file for as
// long as it exists. Others have none, or have some that end with a mount or
// when the kernel forgets the file: FUSE, FAT and the network file systems.
var lastingHandles = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC:      true, // and ext2 and ext3
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.TMPFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true, // with nfs_export=on
	unix.F2FS_SUPER_MAGIC:      true,
	0x2fc12fc1:                 true, // ZFS
	0xca451a4e:                 true, // bcachefs
}

// promptBlocks are the file systems that count a file's blocks as soon as they
// are written, though they find a place for them later.
var promptBlocks = map[uint32]bool{
	unix.EXT4_SUPER_MAGIC:      true,
	unix.XFS_SUPER_MAGIC:       true,
	unix.BTRFS_SUPER_MAGIC:     true,
	unix.TMPFS_MAGIC:           true,
	unix.OVERLAYFS_SUPER_MAGIC: true,
}

var errHandlesEnd = errors.New("a handle may end before its file does")

// noHandles says what to do about a file system without lasting handles.
func noHandles(fsType uint32, err error) error {
	if fsType == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("this overlay has no file handles (%w): mount it with index=on,nfs_export=on", err)
	}
	return fmt.Errorf("its file system (type %#x) has no file handles that last (%w): put the tree on ext4, xfs, btrfs, tmpfs or overlayfs", fsType, err)
}

// retire waits for the calls that use t and closes it. t may be nil. No new
// call can come: t is in no table any more.
func (t *tree) retire() error {
	if t == nil {
		return nil
	}
	t.calls.Wait()
	close(t.stop)
	t.walks.Wait()
	t.server.attrs.forgetTree(t)
	defer t.server.exports.forget(t)
	return t.close()
}

func (t *tree) close() error {
	t.writers.closeAll(t.server)
	if t.floor != nil {
		t.server.floors.leave(t.dev)
	}
	errs := []error{t.syncer.close(t)}
	for _, fd := range []int{t.root, t.mount} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// admit returns why calls from that address and port may not use t.
func (t *tree) admit(client netip.Addr, port uint16) error {
	if _, ok := t.clients[client]; !ok {
		return errAddress
	}
	if t.export.PrivilegedPort && port >= firstUserPort {
		return errPort
	}
	return nil
}

// identity is whom a caller acts as in this tree.
func (t *tree) identity(caller identity, anonymous bool) identity {
	e := t.export
	anonUID, anonGID := e.AnonymousUID(), e.AnonymousGID()
	if anonymous || e.Squash == AllSquash {
		return identity{uid: anonUID, gid: anonGID}
	}
	id := identity{uid: caller.uid, gid: caller.gid, groups: slices.Clone(caller.groups)}
	if squashed(id.uid, e.Squash) {
		id.uid = anonUID
	}
	if squashed(id.gid, e.Squash) {
		id.gid = anonGID
	}
	id.groups = slices.DeleteFunc(id.groups, func(g uint32) bool { return squashed(g, e.Squash) })
	return id
}

func squashed(id uint32, how Squash) bool {
	return id == invalidID || id == 0 && how == RootSquash
}

func orNobody(id uint32) uint32 {
	if id == 0 || id == invalidID {
		return nobody
	}
	return id
}

// lock keeps others from changing the objects until the returned function is
// called.
func (t *tree) lock(objects ...*object) (unlock func()) {
	var at []int
	for _, o := range objects {
		at = append(at, int(o.attr.Ino%uint64(len(t.locks))))
	}
	slices.Sort(at) // always in the same order: no two calls wait for each other
	at = slices.Compact(at)
	for _, i := range at {
		t.locks[i].Lock()
	}
	return func() {
		for _, i := range at {
			t.locks[i].Unlock()
		}
	}
}

// limits are what PATHCONF and FSINFO say of a file system.
type limits struct {
	maxFile  uint64
	maxLinks uint32
}

func limitsOf(fs unix.Statfs_t) limits {
	switch uint32(fs.Type) {
	case unix.EXT4_SUPER_MAGIC: // block numbers within a file have 32 bits
		return limits{maxFile: math.MaxUint32 * uint64(fs.Bsize), maxLinks: 65000}
	case unix.BTRFS_SUPER_MAGIC:
		return limits{maxFile: math.MaxInt64, maxLinks: 65535}
	}
	return limits{maxFile: math.MaxInt64, maxLinks: math.MaxInt32}
}

// largestFileIn returns the size of the largest file in the overlay of the directory dir: that of
// its upper layer, whose type an overlay does not tell. It asks a file without a name, and returns
// the largest size of all if it can make none.
func largestFileIn(dir int) uint64 {
	fd, err := unix.Openat(dir, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return maxOffset
	}
	defer unix.Close(fd)
	size := int64(0)
	for part := int64(1) << 62; part > 0; part /= 2 {
		if _, err := unix.Seek(fd, size|part, unix.SEEK_SET); err == nil {
			size |= part
		}
	}
	return uint64(size)
}
