// Package boot decides what a board gets while it boots: its address from
// DHCP, its files from TFTP, its export from NFS. It turns what those servers
// report into events on the board's timeline.
package boot

import (
	"context"
	"log/slog"
	"net/netip"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// A Policy answers the servers' questions from the registry. It implements
// dhcp.Policy and tftp.Source and is safe for concurrent use. Set its fields
// before the servers start.
type Policy struct {
	Registry *registry.Registry
	Timeline *timeline.Log
	Roots    Roots
	Server   Server
	Log      *slog.Logger
	Packets  *boardlog.Packets // of boots; nil: none are kept

	// Hosts returns the Ethernet addresses that are known to have an address,
	// by a lease or by ARP, whatever is registered; nil: none are known.
	// It may wait a moment for the network.
	Hosts func(ctx context.Context, addr netip.Addr) []pi.MAC

	// OnOffer is called when a registered board was offered its address, if not nil. It must not
	// block.
	OnOffer func(registry.Pi)

	elsewhere elsewhere
	relays    relays
}

// Roots finds boards' root file systems.
type Roots interface {
	Path(pi.Serial) string
}

// A Server describes this machine to boards.
type Server struct {
	Addr        netip.Addr
	NFSPort     int      // 0: the portmapper on port 111 names it
	PortmapPort int      // 0: there is no portmapper
	GPUMem      int      // MB, for boards that have no setting of their own
	Args        []string // kernel arguments of every board

	// Static are the networks in which the kernel arguments of boards have their
	// address; boards elsewhere ask by DHCP.
	Static []Network

	// Netconsole is where kernels send their log; nil: nowhere.
	Netconsole *Netconsole
	// SyslogPort is where boards send syslog; 0: nowhere.
	SyslogPort int

	// RootPath returns the path under which a board mounts its root; nil means
	// RootExport.
	RootPath func(pi.Serial) string
}

// A Netconsole is where the kernels of boards send their log.
type Netconsole struct {
	Device  string        // of the board
	Port    int           // of this machine
	Network netip.Prefix  // has the boards that reach this machine without a router
	MAC     func() pi.MAC // this machine's; zero: unknown
}

// A Network is one that boards are in.
type Network struct {
	Prefix netip.Prefix
	Router netip.Addr   // zero: none
	DNS    []netip.Addr // name servers
}

// Standard ports: a client that is given no port asks the portmapper on 111,
// which names the port of the server.
const (
	portmapPort = 111
	nfsPort     = 2049
)

// Reserve implements dhcp.Policy: registered boards have a fixed address.
func (p *Policy) Reserve(_ context.Context, c dhcp.Client) (dhcp.Reservation, bool) {
	board, ok := p.Registry.ByMAC(c.MAC)
	if !ok {
		return dhcp.Reservation{}, false
	}
	return dhcp.Reservation{Addr: board.IP, Hostname: board.Name, BootMenu: dhcp.BootMenu(board.Settings.BootMenu)}, true
}

// RootExport returns the path under which a board mounts its root where the NFS
// server can export a directory under any path.
func RootExport(serial pi.Serial) string { return "/roots/" + serial.String() }

// MediaExport is the path of the media share, which every board mounts.
const MediaExport = "/media"

// ScratchExport is the export that only this board's worker writes to.
func ScratchExport(serial pi.Serial) string { return "/scratch/" + serial.String() }
