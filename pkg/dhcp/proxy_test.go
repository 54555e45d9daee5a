package dhcp

import (
	"slices"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func TestProxyAnswers(t *testing.T) {
	const (
		offer = "OFFER 0.0.0.0 to 255.255.255.255:68"
		ack   = "ACK 0.0.0.0 to 10.0.0.50:68" // where exchangeOn says that it comes from
	)
	discover, request, inform := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform
	for _, test := range []struct {
		name   string
		port   uint16
		in     *dhcpv4.DHCPv4
		answer string
		event  string
	}{
		{"boot code", 67, message(known, discover, bootCode), offer, "discover invalid IP"},
		{"operating system", 67, message(known, discover), "", "discover invalid IP asks for an address, which another server gives"},
		{"strange boot code", 67, message(strange, discover, bootCode), "", "discover invalid IP not registered"},
		{"strange system", 67, message(strange, discover), "", "discover invalid IP not registered"},
		{"takes its address", 67, message(known, request, bootCode, serverID("10.0.0.254"), wants("10.0.0.21")), "", "request 10.0.0.21 its address is another server's"},
		{"takes another address", 67, message(known, request, serverID("10.0.0.254"), wants("10.0.0.77")), "",
			"request 10.0.0.77 takes 10.0.0.77 from another server; want that to give it 10.0.0.21, its registered address"},
		{"inform", 67, message(known, inform, bootCode, has("10.0.0.21")), "", "inform 10.0.0.21 its address is another server's"},
		{"relayed", 67, message(known, discover, bootCode, via("10.0.0.7")), "", "discover invalid IP asks through a relay"},
		{"request on PXE's port", 4011, message(known, request, bootCode, has("10.0.0.21")), ack, "request 10.0.0.21"},
		{"inform on PXE's port", 4011, message(known, inform, bootCode, has("10.0.0.21")), ack, "inform 10.0.0.21"},
		{"system on PXE's port", 4011, message(known, inform, has("10.0.0.21")), "", "inform 10.0.0.21 asks for an address, which another server gives"},
		{"stranger on PXE's port", 4011, message(strange, request, bootCode, has("10.0.0.77")), "", "request 10.0.0.77 not registered"},
	} {
		s := testServer()
		s.Proxy = true
		e, err := exchangeOn(t, s, test.port, test.in.ToBytes())
		if err != nil || e.answer != test.answer || e.events[0] != test.event {
			t.Errorf("%s: answer = %q, events %q, error %v; want %q, %q", test.name, e.answer, e.events, err, test.answer, test.event)
		}
		if e.reply != nil {
			checkProxyReply(t, test.name, e.reply)
		}
	}
}

// checkProxyReply wants boot information and nothing that is the business of
// the server that gives the address.
func checkProxyReply(t *testing.T, name string, reply *dhcpv4.DHCPv4) {
	t.Helper()
	var got []uint8
	for code := range reply.Options {
		got = append(got, code)
	}
	slices.Sort(got)
	if want := []uint8{43, 53, 54, 60, 66, 97}; !slices.Equal(got, want) {
		t.Errorf("%s: answered with options %d; want %d", name, got, want)
	}
	if reply.ServerIPAddr.String() != "10.0.0.1" {
		t.Errorf("%s: siaddr = %v; want the server", name, reply.ServerIPAddr)
	}
}

func TestProxyBootsStrangers(t *testing.T) {
	s := testServer()
	s.Proxy, s.BootStrangers = true, true
	if e, _ := exchangeOf(t, s, message(strange, dhcpv4.MessageTypeDiscover, bootCode).ToBytes()); e.answer == "" {
		t.Errorf("boot code of a stranger gets nothing, %q; want an OFFER", e.events)
	}
	if e, _ := exchangeOf(t, s, message(strange, dhcpv4.MessageTypeDiscover).ToBytes()); e.answer != "" {
		t.Errorf("a stranger's system gets %q; want silence", e.answer)
	}
}

func TestPXEPortIsTheProxysAlone(t *testing.T) {
	if e, _ := exchangeOn(t, testServer(), pxePort, message(known, dhcpv4.MessageTypeDiscover, bootCode).ToBytes()); e.answer != "" {
		t.Errorf("answer = %q; want silence", e.answer)
	}
}

func TestBootMenus(t *testing.T) {
	for menu, want := range map[BootMenu]int{Padded: 35, Dnsmasq: 32, Raw: 17} {
		s := testServer()
		s.Policy = boards{known: {Addr: ip(21), BootMenu: menu}}
		e, err := exchangeOf(t, s, message(known, dhcpv4.MessageTypeDiscover, bootCode).ToBytes())
		if err != nil {
			t.Fatal(err)
		}
		if got := e.reply.Options.Get(dhcpv4.OptionVendorSpecificInformation); len(got) != want {
			t.Errorf("option 43 of menu %q has %d bytes, %q; want %d", menu, len(got), got, want)
		}
	}
}
