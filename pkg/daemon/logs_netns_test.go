//go:build netns

package daemon

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/config"
	"pibootd/pkg/doctor"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
	"pibootd/pkg/web"
)

// A board's syslog and netconsole arrive, also what its boot code sends to all, and a
// stranger's do not. The log is still there after a restart.
func TestBoardsLogs(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	board := netlabtest.Host{Port: "board", Addr: "10.77.0.50/24"}.Join(t, network)
	if err := board.AddRoute("eth0", netip.MustParsePrefix("255.255.255.255/32")); err != nil {
		t.Fatal(err)
	}
	stranger := netlabtest.Host{Port: "stranger", Addr: "10.77.0.9/24"}.Join(t, network)
	cfg := logConfig(t)
	register(t, cfg, "10.77.0.50")
	stop := start(t, network, cfg)
	client := web.NewClient(cfg.SocketFile())

	sendLog(t, stranger, "10.77.0.1:514", "<13>stranger: mischief")
	sendLog(t, board, "10.77.0.1:514", "<30>Nov 30 08:43:25 pi sshd[1]: \x1b[31mhello\x1b[0m")
	sendLog(t, board, "255.255.255.255:6666", "RPi: BOOTLOADER release VERSION:1\n")
	sendLog(t, board, "10.77.0.1:6666", "0,417,12345678,-;Kernel panic - not syncing: tried\n")

	var got []string
	for line, err := range client.FollowLogs(t.Context(), boardlog.Query{Board: "hlspi1"}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, strings.TrimSpace(string(line.Source)+" "+line.Program+" "+line.Text)); len(got) == 3 {
			break
		}
	}
	want := map[string]bool{"syslog sshd hello": true, "netconsole  RPi: BOOTLOADER release VERSION:1": true, "netconsole  [   12.345678] Kernel panic - not syncing: tried": true}
	for _, text := range got {
		if !want[text] {
			t.Errorf("logged: %q; want %v", got, want)
		}
	}
	for event, err := range client.Follow(t.Context(), "hlspi1", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Kind == timeline.Panic {
			break // or the test ends by its deadline
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	stop = start(t, network, cfg)
	if again, err := client.Logs(t.Context(), boardlog.Query{}); err != nil || len(again) != 3 {
		t.Errorf("after a restart: %+v, %v; want the three lines", again, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// A port for logs that another program has costs the logs and not the boards.
func TestTakenLogPort(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	var taken net.PacketConn
	err := network.Do(func() (err error) { taken, err = net.ListenPacket("udp4", "0.0.0.0:514"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := logConfig(t)
	stop := start(t, network, cfg)
	found, err := web.NewClient(cfg.SocketFile()).Examine(t.Context(), nil)
	isLogs := func(f doctor.Finding) bool {
		return f.Subject == "logs" && f.Level == doctor.Warning && strings.HasPrefix(f.Text, "logs.syslog_port: port 514 is taken by ") && f.Todo != ""
	}
	if err != nil || !slices.ContainsFunc(found, isLogs) {
		t.Errorf("doctor finds %+v, %v; want the taken port", found, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func logConfig(t *testing.T) config.Config {
	t.Helper()
	cfg := config.Default()
	cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", filepath.Join(t.TempDir(), "state"), config.Embedded
	return cfg
}

// register registers hlspi1 in the state directory of a daemon that does not run.
func register(t *testing.T, cfg config.Config, ip string) {
	t.Helper()
	if err := makeDirs(cfg); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(cfg.StateDir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	known, err := registry.Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	_, err = known.Add(t.Context(), registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr(ip),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
	}, "token")
	if err != nil {
		t.Fatal(err)
	}
}

// sendLog sends a datagram from a host.
func sendLog(t *testing.T, from *netlab.Namespace, to, datagram string) {
	t.Helper()
	err := from.Do(func() error {
		conn, err := net.DialTimeout("udp4", to, time.Minute)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(datagram))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
