package bootcheck

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
)

func TestInspect(t *testing.T) {
	dir := t.TempDir()
	roottest.Small().Make(t, dir)
	got, err := Inspect(roottest.OpenRoot(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	want := System{Arch: pi.ARM64, OS: "Debian GNU/Linux 12 (bookworm)", Kernels: []string{"6.1.0-9-arm64"}, BootDir: "boot/firmware"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("inspect (-want +got):\n%s", diff)
	}
}

func TestInspectRefuses(t *testing.T) {
	if _, err := Inspect(roottest.OpenRoot(t, t.TempDir())); !errors.Is(err, ErrNotRoot) {
		t.Errorf("inspect of nothing = %v; want errNotRoot", err)
	}
	dir := t.TempDir()
	roottest.Spec{"sbin/init": "x"}.Make(t, dir)
	if got, err := Inspect(roottest.OpenRoot(t, dir)); err == nil {
		t.Errorf("inspect of a root without programs = %v; want an error", got)
	}
}

func TestELFArch(t *testing.T) {
	header := func(machine uint16, flags uint32) []byte {
		h := roottest.ARM64Program()
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
	spec := roottest.Small()
	program := roottest.ARM64Program()
	binary.LittleEndian.PutUint16(program[elfMachineAt:], elfARM)
	binary.LittleEndian.PutUint32(program[elfFlagsAt:], elfHardFloat)
	spec["usr/bin/dash"] = string(program)
	spec["usr/lib/os-release"] = "ID=raspbian\nPRETTY_NAME='Raspbian GNU/Linux 12'\n"
	spec.Make(t, dir)
	got, err := Inspect(roottest.OpenRoot(t, dir))
	if err != nil || got.Arch != pi.ARMv6 || got.OS != "Raspbian GNU/Linux 12" {
		t.Errorf("inspect = %+v, %v; want armv6", got, err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(roottest.ARM64Program(), []byte("ID=debian\nPRETTY_NAME=\"x\"\n"))
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
