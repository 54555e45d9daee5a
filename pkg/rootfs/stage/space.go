package stage

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// minFree is left on a file system, so that one import cannot stop the
	// boards that write there.
	minFree = 512 << 20
	// minFreePart is its share of a small file system.
	minFreePart = 20
	// CheckEvery is how much is read between two looks.
	CheckEvery = 16 << 20
)

// CheckSpace returns an error if less than floor bytes of the file system of dir
// would be free after writing need bytes. Floor 0 means 512 MB, or 5 % of a small
// file system.
func CheckSpace(dir string, floor, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if floor == 0 {
		floor = min(minFree, int64(stat.Blocks)*int64(stat.Bsize)/minFreePart)
	}
	if free := int64(stat.Bavail) * int64(stat.Bsize); free-need < floor {
		return fmt.Errorf("its file system has %d MB free; want %d MB for this, and %d MB left after it: remove templates or roots that nobody needs (pibootd template list)", free/1e6, need/1e6, floor/1e6)
	}
	return nil
}

// A SpaceReader fails when the file system of Dir has too little free space for what
// is read from From.
type SpaceReader struct {
	From  io.Reader
	Dir   string
	Floor int64
	until int64 // bytes to read before the next check
}

func (r *SpaceReader) Read(buf []byte) (int, error) {
	if r.until <= 0 {
		if err := CheckSpace(r.Dir, r.Floor, 0); err != nil {
			return 0, err
		}
		r.until = CheckEvery
	}
	n, err := r.From.Read(buf[:min(int64(len(buf)), r.until)])
	r.until -= int64(n)
	return n, err
}

// A SpaceWatch fails when a copy leaves too little free space on the file system of
// Dir. It is safe for concurrent use.
type SpaceWatch struct {
	Dir   string
	Floor int64 // as CheckSpace takes it
	Frees bool  // blocks are freed while the copy is made

	check sync.Mutex // held during a check, so that nobody copies before its result is known
	until int64      // bytes to copy before the next check
}

// Copied is a filetree.Copier's OnCopied.
func (w *SpaceWatch) Copied(_ *os.File, _, length int64) error {
	w.check.Lock()
	defer w.check.Unlock()
	if w.until -= length; w.until > 0 {
		return nil
	}
	w.until = CheckEvery
	err := CheckSpace(w.Dir, w.Floor, 0)
	if err == nil || !w.Frees {
		return err
	}
	// Some file systems count freed blocks as free only after a sync.
	if err := SyncFS(w.Dir); err != nil {
		return err
	}
	return CheckSpace(w.Dir, w.Floor, 0)
}
