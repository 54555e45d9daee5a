package rootfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/archive"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/disk"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/mount"
	"pibootd/pkg/rootfs/stage"
)

// errNoImageRoot reports that an image has no root partition.
var errNoImageRoot = errors.New("no partition holds a root file system (ext4 with sbin/init or usr/lib/systemd)")

// errBootOnly reports that an image has the files that boot a Pi and no root for it.
var errBootOnly = errors.New("it has boot files only, and no root file system: such a system keeps its root in memory or fetches it; want the image of an installed system, or a directory or archive of its root")

// loadImage copies the root file system of a disk image into the stage, and its boot partition
// to where the root mounts it. The kernel reads ext4, and disk.Volume reads FAT. The kernel
// needs random access, so loadImage first unpacks a compressed image beside the template,
// without its zero blocks. If there is not enough space for both, it frees blocks of the image
// while it copies them to the template.
func loadImage(ctx context.Context, from *archive.Source, limited *stage.SpaceReader, s *stage.Dir, p Progress) (_ []filetree.Change, err error) {
	file, size := from.File, from.Size
	if from.Compressed {
		if file, err = os.CreateTemp(s.Path, "image"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		if err := os.Remove(file.Name()); err != nil { // so that the file ends with this process
			return nil, err
		}
		tick := func() { p.Report("unpack", from.Consumed.Load(), from.Size) }
		if size, err = disk.Spool(file, limited, tick); err != nil {
			return nil, err
		}
	}
	list, err := disk.ReadPartitions(file, size)
	if err != nil {
		return nil, err
	}
	i := imageImport{file: file, ours: from.Compressed, list: list, stage: s, tree: filepath.Join(s.Tree(), treeDir), floor: limited.Floor, progress: p}
	err = i.run(ctx)
	return i.changes, err
}

// An imageImport copies the file systems of an image.
type imageImport struct {
	file     *os.File
	ours     bool // file was unpacked for this import only
	list     []disk.Partition
	stage    *stage.Dir
	tree     string
	floor    int64
	progress Progress
	changes  []filetree.Change
}

func (i *imageImport) run(ctx context.Context) error {
	number, top, err := i.findRoot()
	if err != nil {
		return err
	}
	if i.list[number].Unclean {
		i.changes = append(i.changes, filetree.Change{File: ".", What: "was in use when the image was made: its last writes, still in the journal, are left out"})
	}
	if err := errors.Join(i.copyRoot(ctx, top, i.list[number]), top.Close()); err != nil {
		return err
	}
	root, err := os.OpenRoot(i.tree)
	if err != nil {
		return err
	}
	defer root.Close()
	// mkfs creates it, empty, in every ext4 file system, for fsck.
	if err := root.Remove("lost+found"); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return i.copyBoot(ctx, root)
}

// findRoot mounts the partition that holds the root, and returns its index in the list.
func (i *imageImport) findRoot() (int, *os.File, error) {
	var found []int
	var top *os.File
	for number, p := range i.list {
		if p.Holds != disk.Ext4 {
			continue
		}
		mounted, err := mount.Ext4(i.file, p.Start, p.Size)
		if err != nil {
			return 0, nil, errors.Join(fmt.Errorf("partition %d: %w", p.Number, err), closeFile(top))
		}
		if !isMountedRoot(mounted) {
			err = mounted.Close()
		} else if found = append(found, number); top == nil {
			top = mounted
		} else {
			err = mounted.Close()
		}
		if err != nil {
			return 0, nil, errors.Join(err, closeFile(top))
		}
	}
	switch len(found) {
	case 1:
		return found[0], top, nil
	case 0:
		if boots, err := i.bootsOnly(); err != nil || boots {
			return 0, nil, cmp.Or(err, fmt.Errorf("%w; %s", errBootOnly, disk.Describe(i.list)))
		}
		return 0, nil, fmt.Errorf("%w; %s", errNoImageRoot, disk.Describe(i.list))
	default:
		return 0, nil, errors.Join(fmt.Errorf("partitions %d and %d both hold a root file system; want one: mount it and import its directory", i.list[found[0]].Number, i.list[found[1]].Number), top.Close())
	}
}

// bootsOnly reports whether the image has boot files and no file system for a root.
func (i *imageImport) bootsOnly() (bool, error) {
	if slices.ContainsFunc(i.list, func(p disk.Partition) bool { return p.Holds == disk.Ext4 }) {
		return false, nil
	}
	v, err := i.bootVolume()
	return v != nil, err
}

func closeFile(file *os.File) error {
	if file == nil {
		return nil
	}
	return file.Close()
}

func isMountedRoot(top *os.File) bool {
	root, err := os.OpenRoot(confine.FDPath(top))
	if err != nil {
		return false
	}
	defer root.Close() // opened for reading: no data can be lost
	return bootcheck.IsRoot(root)
}

// copyRoot copies the partition from, which is mounted at top.
func (i *imageImport) copyRoot(ctx context.Context, top *os.File, from disk.Partition) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(confine.FDPath(top), &stat); err != nil {
		return err
	}
	total := int64(stat.Blocks-stat.Bfree) * int64(stat.Bsize)
	c := &filetree.Copier{}
	c.Tick = func() { i.progress.Report("copy", min(c.Bytes, total), total) }
	if err := stage.CheckSpace(i.stage.Path, i.floor, total); err != nil {
		by := i.reclaimer(from, int64(stat.Bsize)) // slow, so used only when needed
		if by == nil {
			return err
		}
		c.OnCopied = by.reclaim
	}
	return c.Copy(ctx, confine.FDPath(top), i.tree)
}

// copyBoot copies the boot partition to where the root mounts it.
func (i *imageImport) copyBoot(ctx context.Context, root *os.Root) error {
	v, err := i.bootVolume()
	if v == nil || err != nil {
		return err
	}
	i.progress.Report("copy the boot files", 0, 0)
	return copyFAT(ctx, v, root, bootMount(root))
}

// bootVolume returns the first FAT partition that has boot files, which is the one that the
// firmware uses; nil if there is none.
func (i *imageImport) bootVolume() (*disk.Volume, error) {
	for _, p := range i.list {
		if p.Holds != disk.FAT {
			continue
		}
		v, err := disk.OpenFAT(io.NewSectionReader(i.file, p.Start, p.Size), p.Size)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
		boots, err := hasBootFiles(v)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", p.Number, err)
		}
		if boots {
			return v, nil
		}
	}
	return nil, nil
}

// hasBootFiles reports whether a volume has a file from which the firmware starts.
func hasBootFiles(v *disk.Volume) (bool, error) {
	top, err := v.Top()
	return slices.ContainsFunc(top, func(e disk.Entry) bool {
		return bootcheck.IsBootFile(e.Name)
	}), err
}

// bootMount returns the directory where a root mounts its boot partition.
func bootMount(root *os.Root) string {
	fstab, err := confine.ReadText(root, "etc/fstab")
	if err == nil {
		for line := range strings.Lines(string(fstab)) {
			fields := strings.Fields(line)
			if len(fields) > 2 && fields[2] == "vfat" && (fields[1] == "/boot" || fields[1] == "/boot/firmware") {
				return fields[1][1:]
			}
		}
	}
	if confine.Exists(root, "boot/firmware") {
		return "boot/firmware"
	}
	return "boot"
}

// copyFAT copies a volume to a directory of the root. FAT has no owners, so every file belongs
// to user 0.
func copyFAT(ctx context.Context, v *disk.Volume, root *os.Root, dir string) error {
	return v.Walk(func(name string, e disk.Entry, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := path.Join(dir, name)
		if e.Dir {
			made, err := confine.MakeDir(root, to)
			if err != nil {
				return err
			}
			return made.Close()
		}
		return putStream(root, to, content, e)
	})
}

func putStream(root *os.Root, name string, content io.Reader, e disk.Entry) error {
	dir, err := confine.MakeDir(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return confine.Place(dir, path.Base(name), func(temp string) error {
		file, err := confine.OpenAt(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, content)
		times := []unix.Timeval{unix.NsecToTimeval(e.Modified.UnixNano()), unix.NsecToTimeval(e.Modified.UnixNano())}
		return errors.Join(err, file.Chmod(0o755), unix.Futimes(int(file.Fd()), times), file.Close())
	}, false)
}
