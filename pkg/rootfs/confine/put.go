package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A File is one that takes the place of whatever has its name.
type File struct {
	Data     []byte
	Mode     fs.FileMode
	UID, GID int
	durable  bool // on disk before it has its name, which is on disk, too
}

// A PutFunc writes a file of a root with exactly this mode. What had the name
// before is replaced, never written through: it may be a symbolic link, or share
// its blocks with another name.
type PutFunc func(root *os.Root, name string, data []byte, mode fs.FileMode) error

// PutFile is the PutFunc for a root that nobody uses yet, and that is written to
// disk as a whole. The file is root's.
func PutFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return File{Data: data, Mode: mode}.Put(root, name)
}

// ReplaceFile is the PutFunc for a root that is in use: its board, and a power
// cut, see the old file or the new one. The owner of a file stays.
func ReplaceFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	file := File{Data: data, Mode: mode, durable: true}
	if was, err := Open(root, name, unix.O_PATH); err == nil {
		info, err := was.Stat()
		if err = errors.Join(err, was.Close()); err != nil {
			return err
		}
		file.ownedAs(info)
	}
	return file.Put(root, name)
}

// ownedAs gives a file the owner of another.
func (f *File) ownedAs(info fs.FileInfo) {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(owner.Uid), int(owner.Gid)
	}
}

func (f File) Put(root *os.Root, name string) error {
	dir, err := MakeDir(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	err = Place(dir, path.Base(name), func(temp string) error {
		file, err := OpenAt(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(f.fill(file), file.Close())
	}, f.durable)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// fill writes a file that was made for it. A new owner would clear bits of its
// mode.
func (f File) fill(file *os.File) error {
	if _, err := file.Write(f.Data); err != nil {
		return err
	}
	if err := errors.Join(file.Chown(f.UID, f.GID), file.Chmod(f.Mode)); err != nil || !f.durable {
		return err
	}
	return file.Sync()
}

// Place has make an entry under another name and then gives it its own, in
// the place of what has that: no link is followed.
func Place(dir *os.File, name string, make func(temp string) error, durable bool) error {
	at, temp := int(dir.Fd()), tempName(name)
	if err := unix.Unlinkat(at, temp, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%s is in the way; remove it: %w", temp, err)
	}
	err := make(temp)
	if err == nil {
		err = unix.Renameat(at, temp, at, name)
	}
	if errors.Is(err, unix.EISDIR) {
		err = errors.New("got a directory; want a regular file, or nothing: remove it")
	}
	if err != nil {
		_ = unix.Unlinkat(at, temp, 0) // says nothing new
		return err
	}
	if durable {
		return dir.Sync()
	}
	return nil
}

// tempName is what a file is called until it is whole.
func tempName(name string) string { return "." + name + ".new" }

// PutSymlink makes a symbolic link of the root, replacing what had the name.
func PutSymlink(root *os.Root, name, target string) error {
	dir, err := MakeDir(root, path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return Place(dir, path.Base(name), func(temp string) error {
		return unix.Symlinkat(target, int(dir.Fd()), temp)
	}, false)
}

// EditFile changes the text of a small file of the root, keeping its owner and
// mode. It reports whether there was anything to change; a file that does not
// exist has nothing.
func EditFile(root *os.Root, name string, edit func(text string) string) (bool, error) {
	text, err := ReadText(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	edited := edit(string(text))
	if edited == string(text) {
		return false, nil
	}
	real, err := Resolve(root, name)
	if err != nil {
		return false, err
	}
	info, err := root.Lstat(real)
	if err != nil {
		return false, err
	}
	file := File{Data: []byte(edited), Mode: info.Mode().Perm()}
	file.ownedAs(info)
	return true, file.Put(root, real)
}

// PutFS copies the files of an embedded directory into a directory of root.
func PutFS(root *os.Root, to string, tree fs.FS, dir string) error {
	return fs.WalkDir(tree, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return PutFile(root, path.Join(to, strings.TrimPrefix(name, dir)), content, 0o644)
	})
}
