//go:build netns

package doctor

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDoctor returns the doctor of an installation with one board, hlspi1, whose
// exports are open.
func newDoctor(t *testing.T) (*Doctor, registry.Pi) {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), filepath.Join(dir, "pibootd.db"))
	must(t, err)
	known, err := registry.Open(t.Context(), s)
	must(t, err)
	events, err := timeline.Open(t.Context(), s)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- events.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ran)
		must(t, s.Close())
	})
	board, err := known.Add(t.Context(), registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.9.0.192"),
		Root: registry.Root{Template: "tiny", Version: 1, Arch: pi.ARM64},
	}, "token")
	must(t, err)
	roots := &rootfs.Roots{Dir: filepath.Join(dir, "roots"), Log: log}
	for _, file := range []string{"roots/3333347a/sbin/init", "roots/3333347a/boot/firmware/start.elf", "roots/3333347a/boot/firmware/kernel8.img", "roots/3333347a/etc/pibootd/worker.json"} {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, file), []byte("{}"), 0o644))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "media"), 0o755))
	network := netip.MustParsePrefix("10.9.0.1/24")
	policy := &boot.Policy{Registry: known, Timeline: events, Roots: roots, Log: log, Server: boot.Server{Addr: network.Addr()}}
	f := fleet.New(fleet.Fleet{
		Registry: known, Timeline: events, Log: log, Roots: roots, NFS: &nfs.Server{Key: make([]byte, 32)}, Policy: policy,
		Templates: &rootfs.Templates{Dir: filepath.Join(dir, "templates"), Log: log},
		Network:   network, MediaDir: filepath.Join(dir, "media"),
	})
	policy.Server.RootPath = f.RootPath
	must(t, f.Start())
	return &Doctor{
		Fleet: f, Timeline: events, Diagnoses: &diagnosis.Tracker{Timeline: events},
		Interface: "lo", Network: netip.MustParsePrefix("127.0.0.1/8"), StateDir: dir, MediaDir: filepath.Join(dir, "media"),
		DHCP: config.Reservation, NFS: config.Embedded,
		FindOtherServers: func(context.Context, string) ([]dhcp.OtherServer, error) { return nil, nil },
	}, board
}

// want checks that there is a finding about the board with this level and text.
func want(t *testing.T, d *Doctor, level Level, text string) {
	t.Helper()
	found, err := d.Examine(t.Context(), []string{"hlspi1"})
	must(t, err)
	for _, f := range found {
		if f.Subject == "hlspi1" && f.Level == level && strings.Contains(f.Text, text) {
			return
		}
	}
	t.Errorf("findings = %+v; want %s of hlspi1 with %q", found, level, text)
}

func TestBoard(t *testing.T) {
	d, board := newDoctor(t)
	want(t, d, OK, "/roots/3333347a mounted by 10.9.0.192, sbin/init read, a file written, read back and removed")
	want(t, d, Warning, "hlspi1 has never been seen.")
	happened := func(kind timeline.Kind, ago time.Duration, detail string) {
		t.Helper()
		e := timeline.Event{At: time.Now().Add(-ago), Board: board.Serial.String(), Name: board.Name, Kind: kind, Detail: detail, Export: "/roots/3333347a"}
		d.Timeline.Record(e)
		for stored, err := range d.Timeline.Follow(t.Context(), board.Serial.String(), 0) {
			must(t, err)
			if stored.Kind == kind {
				return
			}
		}
	}
	happened(timeline.Discover, time.Hour, "")
	happened(timeline.Offer, time.Hour, "")
	want(t, d, Problem, "hlspi1 has got its address once and asks for no file.")
	happened(timeline.MountRefused, time.Hour, "from a strange address")
	want(t, d, Problem, "hlspi1 was refused its root: from a strange address.")
	happened(timeline.Claimed, time.Hour, "") // not a stage of a boot
	want(t, d, Problem, "hlspi1 was refused its root")
	happened(timeline.File, time.Second, "")
	want(t, d, OK, "hlspi1 boots: it loads its boot files.")
	happened(timeline.WorkerOnline, 0, "")
	want(t, d, OK, "hlspi1 is up, and its worker is online.")

	late := d.exports(t.Context(), board, time.Now().Add(-time.Second))
	if late.Level != Warning || !strings.Contains(late.Text, "no time was left") {
		t.Errorf("exports when the time is used up = %+v; want a warning that says so", late)
	}

	stranger := pi.MAC{0x52, 0x54, 0, 0, 0, 9}
	d.Fleet.FindUsers = func(context.Context, []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
		return map[netip.Addr][]pi.MAC{board.IP: {board.MAC, stranger}}, nil
	}
	want(t, d, Problem, "10.9.0.192 is used by 52:54:00:00:00:09, not by hlspi1")
	d.Fleet.FindUsers = nil

	_, err := d.Fleet.Registry.Update(t.Context(), board.Serial, func(p *registry.Pi) { p.IP = netip.MustParseAddr("10.9.0.77") })
	must(t, err)
	want(t, d, Problem, "10.9.0.77 may not mount /roots/3333347a")
	must(t, os.Remove(filepath.Join(d.StateDir, "roots/3333347a/boot/firmware/kernel8.img")))
	want(t, d, Problem, "no kernel that it would load")
	must(t, os.Remove(filepath.Join(d.StateDir, "roots/3333347a/sbin/init")))
	want(t, d, Problem, "its root has no init")
	must(t, os.RemoveAll(filepath.Join(d.StateDir, "roots/3333347a/boot")))
	want(t, d, Problem, "boot files cannot be made")
	if _, err := d.Examine(t.Context(), []string{"nobody"}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Examine of nobody = %v; want an error that names it", err)
	}
}

// Findings about the network are returned, and recorded on the timeline.
func TestNetwork(t *testing.T) {
	d, _ := newDoctor(t)
	house := dhcp.OtherServer{Addr: netip.MustParseAddr("10.9.0.254"), MAC: pi.MAC{2, 0, 0, 0, 0, 9}, Offered: netip.MustParseAddr("10.9.0.192")}
	d.FindOtherServers = func(context.Context, string) ([]dhcp.OtherServer, error) { return []dhcp.OtherServer{house}, nil }
	must(t, d.Fleet.Registry.Discover(t.Context(), registry.Discovered{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}}))
	found, err := d.Examine(t.Context(), nil)
	must(t, err)
	var told []string
	for _, f := range found {
		if f.Subject != "hlspi1" && f.Subject != "disk" {
			told = append(told, f.Subject+" "+string(f.Level))
		}
	}
	if got, want := strings.Join(told, ", "), "network ok, dhcp problem, ports ok, nfs ok, templates warning, boards ok"; got != want {
		t.Errorf("findings: %s; want %s", got, want)
	}
	for event, err := range d.Timeline.Follow(t.Context(), house.MAC.String(), 0) {
		must(t, err)
		if event.Kind != timeline.OtherServer || event.Addr != house.Addr || !strings.Contains(event.Detail, "10.9.0.192 is a board's to have") {
			t.Errorf("event %+v; want the other server and what is wrong with it", event)
		}
		break
	}
}

// Where the kernel arguments have a board's address, a root that asks for another one is found. The
// command that is offered ends that.
func TestRootThatAsksForAnAddress(t *testing.T) {
	for name, test := range map[string]struct{ file, before, after string }{
		"systemd-networkd": {"etc/systemd/network/05-pibootd.network",
			"[Match]\nName=eth0 end0\n\n[Network]\nDHCP=ipv4\nKeepConfiguration=yes\n",
			"[Match]\nName=eth0 end0\n\n[Network]\nDNS=9.9.9.9 1.1.1.1\nKeepConfiguration=yes\n"},
		"dhcpcd": {"etc/dhcpcd.conf",
			"persistent\n\n# The root comes over eth0: leave it alone.\ninterface eth0\nnolink\n",
			"persistent\n\n# The root comes over eth0: leave it alone.\ndenyinterfaces eth0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d, board := newDoctor(t)
			root := filepath.Join(d.StateDir, "roots/3333347a")
			file := filepath.Join(root, test.file)
			must(t, os.MkdirAll(filepath.Dir(file), 0o755))
			must(t, os.WriteFile(file, []byte(test.before), 0o644))
			if found := d.bootFiles(board); slices.ContainsFunc(found, asks) {
				t.Errorf("findings %+v; want none where boards ask for their address", found)
			}
			d.Fleet.Policy.Server.Static = []boot.Network{{Prefix: netip.MustParsePrefix("10.9.0.0/24"), DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("1.1.1.1")}}}
			found := d.bootFiles(board)
			i := slices.IndexFunc(found, asks)
			if i < 0 || !strings.Contains(found[i].Text, "/"+test.file) {
				t.Fatalf("findings %+v; want one that names %s", found, test.file)
			}
			_, command, _ := strings.Cut(found[i].Todo, ": ")
			out, err := exec.Command("sh", "-ec", strings.ReplaceAll(command, " /etc", " "+root+"/etc")).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != test.after {
				t.Errorf("after it %s = %q, %v; want %q", test.file, text, err, test.after)
			}
			if found := d.bootFiles(board); slices.ContainsFunc(found, asks) {
				t.Errorf("findings after it %+v; want none", found)
			}
		})
	}
}

func asks(f Finding) bool { return strings.Contains(f.Text, "second address") }
