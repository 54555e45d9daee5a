package rootfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// formats are the archives that can be imported, by how they begin.
const formats = "tar, tar.gz, tar.xz or tar.zst"

// What a file begins with, and where. A tar archive and a disk image do not
// show it in their first bytes.
const (
	gzipMagic = "\x1f\x8b"
	xzMagic   = "\xfd7zXZ\x00"
	zstdMagic = "\x28\xb5\x2f\xfd"
	tarMagic  = "ustar"
	tarAt     = 257
	bootMagic = "\x55\xaa"
	bootAt    = 510
	headBytes = 512
)

// maxZstdWindow is what zstd --ultra --long=27 needs.
const maxZstdWindow = 128 << 20

// An archive is an opened source of an import.
type archive struct {
	io.Reader              // the tar stream
	size      int64        // of the file
	read      atomic.Int64 // of it, so far

	file *os.File
	zstd *zstd.Decoder
}

// openArchive opens a tar file, compressed or not. Reading it fails once ctx
// has ended.
func openArchive(ctx context.Context, path string) (*archive, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a := &archive{file: file}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return a, nil
}

func (a *archive) start(ctx context.Context) error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	a.size = info.Size()
	plain := bufio.NewReaderSize(a.counted(ctx), 256<<10)
	head, err := plain.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		a.Reader, err = gzip.NewReader(plain)
	case bytes.HasPrefix(head, []byte(xzMagic)):
		a.Reader, err = xz.NewReader(plain)
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		// Without concurrency it needs no goroutine and stops when its reader does.
		a.zstd, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		a.Reader = a.zstd
	case hasAt(head, tarAt, tarMagic):
		a.Reader = plain
	case hasAt(head, bootAt, bootMagic):
		return fmt.Errorf("it looks like a disk image; want a directory or %s: mount the image and import the directory", formats)
	default:
		return fmt.Errorf("unknown format, it begins with %q; want a directory or %s", head[:min(len(head), 8)], formats)
	}
	return err
}

func hasAt(head []byte, at int, magic string) bool {
	return len(head) >= at && bytes.HasPrefix(head[at:], []byte(magic))
}

// drain reads what follows the last member, so that the checksums at the end
// of a compressed archive are compared as well.
func (a *archive) drain() error {
	if _, err := io.Copy(io.Discard, a); err != nil {
		return fmt.Errorf("reading the end of the archive: %w", err)
	}
	return nil
}

func (a *archive) Close() error {
	if a.zstd != nil {
		a.zstd.Close()
	}
	return a.file.Close()
}

// counted is the file as it is, noting what was read of it.
func (a *archive) counted(ctx context.Context) io.Reader {
	return readFunc(func(buf []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := a.file.Read(buf)
		a.read.Add(int64(n))
		return n, err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(buf []byte) (int, error) { return f(buf) }
