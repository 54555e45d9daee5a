package disk

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A HolePuncher punches holes into an image where files of one of its partitions have been copied
// from it. The partition is mounted meanwhile, read-only, and no two files share blocks.
type HolePuncher struct {
	Image *os.File
	Start int64 // of the partition in the image
	Block int64 // bytes of a block of its file system
}

// CanPunch reports whether the file system of file can make holes in it.
func CanPunch(file *os.File) bool {
	return punch(file, MaxImageBytes, 1) == nil // past its end
}

// Free frees the blocks of a part of a file in the partition. The part starts at
// the start of a block, and ends at the end of a block or of the file.
func (p HolePuncher) Free(file *os.File, at, length int64) error {
	end := (at + length + p.Block - 1) / p.Block * p.Block
	for at < end {
		list, err := extentsOf(file, at, end-at)
		if err != nil {
			return err
		}
		from := at
		for _, e := range list {
			if err := p.freeExtent(e, at, end); err != nil || e.flags&extentLast != 0 {
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

// freeExtent frees the part of an extent between two offsets in its file. Some
// kernels return whole extents, others only the part that was asked for.
func (p HolePuncher) freeExtent(e extent, at, end int64) error {
	from, to := max(at, e.logical), min(end, e.logical+e.length)
	if from >= to || e.flags&extentUnplaced != 0 {
		return nil
	}
	return punch(p.Image, p.Start+e.physical+from-e.logical, to-from)
}

// punch makes a part of a file a hole.
func punch(file *os.File, at, length int64) error {
	err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length)
	if err != nil {
		return fmt.Errorf("giving back space: %w", err)
	}
	return nil
}

// The ioctl FS_IOC_FIEMAP of linux/fiemap.h, which lists where a file's blocks are on its device,
// and its flags of an extent.
const (
	fiemapCall    = 0xc020660b
	fiemapExtents = 64 // asked for at a time

	extentLast = 0x1
	// extentUnplaced are the flags of extents that have no place on the device yet, or are not
	// whole blocks: unknown, delayed, encoded, encrypted, not aligned, inline, tail.
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
