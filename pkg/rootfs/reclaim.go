package rootfs

import (
	"os"
	"sync"

	"pibootd/pkg/rootfs/disk"
	"pibootd/pkg/rootfs/stage"
)

// A reclaimer frees the blocks of an unpacked image from which files have been
// copied, so that an import needs little more space than the result.
type reclaimer struct {
	image disk.HolePuncher

	dir   string // on whose file system the copy is made
	floor int64  // as stage.CheckSpace takes it

	mu    sync.Mutex
	until int64 // bytes until the next look at the free space
}

// reclaimer returns a reclaimer for the partition p with blocks of so many bytes.
// It returns nil if the image is not ours to change, if its files can share
// blocks, or if the file system cannot punch holes.
func (i *imageImport) reclaimer(p disk.Partition, block int64) *reclaimer {
	if !i.ours || p.Shared || !disk.CanPunch(i.file) {
		return nil
	}
	image := disk.HolePuncher{Image: i.file, Start: p.Start, Block: block}
	return &reclaimer{image: image, dir: i.stage.Path, floor: i.floor}
}

// reclaim is a filetree.Copier's OnCopied.
func (r *reclaimer) reclaim(file *os.File, at, length int64) error {
	if err := r.checkSpace(length); err != nil {
		return err
	}
	return r.image.Free(file, at, length)
}

// checkSpace returns an error if the file system gets too full. Nobody can compute in
// advance how much space the copy needs while blocks are freed.
func (r *reclaimer) checkSpace(length int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until -= length; r.until > 0 {
		return nil
	}
	r.until = stage.CheckEvery
	if stage.CheckSpace(r.dir, r.floor, 0) == nil {
		return nil
	}
	// Some file systems count freed blocks as free only after a sync.
	if err := stage.SyncFS(r.dir); err != nil {
		return err
	}
	return stage.CheckSpace(r.dir, r.floor, 0)
}
