package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"pibootd/images"
)

// An initramfs is written in the format that the kernel unpacks at boot: a compressed cpio
// archive (Documentation/driver-api/early-userspace/buffer-format.rst).
type initramfs struct {
	archive *cpio.Writer
	dirs    map[string]bool
}

// zstdWindow is a window for which every kernel's decompressor has enough memory.
const zstdWindow = 4 << 20

// buildInitramfs makes the initramfs that mounts a root over NFS. It contains busybox and
// modules from the root, and the scripts of the images.
func buildInitramfs(root *os.Root) ([]byte, error) {
	var packed bytes.Buffer
	zip, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithWindowSize(zstdWindow))
	if err != nil {
		return nil, err
	}
	i := &initramfs{archive: cpio.NewWriter(zip), dirs: map[string]bool{".": true}}
	err = errors.Join(i.fill(root), i.archive.Close(), zip.Close())
	if err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	return packed.Bytes(), nil
}

func (i *initramfs) fill(root *os.Root) error {
	for _, dir := range []string{"dev", "proc", "sys", "tmp", "newroot"} {
		if err := i.dir(dir); err != nil {
			return err
		}
	}
	if err := i.tree(images.Initramfs(), ".", 0o755); err != nil {
		return err
	}
	busybox, err := root.ReadFile("usr/bin/busybox")
	if err != nil {
		return err
	}
	if err := i.file("bin/busybox", busybox, 0o755); err != nil {
		return err
	}
	if err := i.applets(); err != nil {
		return err
	}
	lib, err := fs.Sub(root.FS(), "usr")
	if err != nil {
		return err
	}
	return i.tree(lib, "lib/modules", 0o644)
}

// applets links busybox's applets, except init, which is pibootd's own script.
func (i *initramfs) applets() error {
	links, err := appletLinks()
	for _, link := range links {
		if err == nil && link.name != "sbin/init" {
			err = i.link(link.name, link.target)
		}
	}
	return err
}

// tree adds the files below dir.
func (i *initramfs) tree(from fs.FS, dir string, mode cpio.FileMode) error {
	return fs.WalkDir(from, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return i.file(name, content, mode)
	})
}

func (i *initramfs) dir(name string) error {
	if i.dirs[name] {
		return nil
	}
	if err := i.dir(path.Dir(name)); err != nil {
		return err
	}
	i.dirs[name] = true
	return i.archive.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeDir | 0o755, Links: 2})
}

func (i *initramfs) file(name string, content []byte, mode cpio.FileMode) error {
	if err := i.dir(path.Dir(name)); err != nil {
		return err
	}
	return i.entry(cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Links: 1}, content)
}

func (i *initramfs) link(name, target string) error {
	if err := i.dir(path.Dir(name)); err != nil {
		return err
	}
	// cpio stores a link's target as its content.
	return i.entry(cpio.Header{Name: name, Mode: cpio.TypeSymlink | 0o777, Links: 1}, []byte(target))
}

func (i *initramfs) entry(header cpio.Header, content []byte) error {
	header.Size = int64(len(content))
	if err := i.archive.WriteHeader(&header); err != nil {
		return err
	}
	_, err := i.archive.Write(content)
	return err
}

// An appletLink is a symbolic link to busybox.
type appletLink struct{ name, target string }

// appletLinks returns the links to busybox, which is bin/busybox.
func appletLinks() ([]appletLink, error) {
	names, err := images.List("applets")
	if err != nil {
		return nil, err
	}
	var links []appletLink
	for _, name := range slices.Sorted(slices.Values(names)) {
		if path.Dir(name) == "." {
			links = append(links, appletLink{"bin/" + name, "busybox"})
		} else {
			links = append(links, appletLink{name, "../bin/busybox"})
		}
	}
	return links, nil
}
