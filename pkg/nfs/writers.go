package nfs

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxWriters is how many files of one tree are kept open between UNSTABLE
// writes and their COMMIT.
const maxWriters = 64

// writers keeps those files open that were written and not yet committed.
// While a file is open, the kernel remembers that bringing its pages to disk
// failed and tells at the next fsync; of a file that nobody has open it may
// forget. The zero value is empty.
type writers struct {
	mu    sync.Mutex
	files map[string]*writer // by wire handle: those that are not ending
	order []*writer          // all, oldest first
}

// A writer is such a file. users, writes and ending are guarded by the mutex
// of its writers.
type writer struct {
	wire    string
	file    inode
	fd      int // open while there are users, or it is not ending
	users   int
	writes  int  // UNSTABLE ones begun since it was opened
	ending  bool // its last user closes it, whatever is not committed
	closed  chan struct{}
	syncing sync.Mutex // see stabilize
}

// use returns the file of o opened for writing, for one WRITE that gives it
// back with done.
func (ws *writers) use(o *object, unstable bool) (*writer, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.files[string(o.wire)]
	if w == nil {
		var err error
		if w, err = openWriter(o); err != nil {
			return nil, err
		}
		if ws.files == nil {
			ws.files = map[string]*writer{}
		}
		ws.files[w.wire] = w
		ws.order = append(ws.order, w)
	}
	w.users++
	if unstable {
		w.writes++
	}
	return w, nil
}

func openWriter(o *object) (*writer, error) {
	fd, err := o.openToWrite()
	if err != nil {
		return nil, err
	}
	file, err := inodeOf(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &writer{wire: string(o.wire), file: file, fd: fd, closed: make(chan struct{})}, nil
}

// find returns the file of o if it is open, for one call that gives it back
// with done, and how many writes had begun by then.
func (ws *writers) find(o *object) (w *writer, writes int) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w = ws.files[string(o.wire)]
	if w == nil {
		return nil, 0
	}
	w.users++
	return w, w.writes
}

// done gives w back. committed is how many of its UNSTABLE writes are on the
// disk since; w is closed when that is all.
func (ws *writers) done(w *writer, committed int) {
	if !ws.release(w, committed) {
		return
	}
	_ = unix.Close(w.fd) // synced, or deleted
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.order = slices.DeleteFunc(ws.order, func(o *writer) bool { return o == w })
	close(w.closed)
}

// release reports whether w is to be closed.
func (ws *writers) release(w *writer, committed int) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.users--
	if w.users > 0 || !w.ending && w.writes != committed {
		return false
	}
	ws.endLocked(w)
	return true
}

// endLocked keeps others from coming to use w, so that its last user closes it.
func (ws *writers) endLocked(w *writer) {
	w.ending = true
	if ws.files[w.wire] == w { // one that is ending may have a successor
		delete(ws.files, w.wire)
	}
}

// retire ends those files of which that can be said, for a caller that gives
// each back with done. It is not said of files that are being closed.
func (ws *writers) retire(end func(*writer) bool) []*writer {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	var taken []*writer
	for _, w := range ws.order {
		if closing := w.ending && w.users == 0; !closing && end(w) {
			ws.endLocked(w)
			w.users++
			taken = append(taken, w)
		}
	}
	return taken
}

// trim commits the oldest files that nobody uses while there are too many.
func (ws *writers) trim(s *Server) {
	excess := ws.retire(func(w *writer) bool { return len(ws.files) > maxWriters && w.users == 0 })
	for _, w := range excess { // if all are being used: that is bounded by MaxCalls
		ws.commitAndClose(s, w)
	}
}

// dropDeleted closes the files that have no name any more: their COMMIT need
// not come, and until it does they take up the disk.
func (ws *writers) dropDeleted() {
	deleted := ws.retire(func(w *writer) bool {
		var st unix.Stat_t
		return w.users == 0 && unix.Fstat(w.fd, &st) == nil && st.Nlink == 0
	})
	for _, w := range deleted {
		ws.done(w, 0) // nobody can read what was written to it
	}
}

// closeAll commits and closes all files. No call may use any.
func (ws *writers) closeAll(s *Server) {
	for _, w := range ws.retire(func(*writer) bool { return true }) {
		ws.commitAndClose(s, w)
	}
}

// revoke commits the file and closes it, under every handle, and returns what
// is closed when others have done so that had begun to.
func (ws *writers) revoke(s *Server, file inode) (closed []<-chan struct{}, err error) {
	for _, w := range ws.retire(func(w *writer) bool { return w.file == file }) {
		if e := s.stabilize(w, fileSync); e != nil {
			err = errors.Join(err, fmt.Errorf("bringing to the disk what was written: %w", e))
		}
		ws.done(w, 0)
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.order {
		if w.file == file && w.ending {
			closed = append(closed, w.closed)
		}
	}
	return closed, err
}

// stabilize brings what was written to w to the disk unless how is unstable.
// If that fails the kernel may have dropped pages of other writes too, so all
// clients have to send theirs again. It tells that only once to each open
// file: who syncs w next must not get to know before the verifier is a new one.
func (s *Server) stabilize(w *writer, how uint32) error {
	if how == unstable {
		return nil
	}
	w.syncing.Lock()
	defer w.syncing.Unlock()
	err := unix.Fsync(w.fd)
	if err != nil {
		s.newVerifier()
	}
	return err
}

// commitAndClose gives w back, which retire returned.
func (ws *writers) commitAndClose(s *Server, w *writer) {
	if err := s.stabilize(w, fileSync); err != nil {
		s.log().Error("syncing a written file", "err", err)
	}
	ws.done(w, 0)
}
