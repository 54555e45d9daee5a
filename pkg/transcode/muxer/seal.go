package muxer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// streamDirMode lets players read a stream, as share.TakeOver does its files.
const streamDirMode = 0o755

// maxSealPasses bounds the passes over a stream until no file in it is a muxer's. The
// first pass finds all but those of calls in flight.
const maxSealPasses = 4

// A madeStream is a directory made by a muxer that no muxer can change any more, so
// that what is checked is what is published.
type madeStream struct {
	dir    *os.File
	owner  ids // of the media share
	revoke func(*os.File) error
}

type ids struct{ uid, gid int }

// openStream opens the stream at dir of the media share and takes ownership of it. It
// refuses a link, and a directory with anything but regular files of one name. The
// directory keeps the muxers' group until finish, which shows whose it was if the job
// fails.
func (h *Handler) openStream(dir string) (*madeStream, error) {
	root, err := os.OpenRoot(h.MediaDir)
	if err != nil {
		return nil, fmt.Errorf("opening the media share: %w", err)
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return nil, fmt.Errorf("the media share: %w", err)
	}
	found, err := share.OpenDir(root, dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadStream, inWords(err, dir))
	}
	s := &madeStream{dir: found, owner: ownerOf(info), revoke: h.Revoke}
	if err := s.seal(); err != nil {
		return nil, errors.Join(err, found.Close())
	}
	return s, nil
}

// inWords describes why a directory could not be opened.
func inWords(err error, dir string) error {
	switch {
	case errors.Is(err, unix.ELOOP):
		return fmt.Errorf("%s is a symbolic link, or is behind one; want a directory", dir)
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is no directory", dir)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there", dir)
	}
	return err
}

func ownerOf(info fs.FileInfo) ids {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ids{}
	}
	return ids{int(st.Uid), int(st.Gid)}
}

// seal gives all files of muxers to the owner of the media share and makes them
// readable. The directory comes first, so that no name in it can be replaced.
func (s *madeStream) seal() error {
	info, err := s.dir.Stat()
	if err == nil && ownerOf(info).uid == transcode.MuxerUID {
		err = errors.Join(s.dir.Chown(s.owner.uid, transcode.MuxerUID), s.dir.Chmod(streamDirMode))
	}
	if err != nil {
		return fmt.Errorf("taking the stream over: %w", err)
	}
	for range maxSealPasses {
		taken, err := s.pass()
		if err != nil {
			return err
		}
		if taken == 0 {
			return s.sync()
		}
	}
	return fmt.Errorf("%w: somebody still writes into it", errBadStream)
}

// pass seals the files of the directory and returns how many were a muxer's.
func (s *madeStream) pass() (taken int, err error) {
	if _, err := s.dir.Seek(0, io.SeekStart); err != nil {
		return 0, fmt.Errorf("listing the stream: %w", err)
	}
	names, err := s.dir.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("listing the stream: %w", err)
	}
	if len(names) > maxEntries {
		return 0, fmt.Errorf("%w: more than %d files", errBadStream, maxEntries)
	}
	for _, name := range names {
		was, err := s.sealFile(name)
		if err != nil {
			return taken, err
		}
		if was {
			taken++
		}
	}
	return taken, nil
}

// sealFile seals one file and reports whether it was a muxer's.
func (s *madeStream) sealFile(name string) (was bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(int(s.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, fmt.Errorf("%w: %q: %w", errBadStream, name, err)
	}
	if err := checkFile(name, st); err != nil || st.Uid != transcode.MuxerUID {
		return false, err
	}
	fd, err := unix.Openat(int(s.dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("%w: %q: %w", errBadStream, name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if err := unix.Fstat(fd, &st); err != nil {
		return false, fmt.Errorf("looking at %q: %w", name, err)
	}
	if err := checkFile(name, st); err != nil {
		return false, err
	}
	if err := share.TakeOver(file, s.owner.uid, s.owner.gid, s.revoke); err != nil {
		return false, fmt.Errorf("taking %q over: %w", name, err)
	}
	return true, nil
}

// checkFile refuses files that cannot be part of a stream.
func checkFile(name string, st unix.Stat_t) error {
	switch kind := st.Mode & unix.S_IFMT; {
	case kind == unix.S_IFLNK:
		return fmt.Errorf("%w: %q is a symbolic link; want files alone", errBadStream, name)
	case kind == unix.S_IFDIR:
		return fmt.Errorf("%w: %q is a directory; want files alone", errBadStream, name)
	case kind != unix.S_IFREG:
		return fmt.Errorf("%w: %q is a device, a named pipe or a socket; want files alone", errBadStream, name)
	case st.Nlink != 1:
		return fmt.Errorf("%w: %q has %d names; want one", errBadStream, name, st.Nlink)
	}
	return nil
}

// sync makes the stream durable, including its owners.
func (s *madeStream) sync() error {
	if err := unix.Syncfs(int(s.dir.Fd())); err != nil {
		return fmt.Errorf("bringing the stream to the disk: %w", err)
	}
	return nil
}

// check checks the stream and returns the file that players open.
func (s *madeStream) check() (string, error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", s.dir.Fd()))
	if err != nil {
		return "", fmt.Errorf("opening the stream: %w", err)
	}
	defer root.Close()
	return checkStream(root.FS())
}

// finish gives the directory to the owner of the media share, once its job is done.
func (s *madeStream) finish() error {
	info, err := s.dir.Stat()
	if err == nil && ownerOf(info).gid == transcode.MuxerUID {
		err = s.dir.Chown(s.owner.uid, s.owner.gid)
	}
	if err != nil {
		return fmt.Errorf("giving the stream to the owner of the media share: %w", err)
	}
	return nil
}

func (s *madeStream) close() { _ = s.dir.Close() } // it is open for reading
