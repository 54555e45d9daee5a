package nfs

import (
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
	files map[string]*writer // by wire handle
	order []*writer          // oldest first
}

// A writer is such a file. users and writes are guarded by the mutex of its
// writers.
type writer struct {
	wire    string
	fd      int
	users   int
	writes  int        // UNSTABLE ones begun since it was opened
	syncing sync.Mutex // see stabilize
}

// use returns the file of o opened for writing, for one WRITE that gives it
// back with done.
func (ws *writers) use(o *object, unstable bool) (*writer, error) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.files[string(o.wire)]
	if w == nil {
		fd, err := o.openData(unix.O_WRONLY)
		if err != nil {
			return nil, err
		}
		if ws.files == nil {
			ws.files = map[string]*writer{}
		}
		w = &writer{wire: string(o.wire), fd: fd}
		ws.files[w.wire] = w
		ws.order = append(ws.order, w)
	}
	w.users++
	if unstable {
		w.writes++
	}
	return w, nil
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
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.users--
	if w.users == 0 && w.writes == committed {
		ws.removeLocked(w)
		_ = unix.Close(w.fd) // just synced
	}
}

func (ws *writers) removeLocked(w *writer) {
	delete(ws.files, w.wire)
	for i, o := range ws.order {
		if o == w {
			ws.order = append(ws.order[:i], ws.order[i+1:]...)
			return
		}
	}
}

// trim commits the oldest files that nobody uses while there are too many.
func (ws *writers) trim(s *Server) {
	for {
		w := ws.excess()
		if w == nil {
			return
		}
		s.commitAndClose(w)
	}
}

func (ws *writers) excess() *writer {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if len(ws.order) <= maxWriters {
		return nil
	}
	for _, w := range ws.order {
		if w.users == 0 {
			ws.removeLocked(w)
			return w
		}
	}
	return nil // all are being used: that is bounded by MaxCalls
}

// dropDeleted closes the files that have no name any more: their COMMIT need
// not come, and until it does they take up the disk.
func (ws *writers) dropDeleted() {
	ws.mu.Lock()
	var deleted []*writer
	for _, w := range ws.order {
		var st unix.Stat_t
		if w.users == 0 && unix.Fstat(w.fd, &st) == nil && st.Nlink == 0 {
			deleted = append(deleted, w)
		}
	}
	for _, w := range deleted {
		ws.removeLocked(w)
	}
	ws.mu.Unlock()
	for _, w := range deleted {
		_ = unix.Close(w.fd) // nobody can read what was written to it
	}
}

// closeAll commits and closes all files. Nobody may use any.
func (ws *writers) closeAll(s *Server) {
	ws.mu.Lock()
	all := ws.order
	ws.order, ws.files = nil, nil
	ws.mu.Unlock()
	for _, w := range all {
		s.commitAndClose(w)
	}
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

func (s *Server) commitAndClose(w *writer) {
	if err := unix.Fsync(w.fd); err != nil {
		s.newVerifier()
		s.log().Error("syncing a written file", "err", err)
	}
	_ = unix.Close(w.fd)
}
