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

// A File is a regular file to write. It replaces whatever has its name.
type File struct {
	Data     []byte
	Mode     fs.FileMode
	UID, GID int
	durable  bool // sync the file before the rename, and its directory after it
}

// A PutFunc writes a file of root with exactly this mode. It replaces whatever has
// the name instead of writing to it, because that can be a symbolic link or have
// other names.
type PutFunc func(root *os.Root, name string, data []byte, mode fs.FileMode) error

// PutFile is the PutFunc for a root that is not in use yet: it does not sync,
// because the caller syncs the whole root. The file belongs to user 0.
func PutFile(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	return File{Data: data, Mode: mode}.Put(root, name)
}

// ReplaceFile is the PutFunc for a root that is in use: its board sees either the
// old file or the new one, also after a power cut. The file keeps its owner.
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

// ownedAs sets the owner of a file to that of another.
func (f *File) ownedAs(info fs.FileInfo) {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		f.UID, f.GID = int(owner.Uid), int(owner.Gid)
	}
}

// Put writes the file to root under name, creating missing directories.
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

// fill writes the new file. The mode comes after the owner, because changing the
// owner clears bits of the mode.
func (f File) fill(file *os.File) error {
	if _, err := file.Write(f.Data); err != nil {
		return err
	}
	if err := errors.Join(file.Chown(f.UID, f.GID), file.Chmod(f.Mode)); err != nil || !f.durable {
		return err
	}
	return file.Sync()
}

// Place creates an entry of dir: make creates it under a temporary name, and Place
// renames it to name. It replaces an existing entry and does not follow links.
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
		_ = unix.Unlinkat(at, temp, 0) // err matters more
		return err
	}
	if durable {
		return dir.Sync()
	}
	return nil
}

// tempName is the name of a file until it is complete.
func tempName(name string) string { return "." + name + ".new" }

// PutSymlink creates a symbolic link in root, replacing whatever has the name.
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

// EditFile changes the text of a small file and keeps its owner and mode. It
// reports whether edit changed anything; a file that does not exist stays so.
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

// PutFS copies the files below dir in tree to the directory called to of root.
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
