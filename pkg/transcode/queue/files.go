package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"pibootd/pkg/transcode"

	"golang.org/x/sys/unix"
)

// acceptFiles moves the files of an attempt out of its worker's reach and then
// verifies that they match the result. The order matters, because nobody can change
// them after the move.
func (q *Queue) acceptFiles(ctx context.Context, worker string, key attemptKey, u transcode.Unit, r transcode.Result) error {
	pieces := slices.DeleteFunc(transcode.Pieces(u, r), func(p transcode.Piece) bool { return len(p.Result.Files()) == 0 })
	if len(pieces) == 0 {
		return nil
	}
	from, err := q.openAttempt(worker, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("result: %w", err)
	}
	if from != nil { // nil: the files were uploaded by HTTP
		defer from.Close()
	}
	to := transcode.AttemptDir(key.job, key.unit, key.attempt)
	for _, dir := range []string{transcode.JobDir(key.job), to} {
		if err := q.makeOwnDir(dir); err != nil {
			return err
		}
	}
	for _, p := range pieces {
		if err := q.acceptPiece(ctx, from, []string{p.Dir}, to, p); err != nil {
			return fmt.Errorf("result: %w", err)
		}
	}
	return errors.Join(syncPath(q.media, to), syncPath(q.media, transcode.JobDir(key.job)), syncPath(q.media, transcode.WorkDir))
}

// acceptPiece moves the files of one rendition into the attempt's directory to.
// Each file is in one of the directories places below from.
func (q *Queue) acceptPiece(ctx context.Context, from *os.File, places []string, to string, p transcode.Piece) error {
	dir := path.Join(to, p.Dir)
	if err := q.makeOwnDir(dir); err != nil {
		return err
	}
	for _, s := range p.Result.Files() {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := q.acceptFile(from, places, dir, s)
		if err != nil {
			return err
		}
		if err := errors.Join(verifyFile(file, s), file.Sync(), file.Close()); err != nil {
			return err
		}
	}
	return syncPath(q.media, dir)
}

func (q *Queue) acceptFile(from *os.File, places []string, to string, s transcode.Segment) (file *os.File, err error) {
	for _, place := range places {
		file, err = q.acceptor.Accept(from, path.Join(place, s.Name), q.media, path.Join(to, s.Name), s.SizeBytes+1)
		if !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return nil, err
}

// verifyFile verifies that a file is the one that a worker describes.
func verifyFile(file *os.File, s transcode.Segment) error {
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, s.SizeBytes+1))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != s.SizeBytes || got != s.SHA256 {
		return fmt.Errorf("%s: SHA-256 of its first %d bytes is %s; the worker says %s of %d", s.Name, n, got, s.SHA256, s.SizeBytes)
	}
	return nil
}

// errOtherFile reports that a file is not the one that its worker described.
var errOtherFile = errors.New("not the file that its worker described")

// verifySize verifies that name is a regular file of this size, and not a symbolic
// link to one.
func (q *Queue) verifySize(name string, sizeBytes int64) error {
	info, err := q.media.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() != sizeBytes {
		return fmt.Errorf("%w: %s is %v with %d bytes; want a regular file with %d", errOtherFile, name, info.Mode(), info.Size(), sizeBytes)
	}
	return nil
}

// openRegular opens a regular file for reading. It must not block on a named pipe.
func openRegular(root *os.Root, name string) (*os.File, error) {
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %v; want a regular file", name, info.Mode())
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// syncPath syncs a file or a directory of the share.
func syncPath(root *os.Root, name string) error {
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// exists reports whether name exists, whatever its type.
func exists(root *os.Root, name string) (bool, error) {
	_, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makeOwnDir makes a directory, unless it exists, that everybody can read and only
// the daemon can write.
func (q *Queue) makeOwnDir(name string) error {
	if err := q.media.Mkdir(name, dirMode); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return q.media.Chmod(name, dirMode) // because the umask may have removed bits
}

// makePublicDir makes a directory, unless it exists, and makes it public.
func (q *Queue) makePublicDir(name string) error {
	if err := q.media.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return q.makePublic(name, dirMode)
}

// makePublic gives a file to the owner of the media share and makes it readable for
// everybody.
func (q *Queue) makePublic(name string, mode fs.FileMode) error {
	share, err := q.media.Stat(".")
	if err != nil {
		return err
	}
	file, err := q.media.Lstat(name)
	if err != nil {
		return err
	}
	want, have := owner(share), owner(file)
	if want != have {
		if err := q.media.Lchown(name, want.uid, want.gid); err != nil {
			return err
		}
	}
	if file.Mode().Perm() == mode {
		return nil
	}
	return q.media.Chmod(name, mode)
}

type ids struct{ uid, gid int }

func owner(info fs.FileInfo) ids {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ids{}
	}
	return ids{int(st.Uid), int(st.Gid)}
}
