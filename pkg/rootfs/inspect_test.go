package rootfs

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pibootd/pkg/pi"
)

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	smallRoot().make(t, dir)
	got, err := inspect(openRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	want := Template{Arch: pi.ARM64, OS: "Debian GNU/Linux 12 (bookworm)", Kernels: []string{"6.1.0-9-arm64"}, BootDir: "boot/firmware"}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Template{})); diff != "" {
		t.Errorf("inspect (-want +got):\n%s", diff)
	}
}

func TestInspectRefuses(t *testing.T) {
	if _, err := inspect(openRoot(t, t.TempDir())); !errors.Is(err, errNotRoot) {
		t.Errorf("inspect of nothing = %v; want errNotRoot", err)
	}
	dir := t.TempDir()
	treeSpec{"sbin/init": "x"}.make(t, dir)
	if got, err := inspect(openRoot(t, dir)); err == nil {
		t.Errorf("inspect of a root without programs = %v; want an error", got)
	}
}

func TestELFArch(t *testing.T) {
	header := func(machine uint16, flags uint32) []byte {
		h := arm64Program()
		binary.LittleEndian.PutUint16(h[elfMachineAt:], machine)
		binary.LittleEndian.PutUint32(h[elfFlagsAt:], flags)
		return h
	}
	for _, c := range []struct {
		header []byte
		want   pi.Arch
	}{
		{header(elfAArch64, 0), pi.ARM64},
		{header(elfARM, 0x5000400), pi.ARMv7},
		{header(elfX8664, 0), pi.AMD64},
		{header(elfARM, 0x5000200), ""}, // armel
		{header(8, 0), ""},              // MIPS
		{[]byte("#!/bin/sh"), ""},
		{nil, ""},
	} {
		got, err := elfArch(c.header)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("elfArch(%x) = %q, %v; want %q", c.header, got, err, c.want)
		}
	}
}

func TestRaspbianIsARMv6(t *testing.T) {
	dir := t.TempDir()
	spec := smallRoot()
	program := arm64Program()
	binary.LittleEndian.PutUint16(program[elfMachineAt:], elfARM)
	binary.LittleEndian.PutUint32(program[elfFlagsAt:], elfHardFloat)
	spec["usr/bin/dash"] = string(program)
	spec["usr/lib/os-release"] = "ID=raspbian\nPRETTY_NAME='Raspbian GNU/Linux 12'\n"
	spec.make(t, dir)
	got, err := inspect(openRoot(t, dir))
	if err != nil || got.Arch != pi.ARMv6 || got.OS != "Raspbian GNU/Linux 12" {
		t.Errorf("inspect = %+v, %v; want armv6", got, err)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	treeSpec{
		"usr/lib/file": "x", "lib": "-> usr/lib", "abs": "-> /lib", "loop": "-> loop",
		"up": "-> ../../../../usr", "chain": "-> abs/../lib/file", "etc/x": "-> /abs/file",
	}.make(t, dir)
	root := openRoot(t, dir)
	for name, want := range map[string]string{
		"lib/file": "usr/lib/file", "abs/file": "usr/lib/file", "up/lib/file": "usr/lib/file",
		"chain": "usr/lib/file", "etc/x": "usr/lib/file", ".": ".", "/": ".", "lib/../../..": ".",
	} {
		if got, err := resolve(root, name); err != nil || got != want {
			t.Errorf("resolve(%s) = %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"loop", "missing", "lib/missing", "lib/file/x"} {
		if got, err := resolve(root, name); err == nil {
			t.Errorf("resolve(%s) = %q; want an error", name, got)
		}
	}
}

// Writing into a foreign root must stay inside, whatever links it has.
func TestPutFileStaysInside(t *testing.T) {
	outside := t.TempDir()
	treeSpec{
		"victim/hosts": "safe", "root/etc": "-> /../victim", "root/conf/hostname": "-> ../../victim/hosts",
		"root/up": "-> ../../victim", "root/victim/": "dir",
	}.make(t, outside)
	root := openRoot(t, filepath.Join(outside, "root"))
	err := errors.Join(
		putFile(root, "etc/hosts", []byte("by an absolute link"), 0o600),
		putFile(root, "conf/hostname", []byte("over a link"), 0o640),
		putFile(root, "new/dir/file", []byte("x"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
	if err := putFile(root, "up/hosts", []byte("x"), 0o644); err != nil {
		t.Log(err) // refused, or put where the board would find it
	}
	if got := readFile(t, outside, "victim/hosts"); got != "safe" {
		t.Errorf("file outside = %q; want safe", got)
	}
	if got := readFile(t, outside, "root/victim/hosts"); got == "safe" {
		t.Errorf("root's victim/hosts = %q; want it written, as the board resolves the link", got)
	}
	info, err := os.Lstat(filepath.Join(outside, "root/conf/hostname"))
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("file over a link: mode %v, %v; want a file of 640", info.Mode(), err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(arm64Program(), []byte("ID=debian\nPRETTY_NAME=\"x\"\n"))
	f.Fuzz(func(t *testing.T, program, release []byte) {
		arch, err := elfArch(program)
		if (err == nil) == (arch == "") {
			t.Errorf("elfArch = %q, %v", arch, err)
		}
		if osName(parseRelease(release)) == "" {
			t.Error("a root's OS is never empty")
		}
	})
}
