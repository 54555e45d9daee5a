package queue

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"

	"golang.org/x/sys/unix"
)

// errNotMuxers reports that what is in the place of a stream is not what a muxer
// has made there.
var errNotMuxers = errors.New("no muxer has made it")

// dirExists is a muxer's reason when it found the stream's directory: that one
// is somebody else's.
const dirExists = "DirectoryExists"

// foreignFree reports whether a muxer would find the place of its stream free.
// Where links lead there it never is: what is below videos by a link may be
// anything.
func (q *Queue) foreignFree(u unitRow) bool {
	parent, err := share.OpenDir(q.media, path.Dir(u.spec.Source))
	if err != nil {
		return false
	}
	defer parent.Close()
	var st unix.Stat_t
	err = unix.Fstatat(int(parent.Fd()), path.Base(ForeignDir(u.spec.Source)), &st, unix.AT_SYMLINK_NOFOLLOW)
	return errors.Is(err, unix.ENOENT)
}

// makeFree is foreignFree, and puts out of the way what a muxer left that is at
// no such job any more: it was cut off, or it has made what it was not to make.
func (q *Queue) makeFree(s *step, u unitRow) bool {
	if q.foreignFree(u) {
		return true
	}
	moved, err := q.putAside(u.spec.Source, func(st unix.Stat_t) bool { return st.Uid == q.foreignUID })
	if err != nil && !errors.Is(err, errNotMuxers) {
		q.log.Warn("a muxer's unfinished stream is in the way", "file", ForeignDir(u.spec.Source), "job", u.key.job, "err", err)
	}
	if moved == "" {
		return false
	}
	s.aside = append(s.aside, moved)
	return true
}

// clearEnded puts out of the way what foreign muxers had written of attempts
// that came to nothing.
func (q *Queue) clearEnded(ctx context.Context, events []UnitEvent) {
	for _, e := range events {
		if !transcode.IsLegacyMuxer(e.Worker) || e.Event == EventClaimed || e.Event == EventDone || e.Detail == dirExists {
			continue
		}
		var request column[transcode.Request]
		err := q.store.QueryRow(ctx, `SELECT request FROM jobs WHERE id = ?`, e.Job).Scan(&request)
		if err == nil {
			q.clearForeign(ctx, e.Job, request.V.Source)
		}
	}
}

// clearForeign removes the directory of a foreign attempt. A muxer that still
// writes finds it gone.
func (q *Queue) clearForeign(ctx context.Context, job int64, source string) {
	moved := ""
	// Within a transaction nobody is granted a job of this source, whose stream
	// would be in the same place.
	err := q.store.Write(ctx, func(tx *sql.Tx) error {
		busy, err := (&step{tx: tx}).foreignSources(ctx)
		if err != nil || busy[source] {
			return err
		}
		// Its group is still theirs where this process was killed while it looked
		// at a stream that it had made its own: nothing was there before the attempt.
		moved, err = q.putAside(source, func(st unix.Stat_t) bool { return st.Uid == q.foreignUID || st.Gid == q.foreignUID })
		return err
	})
	if err != nil {
		q.log.Warn("a muxer's unfinished stream is in the way", "file", ForeignDir(source), "job", job, "err", err)
	}
	if moved != "" {
		q.removeAside(moved)
	}
}

// putAside moves what a muxer has made in the place of a source's stream to the
// trash, and returns its name there; "" if there was nothing. It touches nothing
// but directories that are theirs: the error matches errNotMuxers.
func (q *Queue) putAside(source string, theirs func(unix.Stat_t) bool) (string, error) {
	parent, err := share.OpenDir(q.media, path.Dir(source))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer parent.Close()
	name := path.Base(ForeignDir(source))
	made, err := q.disown(parent, name, theirs)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer made.Close()
	trash, err := share.OpenDir(q.media, trashDir)
	if err != nil {
		return "", err
	}
	defer trash.Close()
	aside := "muxer-" + rand.Text()
	if err := moveSame(made, parent, name, trash, aside); err != nil {
		return "", err
	}
	return aside, nil
}

// removeAside removes what was put aside. A daemon that is killed does it at its
// next start.
func (q *Queue) removeAside(aside string) {
	trash, err := share.OpenDir(q.media, trashDir)
	if err == nil {
		defer trash.Close()
		err = share.RemoveTree(trash, trash, aside)
	}
	if err != nil {
		q.log.Warn("a muxer's unfinished stream is not removed", "file", path.Join(trashDir, aside), "err", err)
	}
}

// disown opens a directory that a muxer has made and takes it from the muxers,
// so that none can put another in its place. It keeps their group: should this
// process be killed now, that tells whose it was.
func (q *Queue) disown(parent *os.File, name string, theirs func(unix.Stat_t) bool) (*os.File, error) {
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	made := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFDIR || !theirs(st)) {
		err = fmt.Errorf("%s is %v of user %d: %w", name, fileType(st.Mode), st.Uid, errNotMuxers)
	}
	if err == nil && st.Uid != uint32(os.Geteuid()) {
		err = unix.Fchownat(fd, "", os.Geteuid(), int(q.foreignUID), unix.AT_EMPTY_PATH)
	}
	if err != nil {
		made.Close()
		return nil, err
	}
	return made, nil
}

// fileType is what a file is, in words.
func fileType(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "a directory"
	case unix.S_IFLNK:
		return "a symbolic link"
	case unix.S_IFREG:
		return "a file"
	}
	return "a device, a named pipe or a socket"
}

// moveSame moves the directory made, called name in from, to a new name in to.
// If something else was put in its place in the last moment, that goes back.
func moveSame(made, from *os.File, name string, to *os.File, newName string) error {
	err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), newName, unix.RENAME_NOREPLACE)
	if err != nil {
		return fmt.Errorf("moving %s away: %w", name, err)
	}
	var want, got unix.Stat_t
	err = errors.Join(unix.Fstat(int(made.Fd()), &want), unix.Fstatat(int(to.Fd()), newName, &got, unix.AT_SYMLINK_NOFOLLOW))
	if err == nil && (want.Ino != got.Ino || want.Dev != got.Dev) {
		err = errors.Join(fmt.Errorf("%s was exchanged while it was looked at: %w", name, errNotMuxers),
			unix.Renameat2(int(to.Fd()), newName, int(from.Fd()), name, unix.RENAME_NOREPLACE))
	}
	return err
}
