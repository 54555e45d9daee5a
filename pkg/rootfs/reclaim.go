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

// A holePuncher punches holes into an unpacked image where files have been copied
// from it, so that an import needs little more space than the result. The image is
// mounted meanwhile, read-only.
type holePuncher struct {
	image *os.File
	start int64 // of the mounted partition in the image
	block int64 // bytes of a block of its file system

	dir   string // on whose file system the copy is made
	floor int64  // as stage.CheckSpace takes it

	mu    sync.Mutex
	until int64 // bytes until the next look at the free space
}

// holePuncher returns a holePuncher for the partition p with blocks of so many bytes.
// It returns nil if the image is not ours to change, if its files can share
// blocks, or if the file system cannot punch holes.
func (i *imageImport) holePuncher(p disk.Partition, block int64) *holePuncher {
	if !i.ours || p.Shared || punch(i.file, maxImageBytes, 1) != nil { // past its end
		return nil
	}
	return &holePuncher{image: i.file, start: p.Start, block: block, dir: i.stage.Path, floor: i.floor}
}

// reclaim frees the blocks of a part of a file in the partition. The part starts at
// the start of a block, and ends at the end of a block or of the file.
func (s *holePuncher) reclaim(file *os.File, at, length int64) error {
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
			if err := s.reclaimExtent(e, at, end); err != nil || e.flags&extentLast != 0 {
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

// reclaimExtent frees the part of an extent between two offsets in its file. Some
// kernels return whole extents, others only the part that was asked for.
func (s *holePuncher) reclaimExtent(e extent, at, end int64) error {
	from, to := max(at, e.logical), min(end, e.logical+e.length)
	if from >= to || e.flags&extentUnplaced != 0 {
		return nil
	}
	return punch(s.image, s.start+e.physical+from-e.logical, to-from)
}

// look returns an error if the file system gets too full. Nobody can compute in
// advance how much space the copy needs while blocks are freed.
func (s *holePuncher) look(length int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until -= length; s.until > 0 {
		return nil
	}
	s.until = stage.CheckEvery
	if stage.CheckSpace(s.dir, s.floor, 0) == nil {
		return nil
	}
	// Some file systems count freed blocks as free only after a sync.
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
