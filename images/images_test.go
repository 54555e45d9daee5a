package images

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/pi"
)

func TestWorkerWithoutBuild(t *testing.T) {
	_, err := Worker(pi.Arch("pdp11"))
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("Worker(pdp11) = %v; want an error that says make build", err)
	}
}

func TestUnpack(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	zip.Write([]byte("worker"))
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := unpack(packed.Bytes())
	if err != nil || string(got) != "worker" {
		t.Errorf("unpack = %q, %v; want worker", got, err)
	}
	if _, err := unpack(packed.Bytes()[:packed.Len()-6]); err == nil {
		t.Error("unpack of half a file = nil; want an error")
	}
}

func TestLists(t *testing.T) {
	for _, name := range []string{"applets", "modules", "packages", "drop"} {
		entries, err := List(name)
		if err != nil || len(entries) == 0 {
			t.Errorf("List(%s) = %d entries, %v", name, len(entries), err)
		}
		for _, entry := range entries {
			if strings.ContainsAny(entry, " #\t") {
				t.Errorf("List(%s) has %q; want one word", name, entry)
			}
		}
	}
	if packages, err := DebianPackages(); err != nil || !slices.Contains(packages, "ffmpeg") {
		t.Errorf("DebianPackages() = %q, %v; want ffmpeg among them", packages, err)
	}
	if _, err := List("none"); err == nil {
		t.Error("List(none) = nil; want an error")
	}
}

func TestTrees(t *testing.T) {
	for _, want := range []struct {
		tree fs.FS
		name string
	}{
		{Overlay(), WorkerUnit},
		{Minimal(), "root/etc/inittab"},
		{Minimal(), "boot/config.txt"},
		{Debian(), "hooks/customize"},
		{Debian(), "root/usr/sbin/update-initramfs"},
		{Initramfs(), "init"},
	} {
		if _, err := fs.Stat(want.tree, want.name); err != nil {
			t.Error(err)
		}
	}
}
