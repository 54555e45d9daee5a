package share

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// removePasses is the number of times that a directory is read again because
	// others still create files in it.
	removePasses = 16
	// removeBatch is the number of names of a directory that are read at once.
	removeBatch = 1024
	// removeErrors is the number of failures that an error lists.
	removeErrors = 5
)

// RemoveTree removes the entry name of parent and everything below it. Others may
// own the tree and still write to it, so RemoveTree follows no links, opens only
// directories, uses only single names in open directories, and has at most four
// directories open at any depth. The error lists what could not be removed. It is
// no error if the entry does not exist.
//
// RemoveTree moves directories to trash before it empties them. trash is an open
// directory on the same file system that only this process can write; it may be
// parent. A process that is killed leaves some directories there, which EmptyTrash
// removes. Mounts in the tree, and the directories that they cover, stay.
func RemoveTree(trash, parent *os.File, name string) error {
	if name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("removing %q: want the name of one entry", name)
	}
	r := remover{trash: trash, prefix: ".removed-" + rand.Text()}
	if err := r.remove(parent, name); err != nil {
		return fmt.Errorf("removing %q: %w", name, err)
	}
	return nil
}

// EmptyTrash removes everything in a directory that only this process can write.
func EmptyTrash(trash *os.File) error {
	r := remover{trash: trash, prefix: ".removed-" + rand.Text()}
	r.empty(trash)
	r.drain()
	if err := r.error(); err != nil {
		return fmt.Errorf("emptying %s: %w", trash.Name(), err)
	}
	return nil
}

// A remover removes a tree. It owns directories once they are in trash, where their
// names are numbers: those from drained up to moved are there now.
type remover struct {
	trash   *os.File
	prefix  string
	moved   int
	drained int

	failed []error
	more   int // failures beyond those
}

func (r *remover) fail(name string, err error) {
	if len(r.failed) == removeErrors {
		r.more++
		return
	}
	r.failed = append(r.failed, fmt.Errorf("%.255q: %w", name, err))
}

func (r *remover) error() error {
	if r.more > 0 {
		return fmt.Errorf("%w\nand %d more", errors.Join(r.failed...), r.more)
	}
	return errors.Join(r.failed...)
}

// remove removes an entry of dir.
func (r *remover) remove(dir *os.File, name string) error {
	err := r.entry(dir, name)
	if errors.Is(err, unix.EXDEV) {
		return r.volume(dir, name)
	}
	if err != nil {
		return err
	}
	r.drain()
	return r.error()
}

// entry removes an entry of dir or, if it is a directory, moves it to the trash.
func (r *remover) entry(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Renameat(int(dir.Fd()), name, int(r.trash.Fd()), r.name(r.moved))
		if err == nil {
			r.moved++
		}
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("something is mounted there: %w", err)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (r *remover) name(number int) string { return fmt.Sprintf("%s-%d", r.prefix, number) }

// drain removes the directories in the trash.
func (r *remover) drain() {
	for ; r.drained < r.moved; r.drained++ {
		name := r.name(r.drained)
		dir, err := openDir(r.trash, name)
		if err == nil {
			shut(dir)
			r.empty(dir)
			err = errors.Join(dir.Close(), unix.Unlinkat(int(r.trash.Fd()), name, unix.AT_REMOVEDIR))
		} else if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			err = unix.Unlinkat(int(r.trash.Fd()), name, 0) // exchanged before it was moved
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			r.fail(name, err)
		}
	}
}

// shut removes the permissions of others from a directory that is being emptied,
// because a board with a handle of it could keep filling it. It ignores errors: a
// process without the right to do this cannot remove the files of others either.
func shut(dir *os.File) {
	_ = dir.Chown(os.Geteuid(), os.Getegid())
	_ = dir.Chmod(0o700)
}

// openDir opens a directory in dir, and nothing else.
func openDir(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// empty removes or moves everything in a directory, as far as that is possible.
func (r *remover) empty(dir *os.File) {
	for range removePasses {
		gone, stays := r.pass(dir)
		if gone == 0 {
			for name, err := range stays {
				r.fail(name, err)
			}
			return
		}
	}
	r.fail(dir.Name(), fmt.Errorf("somebody makes new files in it all the time: %w", unix.EBUSY))
}

// pass removes the entries of a directory. It returns how many it removed, and why
// the others remain.
func (r *remover) pass(dir *os.File) (gone int, stays map[string]error) {
	stays = make(map[string]error)
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return 0, map[string]error{dir.Name(): err}
	}
	for {
		names, err := dir.Readdirnames(removeBatch)
		for _, name := range names {
			if r.isMine(dir, name) {
				continue
			}
			if err := r.one(dir, name); err == nil {
				gone++
			} else if len(stays) <= removeErrors {
				stays[name] = err
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, unix.ENOENT) { // the directory itself was removed
				stays[dir.Name()] = err
			}
			return gone, stays
		}
	}
}

// isMine reports whether this remover moved an entry to the trash.
func (r *remover) isMine(dir *os.File, name string) bool {
	return dir == r.trash && strings.HasPrefix(name, r.prefix)
}

// one removes or moves an entry of a directory that is being emptied.
func (r *remover) one(dir *os.File, name string) error {
	err := r.entry(dir, name)
	if errors.Is(err, unix.EXDEV) {
		return r.volume(dir, name)
	}
	return err
}

// volume removes a directory whose content cannot be moved to the trash because it
// is a btrfs subvolume: the directory becomes its own trash.
func (r *remover) volume(dir *os.File, name string) error {
	top, err := openDir(dir, name)
	if err != nil {
		return err
	}
	defer top.Close()
	var is unix.Statx_t
	if err := unix.Statx(int(top.Fd()), "", unix.AT_EMPTY_PATH, 0, &is); err != nil {
		return err
	}
	if is.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return fmt.Errorf("something is mounted there: %w", unix.EBUSY)
	}
	shut(top)
	if err := EmptyTrash(top); err != nil {
		return err
	}
	return unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
}
