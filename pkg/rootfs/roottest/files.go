package roottest

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Member is a tar member owned by whoever runs the test.
func Member(kind byte, name, target, content string) (tar.Header, string) {
	return tar.Header{
		Typeflag: kind, Name: name, Linkname: target, Mode: 0o750, Size: int64(len(content)),
		Uid: os.Getuid(), Gid: os.Getgid(), ModTime: time.Unix(1700000000, 0),
	}, content
}

type Tar struct {
	t *testing.T
	w *tar.Writer
}

func (b Tar) Add(header tar.Header, content string) {
	b.t.Helper()
	if err := b.w.WriteHeader(&header); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.w.Write([]byte(content)); err != nil {
		b.t.Fatal(err)
	}
}

func MakeTar(t *testing.T, build func(Tar)) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	build(Tar{t, w})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// DeepDir makes so many directories in one another.
func DeepDir(path string, levels int) error {
	at, err := unix.Open(filepath.Dir(path), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for name := filepath.Base(path); levels > 0 && err == nil; levels-- {
		var next int
		if err = unix.Mkdirat(at, name, 0o755); err == nil {
			next, err = unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		err = errors.Join(err, unix.Close(at))
		at, name = next, "d"
	}
	return errors.Join(err, unix.Close(at))
}
