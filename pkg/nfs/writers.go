package nfs

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// maxWriters is how many files of one tree stay open between UNSTABLE writes and their COMMIT.
const maxWriters = 64

// writers keeps files open that clients have written and not yet committed. While a file is
// open, the kernel remembers that it failed to write the file's pages to disk, and the next
// fsync returns that error. The kernel may forget the error of a file that nobody has open. The
// zero value is empty.
type writers struct {
	mu    sync.Mutex
	files map[string]*writer // by wire handle, without those that are ending
	order []*writer          // all, oldest first
}

// A writer is a file that writers keeps open. The mutex of its writers guards users, writes and
// ending.
type writer struct {
	wire    string
	file    inode
	fd      int // open until the writer is ending and has no users
	users   int
	writes  int  // UNSTABLE writes started since the file was opened
	ending  bool // its last user closes it, even with uncommitted writes
	closed  chan struct{}
	syncing sync.Mutex // see stabilize
}

// use opens the file of o for one WRITE, or returns it if it is open. The WRITE returns it with
// done.
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

// find returns the file of o if it is open, and how many writes had started by then. The caller
// returns the file with done.
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

// done returns w. committed is how many of its UNSTABLE writes have reached the disk since; done
// closes w if none remain.
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

// release reports whether the caller must close w.
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

// endLocked stops other calls from using w, so that its last user closes it.
func (ws *writers) endLocked(w *writer) {
	w.ending = true
	if ws.files[w.wire] == w { // the entry may be the successor of one that is ending
		delete(ws.files, w.wire)
	}
}

// retire ends the files for which end returns true, except those that are already being closed.
// The caller must call done for each.
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

// trim commits and closes the oldest unused files while there are too many.
func (ws *writers) trim(s *Server) {
	excess := ws.retire(func(w *writer) bool { return len(ws.files) > maxWriters && w.users == 0 })
	for _, w := range excess { // files in use may exceed the limit: MaxCalls bounds them
		ws.commitAndClose(s, w)
	}
}

// dropDeleted closes the files that have no name any more. A COMMIT may never come for them, and
// until then they use disk space.
func (ws *writers) dropDeleted() {
	deleted := ws.retire(func(w *writer) bool {
		var st unix.Stat_t
		return w.users == 0 && unix.Fstat(w.fd, &st) == nil && st.Nlink == 0
	})
	for _, w := range deleted {
		ws.done(w, 0) // nobody can read its data any more
	}
}

// closeAll commits and closes all files. No call may use any of them.
func (ws *writers) closeAll(s *Server) {
	for _, w := range ws.retire(func(*writer) bool { return true }) {
		ws.commitAndClose(s, w)
	}
}

// revoke commits and closes the file under every handle. It returns a channel for each writer of
// the file that another call is already closing; the channel is closed afterwards.
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

// stabilize writes w's data to the disk unless how is unstable. If that fails, the kernel may
// have dropped pages of other writes too, so all clients must send their writes again. The
// kernel reports the error only once for each open file, so the next caller that syncs w must
// not succeed before the verifier has changed.
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

// commitAndClose commits and releases w, which retire returned.
func (ws *writers) commitAndClose(s *Server, w *writer) {
	if err := s.stabilize(w, fileSync); err != nil {
		s.log().Error("syncing a written file", "err", err)
	}
	ws.done(w, 0)
}
