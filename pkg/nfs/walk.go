package nfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// maxWalks is the maximum number of concurrent walks.
const maxWalks = 2

var errWalkStopped = errors.New("the export is being closed")

// A walker counts what lies below a tree. It opens one directory at a time, by its handle. So
// depth costs no descriptors, the walker follows no link, and it finds a directory even if it
// has moved.
type walker struct {
	tree  *tree
	found cost
	dirs  []unix.FileHandle  // to be read
	links map[inode]struct{} // files with several names that have been counted
	only  string             // the only name that counts in the directory being read; "" means all
	buf   []byte
}

// count walks t. It stops early once the count exceeds the limits.
func (t *tree) count() (cost, error) {
	root, err := nameToHandle(t.root, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return cost{}, err
	}
	w := &walker{
		tree: t, dirs: []unix.FileHandle{root}, links: map[inode]struct{}{},
		only: t.export.Only, buf: make([]byte, direntBuffer),
	}
	var st unix.Statx_t
	if err := unix.Statx(t.root, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st); err != nil {
		return cost{}, err
	}
	w.found.bytes = usage(&st)
	for len(w.dirs) > 0 && t.fits(w.found) {
		select {
		case <-t.stop:
			return cost{}, errWalkStopped
		default:
		}
		next := w.dirs[len(w.dirs)-1]
		w.dirs = w.dirs[:len(w.dirs)-1]
		if err := w.directory(next); err != nil {
			return cost{}, err
		}
		w.only = "" // only the root has that restriction
	}
	return w.found, nil
}

// directory counts the entries of a directory, if it still exists.
func (w *walker) directory(fh unix.FileHandle) error {
	fd, err := unix.OpenByHandleAt(w.tree.root, fh, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if hasGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for w.tree.fits(w.found) {
		n, err := unix.Getdents(fd, w.buf)
		if n == 0 || hasGone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for rest := w.buf[:n]; len(rest) > 0; {
			d, size := parseDirent(rest)
			rest = rest[size:]
			if err := w.entry(fd, string(d.name)); err != nil && !hasGone(err) {
				return err
			}
		}
	}
	return nil
}

func (w *walker) entry(dir int, name string) error {
	if name == "." || name == ".." || w.only != "" && name != w.only {
		return nil
	}
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st)
	if err != nil {
		return err
	}
	w.found.names++
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		fh, err := nameToHandle(dir, name, 0)
		if err != nil {
			return err
		}
		w.dirs = append(w.dirs, fh)
	} else if st.Nlink > 1 {
		file := inode{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), ino: st.Ino}
		if _, counted := w.links[file]; counted {
			return nil
		}
		w.links[file] = struct{}{}
	}
	w.found.bytes += usage(&st)
	return nil
}

// hasGone reports whether err means that an object no longer exists or has another type.
func hasGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESTALE) || errors.Is(err, unix.ENOTDIR)
}
