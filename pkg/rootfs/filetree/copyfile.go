package filetree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// errNoReflink reports that two files cannot share blocks.
var errNoReflink = errors.New("the file system cannot share blocks between files")

// reflink makes to share all blocks of from.
func reflink(to, from *os.File) error {
	err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return errNoReflink
	}
	return err
}

// copyContent copies the data of a file and keeps its holes.
func copyContent(ctx context.Context, job fileCopy) error {
	if !job.sized {
		return copyRange(ctx, job, 0, math.MaxInt64)
	}
	info, err := job.from.Stat()
	if err != nil {
		return err
	}
	if err := job.to.Truncate(info.Size()); err != nil {
		return err
	}
	for end := int64(0); ; {
		start, err := job.from.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		if end, err = job.from.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyRange(ctx, job, start, end); err != nil {
			return err
		}
	}
}

// copyRange copies the bytes from start to end, or to the end of the file. It does
// not use copy_file_range(2), because that shares blocks where it can.
func copyRange(ctx context.Context, job fileCopy, start, end int64) error {
	for at := start; at < end; {
		n, err := job.from.ReadAt(job.buffer[:min(end-at, int64(len(job.buffer)))], at)
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if _, err := job.to.WriteAt(job.buffer[:n], at); err != nil {
			return err
		}
		if job.onCopied != nil && n > 0 {
			if err := job.onCopied(job.from, at, int64(n)); err != nil {
				return err
			}
		}
		at += int64(n)
		if err := ctx.Err(); err != nil || last {
			return err
		}
	}
	return nil
}

// CheckReflink returns an error that matches ErrUnsupported if a file in dir cannot
// share blocks with file.
func CheckReflink(file, dir string) error {
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(dir, "reflink")
	if err != nil {
		return err
	}
	err = reflink(to, from)
	if errors.Is(err, errNoReflink) {
		err = fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return errors.Join(err, to.Close(), os.Remove(to.Name()))
}
