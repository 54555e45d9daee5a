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
	"syscall"

	"pibootd/pkg/transcode"

	"golang.org/x/sys/unix"
)

// verifyResult makes sure that an attempt's directory holds what its worker
// says, of every rendition.
func (q *Queue) verifyResult(ctx context.Context, dir string, u transcode.Unit, r transcode.Result) error {
	for _, p := range transcode.Pieces(u, r) {
		if err := q.verifyFiles(ctx, path.Join(dir, p.Dir), p.Result.Files()); err != nil {
			return err
		}
	}
	return nil
}

// verifyFiles makes sure that a directory holds what a worker says.
func (q *Queue) verifyFiles(ctx context.Context, dir string, segments []transcode.Segment) error {
	for _, s := range segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.verifyFile(dir+"/"+s.Name, s); err != nil {
			return fmt.Errorf("result: %w", err)
		}
	}
	return nil
}

func (q *Queue) verifyFile(name string, s transcode.Segment) error {
	if err := q.verifySize(name, s.SizeBytes); err != nil {
		return err
	}
	file, err := openRegular(q.media, name)
	if err != nil {
		return err
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, io.LimitReader(file, s.SizeBytes+1))
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != s.SizeBytes || got != s.SHA256 {
		return fmt.Errorf("%s: SHA-256 of its %d bytes is %s; the worker says %s of %d", name, n, got, s.SHA256, s.SizeBytes)
	}
	return nil
}

// errOtherFile reports that a file is not the one that was described.
var errOtherFile = errors.New("not the file that its worker described")

// verifySize makes sure that there is a regular file of this size, which a
// symbolic link to one is not.
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

// openRegular opens a regular file for reading. Workers can put anything into
// the share: opening must not wait for the other end of a named pipe.
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

// syncPath makes a file or a directory of the share durable.
func syncPath(root *os.Root, name string) error {
	file, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// exists reports whether name is there, as whatever.
func exists(root *os.Root, name string) (bool, error) {
	_, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// makePublicDir makes a directory, unless it is there, and makes it public.
func (q *Queue) makePublicDir(name string) error {
	if err := q.media.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return q.makePublic(name, dirMode)
}

// makePublic gives a file that a worker made, or we did, to the owner of the
// media share, and lets everybody read it.
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
