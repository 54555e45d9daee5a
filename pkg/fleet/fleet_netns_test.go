//go:build netns

package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
)

var request = Request{
	MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Serial: 0x3333347a, Name: "hlspi1",
	Settings: registry.Settings{MuxID: 1, HWDecode: true},
}

func TestAddAndRemove(t *testing.T) {
	f := newFleet(t, t.TempDir())
	added := add(t, f, request)
	if added.Existed || added.Pi.IP != netip.MustParseAddr("10.9.0.192") || len(added.Proof) != 3 {
		t.Errorf("Add = %+v; want a new board at 10.9.0.192 and three proofs", added)
	}
	hostname, err := os.ReadFile(filepath.Join(f.Roots.Path(request.Serial), "etc/hostname"))
	if err != nil || strings.TrimSpace(string(hostname)) != "hlspi1" {
		t.Errorf("etc/hostname = %q, %v; want hlspi1", hostname, err)
	}
	if paths := exported(f); paths != "/media to [10.9.0.192], /roots/3333347a to [10.9.0.192], /scratch/3333347a to [10.9.0.192]" {
		t.Errorf("exports: %s; want all three, to 10.9.0.192", paths)
	}

	board, kept, err := f.Remove(t.Context(), "hlspi1", false)
	if err != nil || board.Serial != request.Serial || kept != "" {
		t.Errorf("Remove = %v, %q, %v", board, kept, err)
	}
	if _, err := os.Stat(f.Roots.Path(request.Serial)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its root after Remove: %v; want it gone", err)
	}
	if paths := exported(f); paths != "/media to []" {
		t.Errorf("exports after Remove: %s; want the media share, to nobody", paths)
	}
	if _, _, err := f.Remove(t.Context(), "hlspi1", false); err == nil || !strings.Contains(err.Error(), "hlspi1") {
		t.Errorf("a second Remove = %v; want an error that names hlspi1", err)
	}
}

func TestAddAgain(t *testing.T) {
	f := newFleet(t, t.TempDir())
	request := request
	request.Clone = "copy"
	first := add(t, f, request)
	again := add(t, f, request)
	if !again.Existed || again.Pi.ID != first.Pi.ID || len(again.Proof) != 3 {
		t.Errorf("Add again = %+v; want the same board, proved", again)
	}
	unnamed := request
	unnamed.Name, unnamed.Clone = "", ""
	if got := add(t, f, unnamed); !got.Existed {
		t.Errorf("Add without a name = %+v; want the same board", got)
	}
	precise := request
	precise.Template, precise.Clone = "tiny@1", "auto"
	if got := add(t, f, precise); !got.Existed {
		t.Errorf("Add with the template's version = %+v; want the same board", got)
	}
	for want, change := range map[string]func(*Request){
		"name hlspi1, not other":             func(r *Request) { r.Name = "other" },
		"IP 10.9.0.192, not 10.9.0.7":        func(r *Request) { r.IP = netip.MustParseAddr("10.9.0.7") },
		"template tiny@1, not big@3":         func(r *Request) { r.Template = "big@3" },
		"upgrade-pi hlspi1 --to tiny@2":      func(r *Request) { r.Template = "tiny@2" },
		"a root made by copy, not shared":    func(r *Request) { r.Clone = "shared" },
		"reset-pi hlspi1 --clone shared":     func(r *Request) { r.Clone = "shared" },
		"is not a clone method":              func(r *Request) { r.Clone = "magic" },
		"address b8:27:eb:33:34:7a, not dc":  func(r *Request) { r.MAC = pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2} },
		"are not of one board":               func(r *Request) { r.MAC[5] = 0x7b },
		"edit-pi hlspi1":                     func(r *Request) { r.Settings.GPUMem = 64 },
		"muxid 1, not 2":                     func(r *Request) { r.Settings.MuxID = 2 },
		"muxhwdec true, not false":           func(r *Request) { r.Settings.HWDecode = false },
		`kernel arguments [], not ["quiet"]`: func(r *Request) { r.Settings.Args = []string{"quiet"} },
	} {
		other := request
		change(&other)
		if _, err := f.Add(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Add = %v; want it refused for %q", err, want)
		}
	}
}

// Whatever is wrong with a request is found before anything is cloned.
func TestAddRefuses(t *testing.T) {
	f := newFleet(t, t.TempDir())
	add(t, f, request)
	for want, change := range map[string]func(*Request){
		"hlspi1":                            func(r *Request) { r.Name = "hlspi1" },
		"are not of one board":              func(r *Request) { r.MAC = pi.MAC{0xb8, 0x27, 0xeb, 1, 2, 3} },
		"cannot be a board's address; want": func(r *Request) { r.IP = netip.MustParseAddr("10.9.0.1") },
		"10.9.0.0 cannot be":                func(r *Request) { r.IP = netip.MustParseAddr("10.9.0.0") },
		"its broadcast address":             func(r *Request) { r.IP = netip.MustParseAddr("10.9.0.255") },
		"10.8.0.1 cannot be":                func(r *Request) { r.IP = netip.MustParseAddr("10.8.0.1") },
		"big":                               func(r *Request) { r.Template = "big" },
		"nfsroot":                           func(r *Request) { r.Settings.Args = []string{"nfsroot=10.0.0.9:/"} },
	} {
		r := Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}, Serial: 0x10000002}
		change(&r)
		if _, err := f.Add(t.Context(), r, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Add(%+v) = %v; want an error with %q", r, err, want)
		}
		if _, err := os.Stat(f.Roots.Path(r.Serial)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Add(%+v) left a root: %v", r, err)
		}
	}
}

func TestInterruptedAddLeavesNoBoard(t *testing.T) {
	f := newFleet(t, t.TempDir())
	for at := 1; ; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		steps := 0
		_, err := f.Add(ctx, request, func(string, int64, int64) {
			if steps++; steps == at {
				cancel()
			}
		})
		cancel()
		_, known := f.Registry.BySerial(request.Serial)
		_, statErr := os.Stat(f.Roots.Path(request.Serial))
		if known != (statErr == nil) {
			t.Errorf("interrupted at step %d (%v): registered %v, root %v; want both or none", at, err, known, statErr)
		}
		if known {
			break
		}
		if steps < at {
			t.Fatalf("Add fails though nothing interrupts it: %v", err)
		}
	}
}

// A daemon that is killed between cloning and registering leaves a root that
// is no board's; one that restarts has the exports of all that are.
func TestStart(t *testing.T) {
	dir := t.TempDir()
	f := newFleet(t, dir)
	add(t, f, request)
	template, err := f.Templates.Find("tiny")
	if err != nil {
		t.Fatal(err)
	}
	const leftover = pi.Serial(0x10000002)
	identity := f.identity(registry.Pi{Serial: leftover, Name: "left"}, "token")
	if _, err := f.Roots.Clone(t.Context(), template, rootfs.Auto, leftover, identity, nil); err != nil {
		t.Fatal(err)
	}
	f.NFS = &nfs.Server{Key: make([]byte, 32)}
	if err := f.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Roots.Path(leftover)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the leftover after Start: %v; want it out of the way", err)
	}
	if paths := exported(f); paths != "/media to [10.9.0.192], /roots/3333347a to [10.9.0.192], /scratch/3333347a to [10.9.0.192]" {
		t.Errorf("exports after Start: %s; want all three", paths)
	}
}

func TestRemoveKeepsTheRoot(t *testing.T) {
	f := newFleet(t, t.TempDir())
	request := request
	request.Clone = string(rootfs.Copy)
	add(t, f, request)
	_, kept, err := f.Remove(t.Context(), request.Serial.String(), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "etc/hostname")); err != nil {
		t.Errorf("the kept root: %v", err)
	}
}

func add(t *testing.T, f *Fleet, r Request) Added {
	t.Helper()
	added, err := f.Add(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return added
}

func exported(f *Fleet) string {
	var out []string
	for _, e := range f.NFS.Exports() {
		out = append(out, fmt.Sprintf("%s to %v", e.Path, e.Clients))
	}
	return strings.Join(out, ", ")
}

// newFleet returns a fleet with one template, whose programs are this
// machine's: enough of a root to be cloned and mounted.
func newFleet(t *testing.T, dir string) *Fleet {
	t.Helper()
	f := openFleet(t, dir)
	importTiny(t, f, dir)
	return f
}

// openFleet returns the fleet that is in dir.
func openFleet(t *testing.T, dir string) *Fleet {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(dir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	known, err := registry.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	events, err := timeline.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	network := netip.MustParsePrefix("10.9.0.1/24")
	templates := &rootfs.Templates{Dir: filepath.Join(dir, "templates")}
	t.Cleanup(func() { unmountRoots(t, dir) })
	f := New(Fleet{
		Registry: known, Timeline: events, Log: log,
		Templates: templates,
		Roots:     &rootfs.Roots{Dir: filepath.Join(dir, "roots"), Templates: templates},
		NFS:       &nfs.Server{Key: make([]byte, 32)},
		Network:   network, Addresses: config.UpperQuarter(network), MediaDir: filepath.Join(dir, "media"), QueueURL: "nats://10.0.0.1:4222",
		Disconnect: func(string) error { return nil },
	})
	f.Policy = &boot.Policy{Registry: known, Timeline: events, Roots: f.Roots, Log: log, Server: boot.Server{Addr: network.Addr(), NFSPort: 2049, PortmapPort: 111}}
	if err := os.MkdirAll(f.MediaDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return f
}

// unmountRoots unmounts the overlay roots below a state directory, as a restart of
// the machine does.
func unmountRoots(t *testing.T, dir string) {
	t.Helper()
	roots, err := filepath.Glob(filepath.Join(dir, "roots", "[0-9a-f]*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, root := range roots {
		if err := syscall.Unmount(root, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
}

func importTiny(t *testing.T, f *Fleet, dir string) {
	t.Helper()
	source := filepath.Join(dir, "tiny")
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{
		"sbin/init": program, "bin/sh": program, "etc/os-release": []byte("PRETTY_NAME=Tiny\n"),
		"boot/firmware/config.txt": []byte("kernel=kernel8.img\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(source, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(source, file), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := f.Templates.Import(t.Context(), "tiny", source, rootfs.ImportOptions{}, nil); err != nil {
		t.Fatal(err)
	}
}

// What a board may write to, and how much, is its own alone.
func TestBoardsWriteToTheirOwn(t *testing.T) {
	f := newFleet(t, t.TempDir())
	f.ScratchBytes = 1 << 30
	add(t, f, request)
	other := request
	other.MAC, other.Serial, other.Name = pi.MAC{0xb8, 0x27, 0xeb, 0, 0, 1}, 0x00000001, "hlspi2"
	add(t, f, other)
	users := map[uint32]bool{}
	for _, e := range f.NFS.Exports() {
		if e.Path == "/media" {
			if !e.ReadOnly || len(e.Clients) != 2 {
				t.Errorf("%+v; want it read-only, for both boards", e)
			}
			continue
		}
		if len(e.Clients) != 1 || e.MinFree <= 0 {
			t.Errorf("%+v; want it one board's, and a floor kept free", e)
		}
		if !strings.HasPrefix(e.Path, "/scratch/") {
			continue
		}
		info, err := os.Stat(e.Dir)
		if err != nil || info.Mode().Perm() != 0o700 || e.Squash != nfs.AllSquash || e.MaxBytes != 1<<30 || e.MaxNames == 0 || users[e.AnonUID] {
			t.Errorf("%+v, %v, %v; want a bounded directory of a user of its own", e, info, err)
		}
		users[e.AnonUID] = true
	}
	if len(users) != 2 {
		t.Errorf("%d scratches; want two", len(users))
	}
	if info, err := os.Stat(filepath.Join(f.MediaDir, transcode.ScratchDir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want a directory that root alone may enter", info, err)
	}
	if _, _, err := f.Remove(t.Context(), "hlspi2", false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(f.MediaDir, transcode.ScratchOf("00000001"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the scratch of a removed board: %v; want it gone", err)
	}
}
