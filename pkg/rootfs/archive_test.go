package rootfs

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/rootfs/archive"
	"pibootd/pkg/rootfs/roottest"
)

func writeTemp(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func oneFileTar(t *testing.T) []byte {
	return roottest.MakeTar(t, func(b roottest.Tar) {
		b.Add(roottest.Member(tar.TypeReg, "file", "", strings.Repeat("content that packs ", 5000)))
	})
}

// load imports the file system of a file into dir as far as it is one.
func load(ctx context.Context, source, dir string, p Progress) error {
	from, err := archive.Open(ctx, source)
	if err != nil {
		return err
	}
	return errors.Join(loadArchive(ctx, from, from, dir, p), from.Close())
}

func TestLoadArchive(t *testing.T) {
	plain := oneFileTar(t)
	sources := map[string][]byte{"tar": plain}
	for name, packer := range roottest.Packers() {
		sources[name] = roottest.Pack(t, packer, plain)
	}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var done, total int64
			progress := func(_ string, d, n int64) { done, total = d, n }
			if err := load(t.Context(), writeTemp(t, source), dir, progress); err != nil {
				t.Fatal(err)
			}
			if got := roottest.ReadFile(t, dir, "file"); !strings.HasPrefix(got, "content that packs") {
				t.Errorf("file = %.20q", got)
			}
			if total != int64(len(source)) || done == 0 || done > total {
				t.Errorf("progress = %d of %d; want up to %d", done, total, len(source))
			}
		})
	}
}

func TestLoadArchiveRefusesDamage(t *testing.T) {
	for name, packer := range roottest.Packers() {
		whole := roottest.Pack(t, packer, oneFileTar(t))
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 0x55
		for damage, source := range map[string][]byte{
			"cut":     whole[:len(whole)/2],
			"no end":  whole[:len(whole)-1],
			"flipped": flipped,
		} {
			t.Run(name+" "+damage, func(t *testing.T) {
				if err := load(t.Context(), writeTemp(t, source), t.TempDir(), nil); err == nil {
					t.Error("loadArchive = nil; want an error")
				}
			})
		}
	}
}

func TestOpenArchiveRefuses(t *testing.T) {
	for want, content := range map[string][]byte{
		"unknown content":   []byte("%PDF-1.4"),
		"not a valid zip":   []byte("PK\x03\x04zip"),
		"plain or as gz":    {},
		"called *.img":      makeZip(t, "readme.txt"),
		"2 files":           makeZip(t, "a.img", "b.img"),
		"it begins with \"": roottest.Pack(t, roottest.Packers()["tar.xz"], []byte("neither")),
	} {
		_, err := archive.Open(t.Context(), writeTemp(t, content))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("openArchive(%.10q) = %v; want an error with %q", content, err, want)
		}
	}
	if _, err := archive.Open(t.Context(), filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("openArchive of no file = %v; want ErrNotExist", err)
	}
}

func TestLoadArchiveStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := load(ctx, writeTemp(t, oneFileTar(t)), t.TempDir(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("loadArchive = %v; want canceled", err)
	}
}

func makeZip(t *testing.T, names ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, name := range names {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(make([]byte, 2048))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
