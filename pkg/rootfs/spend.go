package rootfs

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/disk"
	"pibootd/pkg/rootfs/stage"
)

// A spender gives blocks of an unpacked image back to the file system that it is
// on as soon as what they hold has been copied, so that an import can do with
// little more space than what it makes. The image is mounted meanwhile, read-only.
type spender struct {
	image *os.File
	start int64 // of the mounted partition in the image
	block int64 // bytes of a block of its file system

	dir   string // on whose file system the copy is made
	floor int64  // as stage.CheckSpace takes it

	mu    sync.Mutex
	until int64 // bytes until the next look at the free space
}

// spender returns what makes room while the partition p, of blocks of so many
// bytes, is copied; nil if nothing does: where the image is somebody else's,
// where files of it may share blocks, and where the file system does not take
// blocks back.
func (i *imageImport) spender(p disk.Partition, block int64) *spender {
	if !i.ours || p.Shared || punch(i.file, maxImageBytes, 1) != nil { // past its end
		return nil
	}
	return &spender{image: i.file, start: p.Start, block: block, dir: i.stage.Path, floor: i.floor}
}

// spent gives back the blocks of a part of a file of the partition. The part
// begins with a block, and ends with one or with the file.
func (s *spender) spent(file *os.File, at, length int64) error {
	if err := s.look(length); err != nil {
		return err
	}
	end := (at + length + s.block - 1) / s.block * s.block
	for at < end {
		list, err := extentsOf(file, at, end-at)
		if err != nil {
			return err
		}
		from := at
		for _, e := range list {
			if err := s.giveBack(e, at, end); err != nil || e.flags&extentLast != 0 {
				return err
			}
			at = max(at, e.logical+e.length)
		}
		if at == from {
			return nil // nothing lies there
		}
	}
	return nil
}

// giveBack gives back what of an extent lies between two places of its file.
// Some kernels return extents whole, others as far as they were asked for.
func (s *spender) giveBack(e extent, at, end int64) error {
	from, to := max(at, e.logical), min(end, e.logical+e.length)
	if from >= to || e.flags&extentUnplaced != 0 {
		return nil
	}
	return punch(s.image, s.start+e.physical+from-e.logical, to-from)
}

// look stops what would fill the file system. A copy of an image whose blocks
// are given back cannot be told beforehand how much it will need.
func (s *spender) look(length int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until -= length; s.until > 0 {
		return nil
	}
	s.until = stage.CheckEvery
	if stage.CheckSpace(s.dir, s.floor, 0) == nil {
		return nil
	}
	// A file system may have what was given back only once all is on disk.
	if err := stage.SyncFS(s.dir); err != nil {
		return err
	}
	return stage.CheckSpace(s.dir, s.floor, 0)
}

// punch makes a part of a file a hole.
func punch(file *os.File, at, length int64) error {
	err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
	if err != nil {
		return fmt.Errorf("giving back space: %w", err)
	}
	return nil
}

// The call that tells where a file's blocks are, FS_IOC_FIEMAP of
// linux/fiemap.h, and its flags of an extent.
const (
	fiemapCall    = 0xc020660b
	fiemapExtents = 64 // asked for at a time

	extentLast = 0x1
	// extentUnplaced are those of extents that lie nowhere yet, or not as whole
	// blocks: unknown, delayed, encoded, encrypted, not aligned, inline, tail.
	extentUnplaced = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400
)

// An extent is struct fiemap_extent: where a part of a file lies on its device.
type extent struct {
	logical, physical, length int64 // bytes; the kernel's own limit is that of an int64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemapArgs are struct fiemap.
type fiemapArgs struct {
	start, length           uint64
	flags, mapped, count, _ uint32
	extents                 [fiemapExtents]extent
}

// extentsOf returns the first extents of a part of a file.
func extentsOf(file *os.File, at, length int64) ([]extent, error) {
	args := fiemapArgs{start: uint64(at), length: uint64(length), count: fiemapExtents}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), fiemapCall, uintptr(unsafe.Pointer(&args)))
	if errno != 0 {
		return nil, fmt.Errorf("looking for its blocks: %w", errno)
	}
	return args.extents[:min(args.mapped, fiemapExtents)], nil
}
