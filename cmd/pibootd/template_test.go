package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/store"
)

// stateWithBoard makes a state directory with a board cloned from muxer@2.
func stateWithBoard(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	boards, err := registry.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	board := registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "kitchen",
		IP: netip.MustParseAddr("192.0.2.7"), Root: registry.Root{Template: "muxer", Version: 2, Arch: pi.ARM64},
	}
	if _, err := boards.Add(t.Context(), board, "token"); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTemplateUsers(t *testing.T) {
	dir := stateWithBoard(t)
	for version, want := range map[int]string{1: "", 2: "kitchen"} {
		users, err := templateUsers(context.Background(), dir, rootfs.Template{Name: "muxer", Version: version})
		if got := strings.Join(users, " "); err != nil || got != want {
			t.Errorf("users of version %d = %q, %v; want %q", version, got, err, want)
		}
	}
	empty := t.TempDir()
	if users, err := templateUsers(t.Context(), empty, rootfs.Template{Name: "muxer", Version: 2}); err != nil || len(users) > 0 {
		t.Errorf("users without a database = %v, %v; want none", users, err)
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) != 0 {
		t.Errorf("state directory has %v; want looking to make nothing", entries)
	}
}

// Templates leave free the space that the daemon's configuration sets.
func TestNewTemplates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pibootd.toml")
	if err := os.WriteFile(file, []byte("[roots]\nmin_free = 1234\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]int64{file: 1234e6, file + ".none": 0} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.String("config", config, "")
		made, err := newTemplates(cli.NewContext(nil, flags, nil), streams{err: io.Discard})
		if want == 0 && err == nil || want > 0 && (err != nil || made.MinFree != want) {
			t.Errorf("with %s: %+v, %v; want %d bytes free, or an error", config, made, err, want)
		}
	}
}

func TestPrintChanges(t *testing.T) {
	changes := []filetree.Change{{File: "etc/a\nb", What: "added"}}
	for _, test := range []struct {
		json      bool
		changes   []filetree.Change
		out, errs string
	}{
		{false, changes, `"etc/a\nb": added` + "\n", ""},
		{false, nil, "", "no differences\n"},
		{true, nil, "[]\n", ""},
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.Bool("json", test.json, "")
		var out, errs bytes.Buffer
		err := printChanges(cli.NewContext(nil, flags, nil), streams{out: &out, err: &errs}, test.changes)
		if err != nil || out.String() != test.out || errs.String() != test.errs {
			t.Errorf("%v prints %q and %q, %v; want %q and %q", test.changes, out.String(), errs.String(), err, test.out, test.errs)
		}
	}
}

func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{"etc/a b": "etc/a b", "a\x1b[2J": `"a\x1b[2J"`, "a\nb": `"a\nb"`, "\xff": `"\xff"`} {
		if got := printable(name); got != want {
			t.Errorf("printable(%q) = %s; want %s", name, got, want)
		}
	}
}

// A template that a board uses is not removed, whether or not the daemon runs.
func TestRemoveTemplateWithoutDaemon(t *testing.T) {
	dir := stateWithBoard(t)
	for version := 1; version <= 2; version++ {
		made := filepath.Join(dir, "templates", "muxer", strconv.Itoa(version))
		if err := os.MkdirAll(filepath.Join(made, "root"), 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf(`{"name":"muxer","version":%d,"arch":"arm64","os":"Debian","kernels":null,"boot_dir":"","size_bytes":1,"files":1,"created":"2026-11-30T09:00:00Z"}`, version)
		if err := os.WriteFile(filepath.Join(made, "template.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{"muxer@1": "", "muxer@2": "in use by kitchen", "muxer": "names no version"} {
		var out, errs bytes.Buffer
		if os.Geteuid() != 0 && ref != "muxer" {
			want = "not root"
		}
		status := run([]string{"pibootd", "template", "remove", "--state-dir", dir, ref}, streams{out: &out, err: &errs})
		if (status == 0) != (want == "") || !strings.Contains(errs.String(), want) {
			t.Errorf("template remove %s = %d: %s%s; want %q", ref, status, out.String(), errs.String(), want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "templates/muxer/1/root")); err == nil && os.Geteuid() == 0 {
		t.Error("muxer@1 is still there")
	}
}
