package rootfs

import (
	"context"
	"errors"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// errNoReflink reports that two files cannot share blocks.
var errNoReflink = errors.New("the file system cannot share blocks between files")

// reflink makes to share all of from's blocks.
func reflink(to, from *os.File) error {
	err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EXDEV),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return errNoReflink
	}
	return err
}

// copyContent copies a file's data; holes stay holes.
func copyContent(ctx context.Context, job fileCopy) error {
	if !job.sparse {
		return copyRange(ctx, job, math.MaxInt64)
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
		if err := copySection(ctx, job, start, end); err != nil {
			return err
		}
	}
}

func copySection(ctx context.Context, job fileCopy, start, end int64) error {
	if _, err := job.from.Seek(start, io.SeekStart); err != nil {
		return err
	}
	if _, err := job.to.Seek(start, io.SeekStart); err != nil {
		return err
	}
	return copyRange(ctx, job, end-start)
}

// copyRange copies up to length bytes from where both files stand, through this
// process: the kernel's own copying shares blocks where it can.
func copyRange(ctx context.Context, job fileCopy, length int64) error {
	for length > 0 {
		n, err := job.from.Read(job.buffer[:min(length, int64(len(job.buffer)))])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := job.to.Write(job.buffer[:n]); err != nil {
			return err
		}
		length -= int64(n)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
