package rootfs

import (
	"os"

	"pibootd/pkg/rootfs/disk"
	"pibootd/pkg/rootfs/stage"
)

// A reclaimer frees the blocks of an unpacked image from which files have been copied, so that an
// import needs little more space than the result. Nobody can compute in advance how much it needs,
// so it watches the free space.
type reclaimer struct {
	image disk.HolePuncher
	space stage.SpaceWatch
}

// reclaimer returns a reclaimer for the partition p with blocks of so many bytes. It returns nil if
// the image was not unpacked for this import, if its files can share blocks, or if the file system
// cannot punch holes.
func (i *imageImport) reclaimer(p disk.Partition, block int64) *reclaimer {
	if !i.ours || p.Shared || !disk.CanPunch(i.file) {
		return nil
	}
	return &reclaimer{
		image: disk.HolePuncher{Image: i.file, Start: p.Start, Block: block},
		space: stage.SpaceWatch{Dir: i.stage.Path, Floor: i.floor, Frees: true},
	}
}

// reclaim is a filetree.Copier's OnCopied.
func (r *reclaimer) reclaim(file *os.File, at, length int64) error {
	if err := r.space.Copied(file, at, length); err != nil {
		return err
	}
	return r.image.Free(file, at, length)
}
