// Package archive opens the files that a template can be imported from: tar
// archives and disk images, plain or compressed.
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

// Formats names what Open accepts, for error messages.
const Formats = "a tar archive or disk image, plain or as gz, xz, zst or zip"

// The signatures of formats. They are in the first bytes of a file, except for tar
// archives and disk images.
const (
	gzipMagic = "\x1f\x8b"
	xzMagic   = "\xfd7zXZ\x00"
	zstdMagic = "\x28\xb5\x2f\xfd"
	zipMagic  = "PK\x03\x04"
	tarMagic  = "ustar"
	tarAt     = 257
	headBytes = 2048
)

// maxZstdWindow is the window of zstd --ultra --long=27.
const maxZstdWindow = 128 << 20

// A Source is an open tar archive or disk image. Reading it gives the uncompressed
// content.
type Source struct {
	io.Reader
	Size     int64        // bytes of the file
	Consumed atomic.Int64 // bytes of the file that were read

	File       *os.File
	IsImage    bool // a disk image, not a tar archive
	Compressed bool // File is not what Reader reads
	unpack     io.Closer
}

// Open opens a tar archive or a disk image, compressed or not. Reads fail once ctx
// has ended.
func Open(ctx context.Context, path string) (*Source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Source{File: file}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Source) start(ctx context.Context) error {
	info, err := s.File.Stat()
	if err != nil {
		return err
	}
	s.Size = info.Size()
	plain := bufio.NewReaderSize(s.counted(ctx), 256<<10)
	head, err := plain.Peek(headBytes)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	unpacked, err := s.unpacker(ctx, plain, head)
	if err != nil {
		return err
	}
	if unpacked != nil {
		s.Compressed = true
		plain = bufio.NewReaderSize(unpacked, 256<<10)
		if head, err = plain.Peek(headBytes); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("unpacking: %w", err)
		}
	}
	s.Reader = plain
	s.IsImage = disk.IsImage(head)
	if !s.IsImage && !(len(head) >= tarAt && bytes.HasPrefix(head[tarAt:], []byte(tarMagic))) {
		return fmt.Errorf("unknown content, it begins with %q; want a directory, or %s", head[:min(len(head), 8)], Formats)
	}
	return nil
}

// unpacker returns a reader that decompresses plain, whose first bytes are head, or
// nil if plain is not compressed.
func (s *Source) unpacker(ctx context.Context, plain io.Reader, head []byte) (io.Reader, error) {
	switch {
	case bytes.HasPrefix(head, []byte(gzipMagic)):
		return gzip.NewReader(plain)
	case bytes.HasPrefix(head, []byte(xzMagic)):
		from, err := unpackXZ(ctx, plain)
		s.unpack = from
		return from, err
	case bytes.HasPrefix(head, []byte(zstdMagic)):
		// Without concurrency it needs no goroutine and stops when its reader does.
		from, err := zstd.NewReader(plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, err
		}
		s.unpack = from.IOReadCloser()
		return from, nil
	case bytes.HasPrefix(head, []byte(zipMagic)):
		from, err := s.unpackZip(ctx)
		if err != nil {
			return nil, err
		}
		s.unpack = from
		return from, nil
	}
	return nil, nil
}

// unpackZip opens the only disk image in a zip archive.
func (s *Source) unpackZip(ctx context.Context) (io.ReadCloser, error) {
	s.Consumed.Store(0)
	list, err := zip.NewReader(readerAtFunc(func(buf []byte, at int64) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := s.File.ReadAt(buf, at)
		s.Consumed.Store(min(at+int64(n), s.Size))
		return n, err
	}), s.Size)
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

// Drain reads the rest of the stream, so that the checksum at the end of a
// compressed file is verified.
func (s *Source) Drain() error {
	if _, err := io.Copy(io.Discard, s); err != nil {
		return fmt.Errorf("reading the end of the archive: %w", err)
	}
	return nil
}

// Close closes the file and stops a running decompressor.
func (s *Source) Close() error {
	if s.unpack != nil {
		return errors.Join(s.unpack.Close(), s.File.Close())
	}
	return s.File.Close()
}

// counted reads the file and counts the bytes in Consumed.
func (s *Source) counted(ctx context.Context) io.Reader {
	return readFunc(func(buf []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := s.File.Read(buf)
		s.Consumed.Add(int64(n))
		return n, err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(buf []byte) (int, error) { return f(buf) }
