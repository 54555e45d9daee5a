//go:build netns

package fleet

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/images"
	"pibootd/pkg/registry"
)

func ptr[T any](v T) *T { return &v }

func TestEdit(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	edit := Edit{Name: ptr("muxer7"), IP: ptr(netip.MustParseAddr("10.9.0.77")), Settings: registry.Settings{MuxID: 7, Args: []string{"quiet"}}, Fields: []string{"mux_id", "hw_decode", "args"}}
	for _, want := range [][]string{
		{"name hlspi1 to muxer7", "IP 10.9.0.192 to 10.9.0.77", "muxid 1 to 7", "muxhwdec true to false", `kernel arguments [] to ["quiet"]`},
		{}, // the second time there is nothing to change
	} {
		edited, err := f.Edit(t.Context(), request.Serial.String(), edit)
		if err != nil || !slices.Equal(edited.Changed, want) || len(edited.Proof) != 3 || !strings.Contains(edited.Proof[1], "mounted by 10.9.0.77") {
			t.Errorf("Edit = %+v, %v; want the changes %q, proved from the new address", edited, err, want)
		}
	}
	if paths := exported(f); paths != "/media to [10.9.0.77], /roots/3333347a to [10.9.0.77], /scratch/3333347a to [10.9.0.77]" {
		t.Errorf("exports: %s; want all three, to the new address alone", paths)
	}
	for file, want := range map[string]string{"etc/hostname": "muxer7\n", "etc/hosts": "127.0.1.1\tmuxer7\n"} {
		if text, err := os.ReadFile(filepath.Join(f.Roots.Path(request.Serial), file)); err != nil || !strings.HasSuffix(string(text), want) || strings.Contains(string(text), "hlspi1") {
			t.Errorf("%s = %q, %v; want %q and nothing of the old name", file, text, err, want)
		}
	}
	board, ok := f.Registry.BySerial(request.Serial)
	if files, err := f.BootFiles(board); !ok || err != nil || !strings.Contains(files.CommandLine, "muxid=7") || strings.Contains(files.CommandLine, "muxhwdec") {
		t.Errorf("boot files = %+v, %v; want muxid=7 without muxhwdec", files, err)
	}
}

func TestEditConfigTxt(t *testing.T) {
	f := newFleet(t, t.TempDir())
	with := request
	with.Settings.Config = []string{"decode_MPG2=0x1", "dtoverlay=a"}
	add(t, f, with)
	if again := add(t, f, with); !again.Existed {
		t.Errorf("Add again = %+v; want it known", again)
	}
	for _, test := range []struct {
		change []string
		want   string // the last lines of config.txt
	}{
		{nil, "gpu_mem=0\ndecode_MPG2=0x1\ndtoverlay=a\n"},
		{[]string{"decode_MPG2=0x2"}, "gpu_mem=0\ndtoverlay=a\ndecode_MPG2=0x2\n"},
		{[]string{"decode_MPG2=", "dtoverlay="}, "gpu_mem=0\n"},
	} {
		edited, err := f.Edit(t.Context(), "hlspi1", Edit{Settings: registry.Settings{Config: test.change}, Fields: []string{"config"}})
		if err != nil {
			t.Fatal(err)
		}
		if files, err := f.BootFiles(edited.Pi); err != nil || !strings.HasSuffix(files.Config, test.want) {
			t.Errorf("config.txt after %q = %q, %v; want it to end in %q", test.change, files.Config, err, test.want)
		}
	}
}

// What cannot be is refused, and nothing of it done.
func TestEditRefuses(t *testing.T) {
	f := newFleet(t, t.TempDir())
	before := add(t, f, request).Pi
	for want, edit := range map[string]Edit{
		"cannot be a board's address": {IP: ptr(netip.MustParseAddr("10.8.0.1")), Settings: registry.Settings{MuxID: 9}, Fields: []string{"mux_id"}},
		"not a host name":             {Name: ptr("no name"), Settings: registry.Settings{MuxID: 9}, Fields: []string{"mux_id"}},
		"muxer id -1":                 {Settings: registry.Settings{MuxID: -1}, Fields: []string{"mux_id"}},
		"nfsroot":                     {Settings: registry.Settings{Args: []string{"nfsroot=10.0.0.9:/"}}, Fields: []string{"args"}},
		"use --gpu-mem":               {Settings: registry.Settings{Config: []string{"gpu_mem=64"}}, Fields: []string{"config"}},
		"config.txt line":             {Settings: registry.Settings{Config: []string{"no value"}}, Fields: []string{"config"}},
		"boot menu":                   {Settings: registry.Settings{BootMenu: "à la carte"}, Fields: []string{"boot_menu"}},
	} {
		if _, err := f.Edit(t.Context(), "hlspi1", edit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Edit = %v; want it refused with %q", err, want)
		}
	}
	if _, err := f.Edit(t.Context(), "nobody", Edit{Settings: registry.Settings{MuxID: 9}, Fields: []string{"mux_id"}}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Edit of nobody = %v; want an error that names it", err)
	}
	if after, _ := f.Registry.BySerial(request.Serial); after.Name != before.Name || after.IP != before.IP || after.Settings.MuxID != before.Settings.MuxID {
		t.Errorf("the board is %+v; want it as it was, %+v", after, before)
	}
}

// TestPrivilegedPort: what proves an export is what a board's kernel is: root.
func TestPrivilegedPort(t *testing.T) {
	f := newFleet(t, t.TempDir())
	f.PrivilegedPort = true
	if added := add(t, f, request); len(added.Proof) != 3 {
		t.Errorf("Add = %+v; want all exports proved", added)
	}
	for _, e := range f.NFS.Exports() {
		if !e.PrivilegedPort {
			t.Errorf("export %s takes calls from any port", e.Path)
		}
	}
}

// A change is reported even if the board cannot work with it.
func TestEditOfABrokenRoot(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	if err := os.Remove(filepath.Join(f.Roots.Path(request.Serial), "sbin/init")); err != nil {
		t.Fatal(err)
	}
	edited, err := f.Edit(t.Context(), "hlspi1", Edit{Settings: registry.Settings{MuxID: 7}, Fields: []string{"mux_id"}})
	if err == nil || !strings.Contains(err.Error(), "hlspi1 is changed (muxid 1 to 7), but does not work so: ") || edited.Pi.Settings.MuxID != 7 {
		t.Errorf("Edit = %+v, %v; want muxid 7, and both told", edited, err)
	}
}

// A volatile board cannot write to its root, which has the program that its
// kernel starts.
func TestVolatile(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	if err := os.Remove(filepath.Join(f.Roots.Path(request.Serial), images.VolatileInitFile)); err != nil {
		t.Fatal(err) // as in a root of an older pibootd
	}
	edited, err := f.Edit(t.Context(), "hlspi1", Edit{Settings: registry.Settings{Volatile: true}, Fields: []string{"volatile"}})
	if err != nil || !edited.Pi.Settings.Volatile || strings.Contains(edited.Proof[0], "written") {
		t.Fatalf("Edit = %+v, %v; want it volatile, and no file written", edited, err)
	}
	if _, err := os.Stat(filepath.Join(f.Roots.Path(request.Serial), images.VolatileInitFile)); err != nil {
		t.Errorf("its root: %v; want what its kernel is to start", err)
	}
	files, err := f.BootFiles(edited.Pi)
	if err != nil || !strings.Contains(files.CommandLine, "init=/"+images.VolatileInitFile+" ") || !strings.Contains(files.CommandLine, " ro ") {
		t.Errorf("its command line is %q, %v; want init= and ro", files.CommandLine, err)
	}
	for _, e := range f.NFS.Exports() {
		if e.Path != "/scratch/3333347a" && !e.ReadOnly {
			t.Errorf("%s is exported to be written", e.Path)
		}
	}
	if edited, err = f.Edit(t.Context(), "hlspi1", Edit{Settings: registry.Settings{Volatile: false}, Fields: []string{"volatile"}}); err != nil || !strings.Contains(edited.Proof[0], "written") {
		t.Errorf("Edit back = %+v, %v; want a file written", edited, err)
	}
}
