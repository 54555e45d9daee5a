package watchfolder

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// changes are what the kernel reports about the directories of the folder (inotify(7)).
// A nil *changes reports nothing. It is safe for concurrent use.
type changes struct {
	mediaDir string
	fd       int
	file     *os.File // of fd; reading it waits
	ended    chan struct{}
	happened chan struct{} // has a value after a change

	mu      sync.Mutex
	dirs    map[int32]string // watched directories, by watch descriptor
	names   map[string]bool  // that have changed
	all     bool             // more has changed than is in names
	partial string           // why not every change is reported; "": every one is
}

const (
	changeMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR
	maxChanged = 10_000 // names that are remembered
)

// watchChanges starts to receive changes. It returns nil if the kernel reports none.
// The caller closes it.
func watchChanges(mediaDir string, log *slog.Logger) *changes {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		log.Info("watch folder is read at intervals", "component", "watchfolder", "reason", err.Error())
		return nil
	}
	c := &changes{
		mediaDir: mediaDir, fd: fd, file: os.NewFile(uintptr(fd), "inotify"), dirs: map[int32]string{}, names: map[string]bool{},
		ended: make(chan struct{}), happened: make(chan struct{}, 1),
	}
	go c.receive()
	return c
}

func (c *changes) close() {
	if c != nil {
		_ = c.file.Close() // it was only read
		<-c.ended
	}
}

// add makes the kernel report changes of a directory.
func (c *changes) add(name string) {
	if c == nil {
		return
	}
	dir := filepath.Join(c.mediaDir, filepath.FromSlash(name))
	wd, err := unix.InotifyAddWatch(c.fd, dir, changeMask)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.partial = err.Error()
		return
	}
	if _, known := c.dirs[int32(wd)]; !known && isRemote(dir) {
		c.partial = fmt.Sprintf("%s is on a network file system", name)
	}
	c.dirs[int32(wd)] = name
}

// remote are the file systems that other machines change, or whose servers do not
// report what others change.
func remote() []uint32 {
	return []uint32{
		unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC,
		unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC, unix.CODA_SUPER_MAGIC,
	}
}

func isRemote(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) != nil || slices.Contains(remote(), uint32(st.Type))
}

// any reports whether something has changed since take, or may have changed without a
// report.
func (c *changes) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all || len(c.names) > 0 || c.partial != ""
}

// take returns which names have changed since the last call.
func (c *changes) take() (changed func(name string) bool) {
	if c == nil {
		return func(string) bool { return false }
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	names, all := c.names, c.all
	c.names, c.all = map[string]bool{}, false
	return func(name string) bool { return all || names[name] }
}

// receive records changes until the file is closed.
func (c *changes) receive() {
	defer close(c.ended)
	buffer := make([]byte, 64<<10)
	for {
		n, err := c.file.Read(buffer)
		if err != nil {
			return
		}
		c.record(buffer[:n])
		select {
		case c.happened <- struct{}{}:
		default:
		}
	}
}

// record records the events that the kernel has written: for each the watch
// descriptor, the mask, a cookie and the length of the name, four bytes each, and the
// name.
func (c *changes) record(events []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(events) >= unix.SizeofInotifyEvent {
		wd, mask := int32(binary.NativeEndian.Uint32(events)), binary.NativeEndian.Uint32(events[4:])
		end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
		name, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:min(end, len(events))], []byte{0})
		events = events[min(end, len(events)):]
		switch dir, known := c.dirs[wd]; {
		case mask&unix.IN_IGNORED != 0:
			delete(c.dirs, wd)
		case mask&unix.IN_Q_OVERFLOW != 0, len(c.names) >= maxChanged:
			c.all = true
		case known:
			c.names[path.Join(dir, string(name))] = true
		}
	}
}
