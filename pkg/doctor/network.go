package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// network examines the interface, and who else answers DHCP there.
func (d *Doctor) network(ctx context.Context) []Finding {
	found := []Finding{d.link()}
	if found[0].Level == Problem {
		return found
	}
	servers, err := d.OtherServers(ctx)
	if err != nil {
		return append(found, Finding{Subject: "dhcp", Level: Warning, Text: "cannot look for other DHCP servers: " + err.Error()})
	}
	return append(found, d.judge(servers)...)
}

// conflicts looks for other hosts that use the boards' addresses.
func (d *Doctor) conflicts(ctx context.Context, boards []registry.Pi) []Finding {
	conflicts, err := d.Fleet.Conflicts(ctx, boards)
	if err != nil {
		return []Finding{{Subject: "boards", Level: Warning, Text: "not known whether other hosts use their addresses: " + err.Error()}}
	}
	var found []Finding
	for _, c := range conflicts {
		found = append(found, Finding{
			Subject: c.Board.Name, Level: Problem, Text: c.String(),
			Todo: fmt.Sprintf("give that host another address, or pibootd edit-pi %s --ip ADDRESS; a Pi's own Wi-Fi in the same network answers so, too", c.Board.Name),
		})
	}
	return found
}

// link examines the boards' interface.
func (d *Doctor) link() Finding {
	f := Finding{Subject: "network", Level: Problem}
	dev, err := net.InterfaceByName(d.Interface)
	if err != nil {
		f.Text, f.Todo = fmt.Sprintf("interface %s: %v", d.Interface, err), "plug it in or name another: ip -br link"
		return f
	}
	addrs, err := dev.Addrs()
	has := slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == d.Network.Addr()
	})
	switch {
	case err != nil:
		f.Text = fmt.Sprintf("interface %s: %v", d.Interface, err)
	case dev.Flags&net.FlagUp == 0:
		f.Text, f.Todo = fmt.Sprintf("interface %s is down", d.Interface), "ip link set "+d.Interface+" up"
	case dev.Flags&net.FlagRunning == 0:
		f.Text, f.Todo = fmt.Sprintf("interface %s has no carrier", d.Interface), "look at the cable and at the switch's port"
	case !has:
		f.Text = fmt.Sprintf("interface %s no longer has the address %s, with which pibootd was started", d.Interface, d.Network.Addr())
		f.Todo = "give it back its address, or restart pibootd"
	default:
		f.Level, f.Text = OK, fmt.Sprintf("interface %s is up and has %s", d.Interface, d.Network)
	}
	return f
}

// OtherServers looks for other DHCP servers on the boards' network and records them on
// the timeline.
func (d *Doctor) OtherServers(ctx context.Context) ([]dhcp.OtherServer, error) {
	find := d.FindOtherServers
	if find == nil {
		find = dhcp.FindOtherServers
	}
	servers, err := find(ctx, d.Interface)
	for _, r := range servers {
		d.Timeline.Record(timeline.Event{At: time.Now(), Board: r.MAC.String(), Kind: timeline.OtherServer, MAC: r.MAC, Addr: r.Addr, Detail: d.Judge(r).Text})
	}
	return servers, err
}

// judge returns findings about the other DHCP servers, by whether each belongs
// there.
func (d *Doctor) judge(servers []dhcp.OtherServer) []Finding {
	var found []Finding
	addresses := 0
	for _, r := range servers {
		if r.Offered.IsValid() {
			addresses++
		}
		found = append(found, d.Judge(r))
	}
	switch {
	case d.DHCP == config.Proxy && addresses == 0:
		found = append(found, Finding{
			Subject: "dhcp", Level: Problem, Text: "no DHCP server gives addresses, and in proxy mode pibootd gives none either",
			Todo: "start the network's DHCP server, or set dhcp.mode to \"reservation\" or \"pool\"",
		})
	case len(servers) == 0:
		found = append(found, Finding{Subject: "dhcp", Level: OK, Text: "no other DHCP server answers"})
	}
	return found
}

// Judge reports whether another DHCP server belongs beside this one.
func (d *Doctor) Judge(r dhcp.OtherServer) Finding {
	f := Finding{Subject: "dhcp", Level: OK, Text: describe(r)}
	switch {
	case r.RaspberryPi:
		f.Level, f.Todo = Problem, "boards take the first answer: have that server say nothing of booting (option 43)"
	case d.DHCP == config.Pool && r.Offered.IsValid():
		f.Level, f.Todo = Problem, "two servers that lease addresses cannot know of each other's: stop one, or set dhcp.mode to \"reservation\""
	case d.DHCP == config.Reservation && d.isBoards(r.Offered):
		f.Text += fmt.Sprintf("; %s is a board's to have", r.Offered)
		f.Level, f.Todo = Problem, fmt.Sprintf("two machines would have one address: take %s out of that server's range, or set dhcp.addresses to another", d.Fleet.Addresses)
	case r.BootServer != "" || r.BootFile != "":
		f.Level, f.Todo = Warning, "a board that listens to it looks for its files there: take options 66 and 67 out of its configuration"
	case r.Offered.IsValid():
		f.Text += asItShould
	}
	return f
}

// isBoards reports whether an address belongs to a board, or is reserved for
// boards.
func (d *Doctor) isBoards(addr netip.Addr) bool {
	_, registered := d.Fleet.Registry.ByIP(addr)
	return registered || d.Fleet.Addresses.Contains(addr)
}

// describe describes the offer of a server. Its texts come from that server.
func describe(r dhcp.OtherServer) string {
	text := fmt.Sprintf("%s (%s) is another DHCP server; it offers", r.Addr, r.MAC)
	if r.Offered.IsValid() {
		text += " " + r.Offered.String()
	} else {
		text += " no address"
	}
	if r.Router.IsValid() {
		text += fmt.Sprintf(" with router %s", r.Router)
	}
	if r.BootServer != "" || r.BootFile != "" {
		text += fmt.Sprintf(" and booting of %.64q from %.64q", r.BootFile, r.BootServer)
	}
	if r.RaspberryPi {
		text += " and calls itself a boot server of Raspberry Pis"
	}
	return text
}
