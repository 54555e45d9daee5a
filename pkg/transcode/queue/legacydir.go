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

// errNotMuxers reports that a muxer did not make the file that is in the place of a
// stream.
var errNotMuxers = errors.New("no muxer has made it")

// dirExists is a muxer's reason when the stream's directory exists: it belongs to
// somebody else.
const dirExists = "DirectoryExists"

// legacyDirFree reports whether the directory for a muxer's stream does not exist
// yet. It reports false if the path has symbolic links, because they may lead
// anywhere.
func (q *Queue) legacyDirFree(u unitRow) bool {
	parent, err := share.OpenDir(q.media, path.Dir(u.spec.Source))
	if err != nil {
		return false
	}
	defer parent.Close()
	var st unix.Stat_t
	err = unix.Fstatat(int(parent.Fd()), path.Base(LegacyDir(u.spec.Source)), &st, unix.AT_SYMLINK_NOFOLLOW)
	return errors.Is(err, unix.ENOENT)
}

// makeFree is legacyDirFree, but first moves away what a muxer left that no longer
// holds a job of this source.
func (q *Queue) makeFree(t *transaction, u unitRow) bool {
	if q.legacyDirFree(u) {
		return true
	}
	moved, err := q.putAside(u.spec.Source, func(st unix.Stat_t) bool { return st.Uid == q.legacyUID })
	if err != nil && !errors.Is(err, errNotMuxers) {
		q.log.Warn("a muxer's unfinished stream is in the way", "file", LegacyDir(u.spec.Source), "job", u.key.job, "err", err)
	}
	if moved == "" {
		return false
	}
	t.aside = append(t.aside, moved)
	return true
}

// clearEnded removes what legacy muxers wrote in failed attempts.
func (q *Queue) clearEnded(ctx context.Context, events []UnitEvent) {
	for _, e := range events {
		if !transcode.IsLegacyMuxer(e.Worker) || e.Event == EventClaimed || e.Event == EventDone || e.Detail == dirExists {
			continue
		}
		var request column[transcode.Request]
		err := q.store.QueryRow(ctx, `SELECT request FROM jobs WHERE id = ?`, e.Job).Scan(&request)
		if err == nil {
			q.clearLegacy(ctx, e.Job, request.V.Source)
		}
	}
}

// clearLegacy removes the directory of a legacy muxer's attempt. A muxer that still
// writes finds it gone.
func (q *Queue) clearLegacy(ctx context.Context, job int64, source string) {
	moved := ""
	// Within a transaction, so that no other job of this source is granted.
	err := q.store.Write(ctx, func(tx *sql.Tx) error {
		busy, err := (&transaction{tx: tx}).legacySources(ctx)
		if err != nil || busy[source] {
			return err
		}
		// The group is still the muxers' if this process was killed while it checked a
		// stream that it had taken ownership of.
		moved, err = q.putAside(source, func(st unix.Stat_t) bool { return st.Uid == q.legacyUID || st.Gid == q.legacyUID })
		return err
	})
	if err != nil {
		q.log.Warn("a muxer's unfinished stream is in the way", "file", LegacyDir(source), "job", job, "err", err)
	}
	if moved != "" {
		q.removeAside(moved)
	}
}

// putAside moves the directory that a muxer made for a source's stream to the trash,
// and returns its name there; "" if there is none. The error matches errNotMuxers if
// the directory is not theirs.
func (q *Queue) putAside(source string, theirs func(unix.Stat_t) bool) (string, error) {
	parent, err := share.OpenDir(q.media, path.Dir(source))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer parent.Close()
	name := path.Base(LegacyDir(source))
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

// removeAside removes a directory from the trash. A daemon that is killed before
// does it at its next start.
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

// disown opens a directory that a muxer made and takes ownership of it, so that no
// muxer can replace it. It keeps the muxers' group, which shows whose it was if this
// process is killed now.
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
		err = unix.Fchownat(fd, "", os.Geteuid(), int(q.legacyUID), unix.AT_EMPTY_PATH)
	}
	if err != nil {
		made.Close()
		return nil, err
	}
	return made, nil
}

// fileType describes the type of a file.
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

// moveSame moves the directory made, which is name in from, to newName in to. If
// another directory has replaced it meanwhile, that one is moved back.
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
