package archive

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"pibootd/pkg/rootfs/disk"
)

// Formats are the files that can be imported; how they begin tells them apart.
const Formats = "a tar archive or disk image, plain or as gz, xz, zst or zip"

// What a file begins with, and where. A tar archive and a disk image do not
// show it in their first bytes.
const (
	gzipMagic = "\x1f\x8b"
	xzMagic   = "\xfd7zXZ\x00"
	zstdMagic = "\x28\xb5\x2f\xfd"
	zipMagic  = "PK\x03\x04"
	tarMagic  = "ustar"
	tarAt     = 257
	headBytes = 2048
)

// maxZstdWindow is what zstd --ultra --long=27 needs.
const maxZstdWindow = 128 << 20

// An archive is an opened source of an import, a tar archive or a disk image.
type Source struct {
	io.Reader              // the tar stream or the image, unpacked
	Size      int64        // of the file
	Consumed  atomic.Int64 // of it, so far

	File       *os.File
	IsImage    bool // a disk image
	Compressed bool // file is not what Reader reads
	unpack     io.Closer
}

// Open opens a tar archive or a disk image, compressed or not. Reading
// it fails once ctx has ended.
func Open(ctx context.Context, path string) (*Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	a := &Source{File: file}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Source) start(ctx context.Context) error {
	info, err := a.File.Stat()
	if err != nil {
		return err
	}
	a.Size = info.Size()
	plain := bufio.NewReaderSize(a.counted(ctx), 256<<10)
	head, err := plain.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	unpacked, err := a.unpacker(ctx, plain, head)
	if err != nil {
		return err
	}
	if unpacked != nil {
		a.Compressed = true
		plain = bufio.NewReaderSize(unpacked, 256<<10)
		if head, err = plain.Peek(headBytes); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	a.Reader = plain
	a.IsImage = disk.IsImage(head)
	if !a.IsImage && !(len(head) >= tarAt && bytes.HasPrefix(head[tarAt:], []byte(tarMagic))) {
		return fmt.Errorf("unknown content, it begins with %q; want a directory, or %s", head[:min(len(head), 8)], Formats)
	}
	return nil
}

// unpacker decompresses plain, which begins with head; nil if it is not
// compressed.
func (a *Source) unpacker(ctx context.Context, plain io.Reader, head []byte) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return gzip.NewReader(plain)
	case bytes.HasPrefix(head, []byte(xzMagic)):
		from, err := unpackXZ(ctx, plain)
		a.unpack = from
		return from, err
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		// Without concurrency it needs no goroutine and stops when its reader does.
		from, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		a.unpack = from.IOReadCloser()
		return from, nil
	case bytes.HasPrefix(head, []byte(zipMagic)):
		from, err := a.unpackZip(ctx)
		if err != nil {
			return nil, err
		}
		a.unpack = from
		return from, nil
	}
	return nil, nil
}

// unpackZip reads the only disk image of a zip archive.
func (a *Source) unpackZip(ctx context.Context) (io.ReadCloser, error) {
	a.Consumed.Store(0)
	list, err := zip.NewReader(readerAtFunc(func(buf []byte, at int64) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := a.File.ReadAt(buf, at)
		a.Consumed.Store(min(at+int64(n), a.Size))
		return n, err
	}), a.Size)
	if err != nil {
		return nil, err
	}
	images := slices.DeleteFunc(list.File, func(f *zip.File) bool { return !strings.EqualFold(path.Ext(f.Name), ".img") })
	if len(images) != 1 {
		return nil, fmt.Errorf("the zip archive has %d files called *.img; want one", len(images))
	}
	return images[0].Open()
}

type readerAtFunc func([]byte, int64) (int, error)

func (f readerAtFunc) ReadAt(buf []byte, at int64) (int, error) { return f(buf, at) }

// Drain reads what follows the last member, so that the checksums at the end
// of a compressed archive are compared as well.
func (a *Source) Drain() error {
	if _, err := io.Copy(io.Discard, a); err != nil {
		return fmt.Errorf("reading the end of the archive: %w", err)
	}
	return nil
}

func (a *Source) Close() error {
	if a.unpack != nil {
		return errors.Join(a.unpack.Close(), a.File.Close())
	}
	return a.File.Close()
}

// counted is the file as it is, noting what was read of it.
func (a *Source) counted(ctx context.Context) io.Reader {
	return readFunc(func(buf []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := a.File.Read(buf)
		a.Consumed.Add(int64(n))
		return n, err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(buf []byte) (int, error) { return f(buf) }
