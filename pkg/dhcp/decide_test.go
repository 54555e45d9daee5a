package dhcp

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"pibootd/pkg/pi"
)

// boards is a Policy of what the map holds.
type boards map[pi.MAC]Reservation

func (b boards) Reserve(_ context.Context, c Client) (Reservation, bool) {
	r, ok := b[c.MAC]
	return r, ok
}

var (
	known   = pi.MAC{0xb8, 0x27, 0xeb, 0xef, 0x56, 0x44}
	strange = pi.MAC{0xdc, 0xa6, 0x32, 1, 2, 3}
	guid    = pi.EncodeGUID(pi.Pi3, 0xc03111, known, 0xa2ef5644)
)

func testServer() *Server {
	return &Server{
		Policy: boards{
			known:                 {Addr: netip.MustParseAddr("10.0.0.21"), Hostname: "pi-a2ef5644"},
			{0xb8, 0x27, 0xeb, 1}: {Addr: netip.MustParseAddr("10.0.0.1")},
			{0xb8, 0x27, 0xeb, 2}: {Addr: netip.MustParseAddr("10.0.1.2")},
			{0xb8, 0x27, 0xeb, 3}: {Addr: netip.MustParseAddr("10.0.0.255")},
			{0xb8, 0x27, 0xeb, 4}: {},
		},
		Addr:   netip.MustParsePrefix("10.0.0.1/24"),
		Router: netip.MustParseAddr("10.0.0.254"),
		DNS:    []netip.Addr{netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")},
		Domain: "example.org",
	}
}

// message returns a client's message with the given parts.
func message(mac pi.MAC, kind dhcpv4.MessageType, parts ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(mac[:]),
		dhcpv4.WithMessageType(kind),
		dhcpv4.WithTransactionID(dhcpv4.TransactionID{0x26, 0xf3, 0x03, 0x39}),
	}, parts...)...)
	if err != nil {
		panic(err)
	}
	return m
}

// bootCode adds what the DISCOVER of a Pi's mask ROM has.
func bootCode(m *dhcpv4.DHCPv4) {
	var list dhcpv4.OptionCodeList
	for _, code := range []uint8{43, 60, 67, 128, 129, 130, 131, 132, 133, 134, 135, 66} {
		list.Add(dhcpv4.GenericOptionCode(code))
	}
	m.UpdateOption(dhcpv4.OptParameterRequestList(list...))
	m.UpdateOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"))
	m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 0}))
	m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 2, 1}))
	m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, guid))
}

func serverID(addr string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(addr)))
}

func wants(addr string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(addr)))
}

func has(addr string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(addr)) }

func via(addr string) dhcpv4.Modifier { return dhcpv4.WithGatewayIP(net.ParseIP(addr)) }

// A said is what one packet leads to, in words.
type said struct {
	answer string // "": no reply
	events []string
	reply  *dhcpv4.DHCPv4
}

// exchangeOf has s handle the packet as Serve does, without the socket.
func exchangeOf(t *testing.T, s *Server, packet []byte) (said, error) {
	t.Helper()
	return exchangeOn(t, s, serverPort, packet)
}

func exchangeOn(t *testing.T, s *Server, port uint16, packet []byte) (e said, err error) {
	t.Helper()
	var mu sync.Mutex
	s.OnMessage = func(m Message) {
		mu.Lock()
		defer mu.Unlock()
		e.events = append(e.events, strings.TrimSpace(fmt.Sprintf("%s %v %s", m.Kind, m.Addr, m.Reason)))
	}
	x := newExchange(s, nil)
	x.out.source = netip.AddrPortFrom(s.Addr.Addr(), port)
	x.send = func(reply *dhcpv4.DHCPv4, r route) error {
		var err error
		if e.reply, err = dhcpv4.FromBytes(reply.ToBytes()); err != nil {
			t.Errorf("the answer does not parse: %v", err)
			return err
		}
		e.answer = fmt.Sprintf("%v %v to %v", e.reply.MessageType(), e.reply.YourIPAddr, r)
		return nil
	}
	if s.Pool != nil {
		ctx, cancel := context.WithCancel(t.Context())
		var writing sync.WaitGroup
		writing.Go(func() { s.Pool.write(ctx) })
		defer writing.Wait()
		defer cancel()
	}
	err = x.handle(t.Context(), packet, netip.MustParseAddrPort("10.0.0.50:68"))
	x.waiting.Wait()
	return e, err
}

func TestAnswers(t *testing.T) {
	const (
		offer = "OFFER 10.0.0.21 to 10.0.0.21:68 at b8:27:eb:ef:56:44"
		ack   = "ACK 10.0.0.21 to 10.0.0.21:68 at b8:27:eb:ef:56:44"
		nak   = "NAK 0.0.0.0 to 255.255.255.255:68"
		other = "10.0.0.99"
		notIt = "nak 10.0.0.99 asked for 10.0.0.99, which is not the reserved address"
	)
	for _, test := range []struct {
		name   string
		in     *dhcpv4.DHCPv4
		answer string
		events []string
	}{
		{"boot code", message(known, dhcpv4.MessageTypeDiscover, bootCode), offer, []string{"discover invalid IP", "offer 10.0.0.21"}},
		{"operating system", message(known, dhcpv4.MessageTypeDiscover, wants(other)), offer, []string{"discover 10.0.0.99", "offer 10.0.0.21"}},
		{"relayed discover", message(known, dhcpv4.MessageTypeDiscover, via("10.0.0.7")), "OFFER 10.0.0.21 to 10.0.0.7:67", []string{"discover invalid IP", "offer 10.0.0.21"}},
		{"relayed from another network", message(known, dhcpv4.MessageTypeDiscover, via("10.0.7.1")), "", []string{"discover invalid IP its relay 10.0.7.1 is not in 10.0.0.0/24"}},
		{"asks for a broadcast", message(known, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), "OFFER 10.0.0.21 to 255.255.255.255:68", []string{"discover invalid IP", "offer 10.0.0.21"}},
		{"discover with ciaddr", message(known, dhcpv4.MessageTypeDiscover, has("192.0.2.1")), offer, []string{"discover 192.0.2.1", "offer 10.0.0.21"}},
		{"strange board", message(strange, dhcpv4.MessageTypeDiscover, bootCode), "", []string{"discover invalid IP not registered"}},
		{"strange request", message(strange, dhcpv4.MessageTypeRequest, wants(other)), "", []string{"request 10.0.0.99 not registered"}},

		{"selecting", message(known, dhcpv4.MessageTypeRequest, serverID("10.0.0.1"), wants("10.0.0.21")), ack, []string{"request 10.0.0.21", "ack 10.0.0.21"}},
		{"selecting another", message(known, dhcpv4.MessageTypeRequest, serverID("10.0.0.1"), wants(other)), nak, []string{"request 10.0.0.99", notIt}},
		{"another server's", message(known, dhcpv4.MessageTypeRequest, serverID("10.0.0.254"), wants(other)), "", []string{"request 10.0.0.99 meant for another server, 10.0.0.254"}},
		{"init-reboot", message(known, dhcpv4.MessageTypeRequest, wants("10.0.0.21")), ack, []string{"request 10.0.0.21", "ack 10.0.0.21"}},
		{"init-reboot elsewhere", message(known, dhcpv4.MessageTypeRequest, wants("192.168.1.5")), nak, []string{"request 192.168.1.5", "nak 192.168.1.5 asked for 192.168.1.5, which is not the reserved address"}},
		{"renewing", message(known, dhcpv4.MessageTypeRequest, has("10.0.0.21")), "ACK 10.0.0.21 to 10.0.0.21:68", []string{"request 10.0.0.21", "ack 10.0.0.21"}},
		{"renewing another", message(known, dhcpv4.MessageTypeRequest, has(other)), nak, []string{"request 10.0.0.99", notIt}},
		{"two addresses", message(known, dhcpv4.MessageTypeRequest, wants("10.0.0.21"), has("192.0.2.1")), ack, []string{"request 10.0.0.21", "ack 10.0.0.21"}},
		{"no address", message(known, dhcpv4.MessageTypeRequest), "", []string{"request invalid IP asks for no address"}},
		{"relayed refusal", message(known, dhcpv4.MessageTypeRequest, wants(other), via("10.0.0.7")), "NAK 0.0.0.0 to 10.0.0.7:67", []string{"request 10.0.0.99", notIt}},

		{"inform", message(known, dhcpv4.MessageTypeInform, has("10.0.0.50")), "ACK 0.0.0.0 to 10.0.0.50:68", []string{"inform 10.0.0.50", "ack 10.0.0.50"}},
		{"inform from elsewhere", message(known, dhcpv4.MessageTypeInform, has("192.0.2.1")), "", []string{"inform 192.0.2.1 its address 192.0.2.1 is not one of 10.0.0.1/24"}},
		{"release", message(known, dhcpv4.MessageTypeRelease, serverID("10.0.0.1"), has("10.0.0.21")), "", []string{"release 10.0.0.21"}},
		{"decline", message(known, dhcpv4.MessageTypeDecline, serverID("10.0.0.1"), wants("10.0.0.21")), "", []string{"decline 10.0.0.21"}},
		{"another's decline", message(known, dhcpv4.MessageTypeDecline, serverID("10.0.0.9"), wants(other)), "", []string{"decline 10.0.0.99 meant for another server, 10.0.0.9"}},

		{"server's own address reserved", message(pi.MAC{0xb8, 0x27, 0xeb, 1}, dhcpv4.MessageTypeDiscover), "", []string{"discover invalid IP reserved address 10.0.0.1 is not one of 10.0.0.1/24"}},
		{"foreign address reserved", message(pi.MAC{0xb8, 0x27, 0xeb, 2}, dhcpv4.MessageTypeDiscover), "", []string{"discover invalid IP reserved address 10.0.1.2 is not one of 10.0.0.1/24"}},
		{"broadcast address reserved", message(pi.MAC{0xb8, 0x27, 0xeb, 3}, dhcpv4.MessageTypeDiscover), "", []string{"discover invalid IP reserved address 10.0.0.255 is not one of 10.0.0.1/24"}},
		{"no address reserved", message(pi.MAC{0xb8, 0x27, 0xeb, 4}, dhcpv4.MessageTypeDiscover), "", []string{"discover invalid IP reserved address invalid IP is not one of 10.0.0.1/24"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			e, err := exchangeOf(t, testServer(), test.in.ToBytes())
			if err != nil || e.answer != test.answer || !slices.Equal(e.events, test.events) {
				t.Errorf("answer = %q, events %q, error %v; want %q, %q", e.answer, e.events, err, test.answer, test.events)
			}
			if e.reply != nil && (e.reply.TransactionID != test.in.TransactionID || !bytes.Equal(e.reply.ClientHWAddr, test.in.ClientHWAddr)) {
				t.Errorf("answer is of %v for %v; want the client's own", e.reply.TransactionID, e.reply.ClientHWAddr)
			}
		})
	}
}

// TestOfferBytes pins what the boot code of every generation reads, as the
// bytes that it reads: the options from the first to the last, in order.
func TestOfferBytes(t *testing.T) {
	e, err := exchangeOf(t, testServer(), message(known, dhcpv4.MessageTypeDiscover, bootCode).ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	sent := e.reply.ToBytes()
	const cookieEnd = 240
	if siaddr := netip.AddrFrom4([4]byte(sent[20:24])); siaddr != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("siaddr = %v; want the server", siaddr)
	}
	want := strings.Join([]string{
		"0104 ffffff00",
		"0304 0a0000fe",
		"0608 0a0000020a000003",
		"0c0b " + hex.EncodeToString([]byte("pi-a2ef5644")),
		"0f0b " + hex.EncodeToString([]byte("example.org")),
		"2b23 060103 0a0400505845 0917000014 52617370626572727920506920426f6f74 202020 ff",
		"3304 0000a8c0", // 12 h
		"3501 02",
		"3604 0a000001",
		"3a04 00005460", // 6 h
		"3b04 000093a8", // 10.5 h
		"3c09 " + hex.EncodeToString([]byte("PXEClient")),
		"4208 " + hex.EncodeToString([]byte("10.0.0.1")),
		"6111 00" + strings.Repeat("4456efa2", 4),
		"ff",
	}, "")
	want = strings.ReplaceAll(want, " ", "")
	got := hex.EncodeToString(bytes.TrimRight(sent[cookieEnd:], "\x00"))
	if got != want {
		t.Errorf("options =\n%s; want\n%s", got, want)
	}
}

func TestBootOptionsAreForBootCode(t *testing.T) {
	class := func(name string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptClassIdentifier(name)) }
	machine := dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, guid)
	for _, test := range []struct {
		name string
		in   *dhcpv4.DHCPv4
		boot bool
	}{
		{"discover", message(known, dhcpv4.MessageTypeDiscover, bootCode), true},
		{"request of a Pi 4", message(known, dhcpv4.MessageTypeRequest, wants("10.0.0.21"), machine), true},
		{"class alone", message(known, dhcpv4.MessageTypeDiscover, class("PXEClient")), true},
		{"kernel", message(known, dhcpv4.MessageTypeDiscover), false},
		{"udhcpc", message(known, dhcpv4.MessageTypeDiscover, class("udhcp 1.35.0")), false},
		{"a system with a GUID", message(known, dhcpv4.MessageTypeDiscover, class("systemd"), machine), false},
		{"a GUID of no length", message(known, dhcpv4.MessageTypeDiscover, dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, guid[:16])), false},
	} {
		e, err := exchangeOf(t, testServer(), test.in.ToBytes())
		if err != nil || e.reply == nil {
			t.Errorf("%s: answer = %q, %v", test.name, e.answer, err)
			continue
		}
		for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionClassIdentifier, dhcpv4.OptionVendorSpecificInformation, dhcpv4.OptionTFTPServerName} {
			if got := e.reply.Options.Has(code); got != test.boot {
				t.Errorf("%s: has %v = %v; want %v", test.name, code, got, test.boot)
			}
		}
		if got, want := e.reply.Options.Has(dhcpv4.OptionClientMachineIdentifier), test.boot && test.in.Options.Has(dhcpv4.OptionClientMachineIdentifier); got != want {
			t.Errorf("%s: echoes the GUID = %v; want %v", test.name, got, want)
		}
	}
}

func TestInformGetsNoLease(t *testing.T) {
	e, err := exchangeOf(t, testServer(), message(known, dhcpv4.MessageTypeInform, has("10.0.0.50")).ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue} {
		if e.reply.Options.Has(code) {
			t.Errorf("ACK of an INFORM has %v; RFC 2131 §4.3.5 forbids it", code)
		}
	}
	if got := e.reply.Router(); len(got) != 1 || !got[0].Equal(net.IPv4(10, 0, 0, 254)) {
		t.Errorf("Router = %v; want 10.0.0.254", got)
	}
}

// TestRelayBroadcastsRefusals: the flag makes a relay broadcast (RFC 2131 §4.3.2).
func TestRelayBroadcastsRefusals(t *testing.T) {
	e, err := exchangeOf(t, testServer(), message(known, dhcpv4.MessageTypeRequest, has("10.0.0.99"), via("10.0.0.7")).ToBytes())
	if err != nil || e.reply.MessageType() != dhcpv4.MessageTypeNak || !e.reply.IsBroadcast() {
		t.Errorf("answer = %v, %v; want a NAK with the broadcast flag", e.reply, err)
	}
}

func TestLeaseTime(t *testing.T) {
	s := testServer()
	s.LeaseTime = time.Hour
	e, err := exchangeOf(t, s, message(known, dhcpv4.MessageTypeRequest, wants("10.0.0.21")).ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	got := []time.Duration{e.reply.IPAddressLeaseTime(0), e.reply.IPAddressRenewalTime(0), e.reply.IPAddressRebindingTime(0)}
	if want := []time.Duration{time.Hour, 30 * time.Minute, 52*time.Minute + 30*time.Second}; !slices.Equal(got, want) {
		t.Errorf("lease, T1, T2 = %v; want %v", got, want)
	}
}

func TestRelayOptionsComeBack(t *testing.T) {
	circuit, id := []byte{1, 2, 'e', '0'}, []byte{1, 2, 3, 4, 5, 6, 7}
	in := message(known, dhcpv4.MessageTypeDiscover, via("10.0.0.7"),
		dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, circuit),
		dhcpv4.WithGeneric(dhcpv4.OptionClientIdentifier, id))
	e, err := exchangeOf(t, testServer(), in.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := e.reply.Options.Get(dhcpv4.OptionRelayAgentInformation); !bytes.Equal(got, circuit) {
		t.Errorf("option 82 = %x; want %x (RFC 3046)", got, circuit)
	}
	if got := e.reply.Options.Get(dhcpv4.OptionClientIdentifier); !bytes.Equal(got, id) {
		t.Errorf("option 61 = %x; want %x (RFC 6842)", got, id)
	}
}

func TestHostilePackets(t *testing.T) {
	with := func(change func(*dhcpv4.DHCPv4)) []byte {
		m := message(known, dhcpv4.MessageTypeDiscover)
		change(m)
		return m.ToBytes()
	}
	good := with(func(*dhcpv4.DHCPv4) {})
	longAddress := slices.Clone(good)
	longAddress[2] = 16 // hlen
	for name, packet := range map[string][]byte{
		"empty":              {},
		"one byte":           {1},
		"header cut":         good[:200],
		"no cookie":          append(slices.Clone(good[:236]), 1, 2, 3, 4, 255),
		"option cut":         append(slices.Clone(good[:240]), 53, 200, 1),
		"no end option":      append(slices.Clone(good[:240]), 53, 1, 1),
		"too long":           append(slices.Clone(good), make([]byte, maxPacket)...),
		"16-byte address":    longAddress,
		"no Ethernet":        with(func(m *dhcpv4.DHCPv4) { m.HWType = iana.HWTypeInfiniband }),
		"zero address":       with(func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = make([]byte, 6) }),
		"group address":      with(func(m *dhcpv4.DHCPv4) { m.ClientHWAddr = []byte{1, 0, 0x5e, 0, 0, 1} }),
		"no option ends":     append(slices.Clone(good[:240]), slices.Repeat([]byte{43}, 900)...),
		"a reply":            with(func(m *dhcpv4.DHCPv4) { m.OpCode = dhcpv4.OpcodeBootReply }),
		"no type, as BOOTP":  with(func(m *dhcpv4.DHCPv4) { m.DeleteOption(dhcpv4.OptionDHCPMessageType) }),
		"type of two bytes":  with(func(m *dhcpv4.DHCPv4) { m.Options[53] = []byte{1, 1} }),
		"a server's message": with(func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeOffer)) }),
		"unknown type":       with(func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptMessageType(99)) }),
	} {
		s := testServer()
		if e, err := exchangeOf(t, s, packet); err == nil || e.answer != "" || e.events != nil || s.Stats().Malformed != 1 {
			t.Errorf("%s: answer %q, events %q, error %v; want an error alone", name, e.answer, e.events, err)
		}
	}
}

type panicky struct{}

func (panicky) Reserve(context.Context, Client) (Reservation, bool) { panic("policy") }

func TestPanicCostsOnePacket(t *testing.T) {
	s := testServer()
	s.Policy = panicky{}
	packet := message(known, dhcpv4.MessageTypeDiscover).ToBytes()
	if e, err := exchangeOf(t, s, packet); err == nil || e.answer != "" {
		t.Errorf("answer = %q, error %v; want an error", e.answer, err)
	}
}

// FuzzHandle has every mode decide on the same packet.
func FuzzHandle(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease} {
		f.Add(message(known, kind, bootCode, has("10.0.0.21"), via("10.0.0.7")).ToBytes())
		f.Add(message(strange, kind, wants("10.0.0.100")).ToBytes())
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		req, err := parse(packet)
		if err != nil {
			return
		}
		pool, err := newPool(ip(100), ip(103), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(*Server){
			func(*Server) {},
			func(s *Server) { s.Policy = everyone{} },
			func(s *Server) { s.Pool = pool },
			func(s *Server) { s.Proxy = true },
			func(s *Server) { s.Proxy, s.BootStrangers = true, true },
		} {
			s := testServer()
			change(s)
			checkDecision(t, s, req)
		}
	})
}

// checkDecision checks what must hold of every answer.
func checkDecision(t *testing.T, s *Server, req *request) {
	t.Helper()
	x := newExchange(s, nil)
	reply := x.decide(t.Context(), req).reply
	if reply == nil {
		return
	}
	sent, err := dhcpv4.FromBytes(reply.ToBytes())
	if err != nil {
		t.Fatalf("the answer does not parse: %v", err)
	}
	if sent.OpCode != dhcpv4.OpcodeBootReply || len(sent.ClientHWAddr) != 6 {
		t.Errorf("answer %v is not one to a client on Ethernet", sent)
	}
	if to := x.out.route(req, reply).to.Addr(); to != broadcast && !s.isHost(to) {
		t.Errorf("answer goes to %v, which is not in %v", to, s.Addr)
	}
}

type everyone struct{}

func (everyone) Reserve(context.Context, Client) (Reservation, bool) {
	return Reservation{Addr: netip.MustParseAddr("10.0.0.21"), Hostname: "pi"}, true
}

// A request outlives the buffer that it was read into.
func TestRequestHasItsOwnMemory(t *testing.T) {
	packet := message(known, dhcpv4.MessageTypeDiscover, bootCode, wants("10.0.0.21"), via("10.0.0.7")).ToBytes()
	req, err := parse(packet)
	if err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprintf("%+v %x", req.client, req.packet.ToBytes())
	clear(packet)
	if after := fmt.Sprintf("%+v %x", req.client, req.packet.ToBytes()); after != before {
		t.Errorf("after the buffer was used again the request is\n%s; want\n%s", after, before)
	}
}
