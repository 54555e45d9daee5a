package tftp

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// chunkSize is about how much of a file is read at once, in bytes.
const chunkSize = 64 << 10

// Chunks hold the part of a file that is being sent and the part after it, which
// is read while the first is sent: so a disk that is slow for one board does not
// keep the others waiting. The files themselves are in the kernel's page cache,
// where a storm's boards share them.
type chunks struct {
	size   int64 // of the file
	block  int64 // bytes in a block
	blocks int64 // in a chunk

	at      int64  // number of the chunk in cur
	cur     []byte // nil: empty file
	next    []byte // the chunk behind it; nil: not read yet
	spare   []byte // to read one into
	pending bool   // one is being read, or was and is not yet accepted

	read      []byte // what was read, for accept
	readError error

	mu      sync.Mutex // guards what follows
	file    io.ReadCloser
	reading bool
	closed  bool
}

// open begins with a file, and reads its first chunk.
func (c *chunks) open(file io.ReadCloser, size int64, t terms) error {
	c.file, c.size, c.block = file, size, int64(t.block)
	c.blocks = max(chunkSize/c.block, int64(t.window), 1)
	c.cur = make([]byte, c.length(0))
	return c.fill(c.cur)
}

// length is how many bytes a chunk has.
func (c *chunks) length(n int64) int64 {
	whole := c.blocks * c.block
	return max(0, min(whole, c.size-n*whole))
}

func (c *chunks) fill(p []byte) error {
	if _, err := io.ReadFull(c.file, p); err != nil {
		// A file that became shorter must not look complete to the client.
		return fmt.Errorf("reading the file: %w", err)
	}
	return nil
}

// wantsMore reports whether there is a chunk behind cur that is not read.
func (c *chunks) wantsMore() bool {
	return c.next == nil && !c.pending && c.length(c.at+1) > 0
}

// readNext reads the chunk behind cur if it is in memory, and then returns nil.
// Otherwise the rest of it is read by what it returns, which is to be
// called by another goroutine: that reports whether accept may be called, or
// else has closed the file.
func (c *chunks) readNext() (read func() (wanted bool)) {
	n := c.length(c.at + 1)
	if int64(cap(c.spare)) < n {
		c.spare = make([]byte, n)
	}
	buf := c.spare[:n]
	cached := c.readCached(buf)
	if int64(cached) == n {
		c.next, c.spare = buf, nil
		return nil
	}
	c.begin()
	c.pending = true
	return func() bool {
		c.read, c.readError = buf, c.fill(buf[cached:])
		return c.end()
	}
}

// readCached reads what the page cache has of the next bytes of the file, where
// the file system can tell (RWF_NOWAIT of preadv2(2)): what another board has
// loaded before is there.
func (c *chunks) readCached(p []byte) int {
	file, ok := c.file.(*os.File)
	if !ok {
		return 0
	}
	const atPosition = -1
	n, err := unix.Preadv2(int(file.Fd()), [][]byte{p}, atPosition, unix.RWF_NOWAIT)
	if err != nil {
		return 0 // whoever reads the rest meets it again
	}
	return n
}

// accept takes what was read. It is called by the one who calls readNext.
func (c *chunks) accept() error {
	c.pending = false
	c.next, c.spare = c.read, nil
	return c.readError
}

// data returns the bytes of a block, counted from 1, of cur or the chunk behind
// it; ok is false if they are not read yet. Behind the last byte there are none.
func (c *chunks) data(block int64) (p []byte, ok bool) {
	from := (block - 1) * c.block
	if from >= c.size {
		return nil, true
	}
	chunk := c.cur
	if n := (block - 1) / c.blocks; n > c.at {
		if chunk = c.next; chunk == nil || n > c.at+1 {
			return nil, false
		}
	}
	from %= c.blocks * c.block
	return chunk[from:min(from+c.block, int64(len(chunk)))], true
}

// pass lets go of cur if all its blocks up to this one have arrived.
func (c *chunks) pass(block int64) {
	if c.next != nil && block >= (c.at+1)*c.blocks {
		c.at++
		c.cur, c.next, c.spare = c.next, nil, c.cur
	}
}

func (c *chunks) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = true
}

// end ends a reading, and reports whether anybody wants what was read.
func (c *chunks) end() (wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	if c.closed {
		_ = c.file.Close() // it was only read
	}
	return !c.closed
}

// close closes the file, or has the reader close it that is at it, and reports
// whether there is one.
func (c *chunks) close() (reading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil && !c.reading {
		_ = c.file.Close() // it was only read
	}
	c.closed = true
	return c.reading
}
