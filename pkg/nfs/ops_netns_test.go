//go:build netns

package nfs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	_, c, root := serveDir(t, dir)
	f := c.create(root, "hello", 0o644)
	if s := c.write(f, 0, fileSync, []byte("hello world")); s != statusOK {
		t.Fatal(s)
	}
	if s, data, eof := c.read(f, 0, 100); s != statusOK || string(data) != "hello world" || !eof {
		t.Errorf("READ = %v %q %v", s, data, eof)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "hello")); err != nil || !bytes.Equal(b, []byte("hello world")) {
		t.Error(b, err)
	}
	a := c.getattr(f)
	if a.mode != 0o644 || a.typ != typeReg || a.size != 11 {
		t.Errorf("%+v", a)
	}
	_ = unix.S_IFDIR
}
