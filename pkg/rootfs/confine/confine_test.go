package confine

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/rootfs/roottest"
)

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{
		"usr/lib/file": "x", "lib": "-> usr/lib", "abs": "-> /lib", "loop": "-> loop",
		"up": "-> ../../../../usr", "chain": "-> abs/../lib/file", "etc/x": "-> /abs/file",
	}.Make(t, dir)
	root := roottest.OpenRoot(t, dir)
	for name, want := range map[string]string{
		"lib/file": "usr/lib/file", "abs/file": "usr/lib/file", "up/lib/file": "usr/lib/file",
		"chain": "usr/lib/file", "etc/x": "usr/lib/file", ".": ".", "/": ".", "lib/../../..": ".",
	} {
		if got, err := Resolve(root, name); err != nil || got != want {
			t.Errorf("resolve(%s) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"loop", "missing", "lib/missing", "lib/file/x"} {
		if got, err := Resolve(root, name); err == nil {
			t.Errorf("resolve(%s) = %q; want an error", name, got)
		}
	}
}

// Writing into an untrusted root must stay inside, whatever links it has.
func TestPutFileStaysInside(t *testing.T) {
	outside := t.TempDir()
	roottest.Spec{
		"victim/hosts": "safe", "root/etc": "-> /../victim", "root/conf/hostname": "-> ../../victim/hosts",
		"root/up": "-> ../../victim", "root/victim/": "dir",
	}.Make(t, outside)
	root := roottest.OpenRoot(t, filepath.Join(outside, "root"))
	err := errors.Join(
		PutFile(root, "etc/hosts", []byte("by an absolute link"), 0o600),
		PutFile(root, "conf/hostname", []byte("over a link"), 0o640),
		PutFile(root, "new/dir/file", []byte("x"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := PutFile(root, "up/hosts", []byte("x"), 0o644); err != nil {
		t.Log(err) // refused, or put where the board would find it
	}
	if got := roottest.ReadFile(t, outside, "victim/hosts"); got != "safe" {
		t.Errorf("file outside = %q; want safe", got)
	}
	if got := roottest.ReadFile(t, outside, "root/victim/hosts"); got == "safe" {
		t.Errorf("root's victim/hosts = %q; want it written, as the board resolves the link", got)
	}
	info, err := os.Lstat(filepath.Join(outside, "root/conf/hostname"))
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("file over a link: mode %v, %v; want a file of 640", info.Mode(), err)
	}
}
