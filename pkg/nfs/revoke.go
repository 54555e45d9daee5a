package nfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// revokeTimeout is how long Revoke waits for running calls, which wait for nothing but the disk.
const revokeTimeout = time.Minute

var errStillRunning = fmt.Errorf("calls that began before still run after %v: the disk does not answer; want it tried again", revokeTimeout)

// Revoke ends the clients' access to the regular file f. The caller has given f an owner and a
// mode that keep clients from changing it. That does not stop calls that started earlier:
// handles name files, not paths, and an owner may always write. Revoke waits for these calls,
// writes their data to the disk, and closes the descriptors of f that the server holds. Once
// Revoke has returned nil, clients to which owner and mode deny it cannot change f in any
// export.
//
// After an error f may still change.
func (s *Server) Revoke(f *os.File) error {
	if err := s.ready(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("its type is %v; want a regular file", info.Mode().Type())
	}
	if err == nil {
		err = s.revoke(info)
	}
	if err != nil {
		return fmt.Errorf("nfs: revoking %s: %w", f.Name(), err)
	}
	return nil
}

func (s *Server) revoke(info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("it has no inode; want a file of this machine")
	}
	file := inode{dev: uint64(st.Dev), ino: st.Ino}
	late := time.NewTimer(revokeTimeout)
	defer late.Stop()
	trees := s.exports.holding(file)
	var ended []<-chan struct{}
	for _, t := range trees {
		ended = append(ended, t.changing.next())
	}
	if err := awaitAll(ended, late); err != nil {
		return err
	}
	var closed []<-chan struct{}
	var errs []error
	for _, t := range trees {
		c, err := t.writers.revoke(s, file)
		closed, errs = append(closed, c...), append(errs, err)
	}
	return errors.Join(append(errs, awaitAll(closed, late))...)
}

func awaitAll(ended []<-chan struct{}, late *time.Timer) error {
	for _, c := range ended {
		select {
		case <-c:
		case <-late.C:
			return errStillRunning
		}
	}
	return nil
}

// An inode identifies a file of this machine, whatever its names are.
type inode struct{ dev, ino uint64 }

// inodeOf returns the inode that fd is open on.
func inodeOf(fd int) (inode, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return inode{dev: uint64(st.Dev), ino: st.Ino}, err
}

// mayHold reports whether a handle in t could name the file. Files in btrfs or an overlay can
// have device numbers other than the root's.
func (t *tree) mayHold(file inode) bool {
	return t.manyDevices || t.dev == file.dev
}

// A turnstile counts the calls that may change something in a tree. The zero value is ready for
// use.
type turnstile struct {
	mu  sync.Mutex
	now *generation
}

// A generation counts the calls that started between two Revokes.
type generation struct {
	calls int
	over  bool // no further call enters
	ended chan struct{}
}

// enter counts a call. A call must enter before it checks the owner or mode of any file, and
// must leave the returned generation at its end.
func (s *turnstile) enter() *generation {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		s.now = &generation{ended: make(chan struct{})}
	}
	s.now.calls++
	return s.now
}

func (s *turnstile) leave(g *generation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.calls--
	g.endLocked()
}

// next starts another generation. The returned channel is closed once all calls that entered
// earlier have left. Later calls cannot delay that.
func (s *turnstile) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.now
	if g == nil {
		g = &generation{ended: make(chan struct{})}
	}
	s.now = nil
	g.over = true
	g.endLocked()
	return g.ended
}

func (g *generation) endLocked() {
	if g.over && g.calls == 0 {
		close(g.ended)
	}
}
