package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pibootd/internal/durable"
)

// blobs is a directory of what the archive will have, by its name there: '/' is
// written as '_'.
type blobs struct {
	dir   string
	names []string
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }

func (b *blobs) path(name string) string {
	return filepath.Join(b.dir, strings.ReplaceAll(name, "/", "_"))
}

// addLayer packs a tar archive. Its diff ID is the digest of the unpacked one.
func (b *blobs) addLayer(file string) (_ descriptor, diffID string, _ error) {
	in, err := os.Open(file)
	if err != nil {
		return descriptor{}, "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(b.dir, "layer")
	if err != nil {
		return descriptor{}, "", err
	}
	defer out.Close()
	unpacked, packed := sha256.New(), sha256.New()
	zip, err := gzip.NewWriterLevel(io.MultiWriter(out, packed), gzip.DefaultCompression)
	if err != nil {
		return descriptor{}, "", err
	}
	if _, err := io.Copy(io.MultiWriter(zip, unpacked), in); err != nil {
		return descriptor{}, "", err
	}
	if err := zip.Close(); err != nil {
		return descriptor{}, "", err
	}
	size, err := out.Seek(0, io.SeekCurrent)
	if err != nil {
		return descriptor{}, "", err
	}
	d := descriptor{MediaType: typeLayer, Digest: digestOf(packed.Sum(nil)), Size: size}
	return d, digestOf(unpacked.Sum(nil)), b.keep(blobPath(d.Digest), out.Name())
}

// keep gives a file of the directory its name in the archive.
func (b *blobs) keep(name, file string) error {
	b.names = append(b.names, name)
	return os.Rename(file, b.path(name))
}

// addJSON adds a blob.
func (b *blobs) addJSON(mediaType string, value any) (descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(text)
	d := descriptor{MediaType: mediaType, Digest: digestOf(sum[:]), Size: int64(len(text))}
	return d, b.add(blobPath(d.Digest), text)
}

// addFiles adds what is no blob, by its name.
func (b *blobs) addFiles(files map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text, err := json.Marshal(files[name])
		if err != nil {
			return err
		}
		if err := b.add(name, text); err != nil {
			return err
		}
	}
	return nil
}

func (b *blobs) add(name string, text []byte) error {
	b.names = append(b.names, name)
	return os.WriteFile(b.path(name), text, 0o644)
}

// archive writes all that was added to the file output.
func (b *blobs) archive(output string, modified time.Time) error {
	out, err := os.CreateTemp(b.dir, "archive")
	if err != nil {
		return err
	}
	defer out.Close()
	t := tar.NewWriter(out)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: modified}); err != nil {
			return err
		}
	}
	for _, name := range b.names {
		if err := b.writeTo(t, name, modified); err != nil {
			return err
		}
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := out.Chmod(0o644); err != nil {
		return err
	}
	return durable.Commit(out, output)
}

// writeTo writes a file into the archive.
func (b *blobs) writeTo(t *tar.Writer, name string, modified time.Time) error {
	in, err := os.Open(b.path(name))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: info.Size(), ModTime: modified}); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}
