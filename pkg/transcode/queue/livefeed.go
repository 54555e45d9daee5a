package queue

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// A feed is what an encoder sends, on its way to the worker that receives it. An encoder
// must not wait while that worker is gone: it would have to leave out pictures, or send
// old ones to the next worker. So a feed keeps what nobody has read yet, up to maxFeed.
type feed struct {
	mu       sync.Mutex
	chunks   [][]byte
	bytes    int
	ended    bool          // nothing is added any more
	changed  chan struct{} // closed at the next change
	deadline time.Time
}

const (
	// maxFeed is 10 s of 13 Mbit/s: another worker has the source by then.
	maxFeed = 16 << 20
	// feedWait is how long a full feed may stay full. An encoder that sends faster than it
	// plays waits for its worker; one whose worker is gone goes on without.
	feedWait = liveTTL
)

var errFeedClosed = errors.New("the worker that received the stream is gone")

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

func (f *feed) notifyLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Write adds a copy of b. It gives the reader up that leaves no room for too long.
func (f *feed) Write(b []byte) (int, error) {
	late := time.NewTimer(feedWait)
	defer late.Stop()
	for {
		added, changed, err := f.add(b)
		if added || err != nil {
			return len(b), err
		}
		select {
		case <-changed:
		case <-late.C:
			f.end()
		}
	}
}

// add adds a copy of b if there is room, or nothing else.
func (f *feed) add(b []byte) (added bool, changed <-chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.ended:
		return false, nil, errFeedClosed
	case f.bytes > 0 && f.bytes+len(b) > maxFeed:
		return false, f.changed, nil
	}
	f.chunks, f.bytes = append(f.chunks, append([]byte(nil), b...)), f.bytes+len(b)
	f.notifyLocked()
	return true, nil, nil
}

// end has the reader read what there is, to its end.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.notifyLocked()
}

// Close has nobody read what there is.
func (f *feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.chunks, f.bytes = true, nil, 0
	f.notifyLocked()
	return nil
}

// SetReadDeadline is for the next Read.
func (f *feed) SetReadDeadline(t time.Time) error { f.deadline = t; return nil }

// Read waits until the deadline.
func (f *feed) Read(into []byte) (int, error) {
	late := time.NewTimer(time.Until(f.deadline))
	defer late.Stop()
	for {
		n, ended, changed := f.consume(into)
		switch {
		case n > 0:
			return n, nil
		case ended:
			return 0, io.EOF
		}
		select {
		case <-changed:
		case <-late.C:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// consume moves what fits.
func (f *feed) consume(into []byte) (n int, ended bool, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.chunks) > 0 && n < len(into) {
		moved := copy(into[n:], f.chunks[0])
		n += moved
		if f.chunks[0] = f.chunks[0][moved:]; len(f.chunks[0]) == 0 {
			f.chunks[0] = nil
			f.chunks = f.chunks[1:]
		}
	}
	if f.bytes -= n; n > 0 {
		f.notifyLocked()
	}
	return n, f.ended, f.changed
}
