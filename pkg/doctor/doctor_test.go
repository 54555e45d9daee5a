package doctor

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

func TestJudge(t *testing.T) {
	router := dhcp.OtherServer{Addr: netip.MustParseAddr("10.0.0.254"), MAC: pi.MAC{2, 1}, Offered: netip.MustParseAddr("10.0.0.57"), Router: netip.MustParseAddr("10.0.0.254")}
	boards := router
	boards.Offered = netip.MustParseAddr("10.0.0.200")
	proxy := dhcp.OtherServer{Addr: netip.MustParseAddr("10.0.0.7"), BootFile: "pxelinux.0"}
	pxe := router
	pxe.BootServer, pxe.BootFile = "10.0.0.7", "pxelinux.0\x1b[31m"
	pis := router
	pis.RaspberryPi = true
	for name, test := range map[string]struct {
		mode   config.DHCPMode
		server dhcp.OtherServer
		level  Level
		text   string
	}{
		"the house's router":             {config.Reservation, router, OK, "10.0.0.254"},
		"the house's router beside pool": {config.Pool, router, Problem, "10.0.0.57"},
		"the house's router under proxy": {config.Proxy, router, OK, "as the network's own DHCP server should"},
		"with a board's address":         {config.Reservation, boards, Problem, "10.0.0.200 is a board's to have"},
		"a board's address under proxy":  {config.Proxy, boards, OK, "as the network's own DHCP server should"},
		"a PXE server":                   {config.Reservation, pxe, Warning, `"pxelinux.0\x1b[31m"`},
		"a PXE server beside pool":       {config.Pool, pxe, Problem, "pxelinux.0"},
		"a PXE proxy beside pool":        {config.Pool, proxy, Warning, "it offers no address"},
		"a server of Pis":                {config.Reservation, pis, Problem, "Raspberry Pi"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := config.Range{First: netip.MustParseAddr("10.0.0.192"), Last: netip.MustParseAddr("10.0.0.254")}
			d := &Doctor{DHCP: test.mode, Fleet: &fleet.Fleet{Registry: &registry.Registry{}, Addresses: kept}}
			if f := d.Judge(test.server); f.Level != test.level || !strings.Contains(f.Text, test.text) || f.Level != OK && f.Todo == "" {
				t.Errorf("Judge = %+v; want %s with %q", f, test.level, test.text)
			}
		})
	}
	for mode, want := range map[config.DHCPMode]Level{config.Reservation: OK, config.Pool: OK, config.Proxy: Problem} {
		d := &Doctor{DHCP: mode}
		if found := d.judge(nil); len(found) != 1 || found[0].Level != want {
			t.Errorf("nobody else in mode %s = %+v; want %s", mode, found, want)
		}
	}
}

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]Level{dir: OK, filepath.Join(dir, "none"): Problem, "/proc": Problem} {
		if f := disk("state directory", path); f.Level != want || !strings.Contains(f.Text, path) {
			t.Errorf("disk(%s) = %+v; want %s", path, f, want)
		}
	}
}

func TestLink(t *testing.T) {
	for name, test := range map[string]struct {
		iface string
		addr  string
		want  Level
	}{
		"as it was started": {"lo", "127.0.0.1/8", OK},
		"another address":   {"lo", "10.1.2.3/8", Problem},
		"no interface":      {"none0", "127.0.0.1/8", Problem},
	} {
		d := &Doctor{Interface: test.iface, Network: netip.MustParsePrefix(test.addr)}
		if f := d.link(); f.Level != test.want || !strings.Contains(f.Text, test.iface) {
			t.Errorf("%s: link = %+v; want %s", name, f, test.want)
		}
	}
}
