package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/disk"
	"pibootd/pkg/rootfs/filetree"
)

// unpackRamdisk unpacks boot.img into the boot directory of a root whose config.txt has the
// firmware load everything from it: pibootd lays a board's own files over those of the directory,
// and cannot over those in an image.
func unpackRamdisk(ctx context.Context, root *os.Root, boot string) ([]filetree.Change, error) {
	if boot == "" || !bootcheck.New(root, boot).Dir().Ramdisk(bootconfig.Models(), 0) {
		return nil, nil
	}
	image, config := path.Join(boot, bootconfig.RamdiskFile), path.Join(boot, bootconfig.File)
	var changes []filetree.Change
	err := copyRamdisk(ctx, root, image, boot)
	switch {
	case errors.Is(err, fs.ErrNotExist): // then the files beside it are all there is
	case err != nil:
		return nil, fmt.Errorf("%s: %w; config.txt sets boot_ramdisk=1, so all boot files are in it: unpack it, and take the line out", image, err)
	default:
		changes = append(changes, filetree.Change{File: image, What: "unpacked beside it and removed: a board's own cmdline.txt cannot be put into an image"})
		for _, name := range []string{image, path.Join(boot, "boot.sig")} {
			if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	_, err = confine.EditFile(root, config, func(text string) string {
		without, _ := bootconfig.Disable([]byte(text), "boot_ramdisk", "not over the network")
		return string(without)
	})
	return append(changes, filetree.Change{File: config, What: "commented out boot_ramdisk, so that the files beside it are loaded"}), err
}

// copyRamdisk unpacks the FAT file system in image to the boot directory.
func copyRamdisk(ctx context.Context, root *os.Root, image, boot string) error {
	file, info, err := confine.OpenRegular(root, image)
	if err != nil {
		return err
	}
	defer file.Close()
	v, err := disk.OpenFAT(file, info.Size())
	if err != nil {
		return err
	}
	return copyFAT(ctx, v, root, boot)
}
