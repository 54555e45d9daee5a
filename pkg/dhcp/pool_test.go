package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

var (
	start = time.Unix(1_700_000_000, 0)
	none  netip.Addr
)

// host returns the Ethernet address of a client that is not registered.
func host(n byte) pi.MAC { return pi.MAC{2, 0, 0, 0, 0, n} }

func ip(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, last}) }

// smallPool has 10.0.0.100 to .103, of which .101 is a board's.
func smallPool(t *testing.T) *Pool {
	t.Helper()
	p, err := newPool(ip(100), ip(103), func(a netip.Addr) bool { return a == ip(101) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantOffer(t *testing.T, p *Pool, mac pi.MAC, wish netip.Addr, now time.Time, want netip.Addr) {
	t.Helper()
	if got, _, err := p.offer(mac, wish, now); got != want || (err == nil) != want.IsValid() {
		t.Errorf("offer to %v that wishes %v = %v, %v; want %v", mac, wish, got, err, want)
	}
}

func TestPoolOffers(t *testing.T) {
	p := smallPool(t)
	wantOffer(t, p, host(1), none, start, ip(100))
	wantOffer(t, p, host(2), ip(101), start, ip(102)) // what it wishes is a board's
	wantOffer(t, p, host(3), ip(9), start, ip(103))   // and here no address of the pool
	wantOffer(t, p, host(1), ip(102), start, ip(100)) // it keeps what it was offered
	wantOffer(t, p, host(4), none, start, none)
	if _, _, err := p.offer(host(4), none, start); !errors.Is(err, errExhausted) {
		t.Errorf("offer of a full pool = %v; want errExhausted", err)
	}
	// An offer that was not taken is over.
	wantOffer(t, p, host(4), ip(102), start.Add(offerTime), ip(102))
}

func TestPoolLeases(t *testing.T) {
	p := smallPool(t)
	lease := func(mac pi.MAC, addr netip.Addr, c claim, now time.Time, want error) {
		t.Helper()
		if _, err := p.lease(mac, addr, c, now, time.Hour); !errors.Is(err, want) {
			t.Errorf("lease of %v to %v, claim %d = %v; want %v", addr, mac, c, err, want)
		}
	}
	wantOffer(t, p, host(1), none, start, ip(100))
	lease(host(2), ip(100), selecting, start, errTaken)
	lease(host(1), ip(100), selecting, start, nil)
	lease(host(2), ip(100), holding, start, errTaken)
	lease(host(2), ip(101), holding, start, errTaken) // a board's
	lease(host(2), ip(99), holding, start, errNoRecord)
	lease(host(2), ip(102), selecting, start, errNoRecord)
	lease(host(2), ip(102), rebooting, start, errNoRecord)
	lease(host(2), ip(102), holding, start, nil) // it has it, and nobody else
	lease(host(1), ip(100), rebooting, start.Add(30*time.Minute), nil)

	later := start.Add(3 * time.Hour)
	if mac, ok := p.holder(ip(100), later); ok {
		t.Errorf("%v holds 10.0.0.100 after its lease is over", mac)
	}
	// What is over is its former client's as long as there are others.
	wantOffer(t, p, host(3), none, later, ip(103))
	lease(host(1), ip(100), rebooting, later, nil)
	// Then the one that was left for longest goes.
	wantOffer(t, p, host(4), none, later, ip(102))
	lease(host(2), ip(102), rebooting, later, errTaken)
	lease(host(2), ip(102), rebooting, later.Add(2*time.Hour), errNoRecord)
}

func TestPoolReleases(t *testing.T) {
	p := smallPool(t)
	wantOffer(t, p, host(1), none, start, ip(100))
	if _, err := p.lease(host(1), ip(100), selecting, start, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.end(host(2), ip(100), start); ok {
		t.Error("a client ended the lease of another")
	}
	if l, ok := p.end(host(1), ip(100), start); !ok || l.expires != start {
		t.Errorf("end = %+v, %v; want a lease that is over", l, ok)
	}
	wantOffer(t, p, host(1), none, start, ip(100)) // it still has the first claim to it
	p.withdraw(host(1))
	wantOffer(t, p, host(2), ip(100), start, ip(100))
}

func TestPoolPutsAside(t *testing.T) {
	p := smallPool(t)
	wantOffer(t, p, host(1), none, start, ip(100))
	p.found(ip(100), start)
	wantOffer(t, p, host(1), ip(100), start, ip(102))
	if _, err := p.lease(host(2), ip(100), holding, start, time.Hour); !errors.Is(err, errTaken) {
		t.Errorf("lease of an address that is in use = %v; want errTaken", err)
	}
	p.withdraw(host(1))
	wantOffer(t, p, host(2), ip(100), start.Add(asideTime), ip(100))
}

func TestPoolRemembersProbes(t *testing.T) {
	p := smallPool(t)
	for _, addr := range p.reserve(start) {
		p.freed(addr, start)
	}
	if left := p.reserve(start); len(left) > 0 {
		t.Errorf("reserve = %v after all were probed; want none", left)
	}
	for at, want := range map[time.Duration]bool{0: true, probedTime: false} {
		if _, probed, _ := p.offer(host(1), none, start.Add(at)); probed != want {
			t.Errorf("offer %v after the probe says probed = %v; want %v", at, probed, want)
		}
	}
}

func TestPoolsThatCannotBe(t *testing.T) {
	for _, r := range [][2]string{{"10.0.0.2", "10.0.0.1"}, {"10.0.0.0", "10.1.0.0"}, {"fd00::1", "fd00::2"}} {
		if _, err := newPool(netip.MustParseAddr(r[0]), netip.MustParseAddr(r[1]), nil); err == nil {
			t.Errorf("newPool(%v) = nil; want an error", r)
		}
	}
}

// poolServer is testServer with the pool of file, from .100 to .199.
func poolServer(t *testing.T, file string) *Server {
	t.Helper()
	st, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s := testServer()
	if s.Pool, err = OpenPool(t.Context(), st, ip(100), ip(199), nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// An act is a message, and the answer that is due.
type act struct {
	name   string
	in     *dhcpv4.DHCPv4
	answer string
}

func play(t *testing.T, s *Server, acts []act) {
	t.Helper()
	for _, a := range acts {
		if e, err := exchangeOf(t, s, a.in.ToBytes()); err != nil || e.answer != a.answer {
			t.Errorf("%s: answer = %q, events %q, error %v; want %q", a.name, e.answer, e.events, err, a.answer)
		}
	}
}

func TestDynamicAnswers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	const (
		own   = "10.0.0.1"
		first = " 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:01"
		nak   = "NAK 0.0.0.0 to 255.255.255.255:68"
	)
	discover, request, release, decline := dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeRelease, dhcpv4.MessageTypeDecline
	play(t, poolServer(t, file), []act{
		{"a registered board", message(known, discover, bootCode), "OFFER 10.0.0.21 to 10.0.0.21:68 at " + known.String()},
		{"a stranger", message(host(1), discover), "OFFER" + first},
		{"another", message(host(2), discover, wants("10.0.0.100")), "OFFER 10.0.0.101 to 10.0.0.101:68 at 02:00:00:00:00:02"},
		{"selecting", message(host(1), request, serverID(own), wants("10.0.0.100")), "ACK" + first},
		{"selecting what is not its own", message(host(2), request, serverID(own), wants("10.0.0.100")), nak},
		{"selecting another server", message(host(2), request, serverID("10.0.0.9"), wants("10.0.0.8")), ""},
		{"renewing", message(host(1), request, has("10.0.0.100")), "ACK 10.0.0.100 to 10.0.0.100:68"},
		{"rebooting", message(host(1), request, wants("10.0.0.100")), "ACK" + first},
		{"rebooting, a relay", message(host(1), request, wants("10.0.0.100"), via("10.0.0.7")), "ACK 10.0.0.100 to 10.0.0.7:67"},
		{"rebooting, not known", message(host(9), request, wants("10.0.0.150")), ""},
		{"rebooting, another network", message(host(9), request, wants("192.168.1.5")), nak},
		{"rebooting, outside the pool", message(host(9), request, wants("10.0.0.50")), ""},
		{"of another", message(host(9), request, has("10.0.0.100")), nak},
		{"no address", message(host(9), request), ""},
		{"inform", message(host(9), dhcpv4.MessageTypeInform, has("10.0.0.50")), "ACK 0.0.0.0 to 10.0.0.50:68"},
		{"release by another", message(host(2), release, serverID(own), has("10.0.0.100")), ""},
		{"decline", message(host(1), decline, serverID(own), wants("10.0.0.100")), ""},
		{"after decline", message(host(1), discover, wants("10.0.0.100")), "OFFER 10.0.0.102 to 10.0.0.102:68 at 02:00:00:00:00:01"},
		{"selecting the new one", message(host(1), request, serverID(own), wants("10.0.0.102")), "ACK 10.0.0.102 to 10.0.0.102:68 at 02:00:00:00:00:01"},
	})
	play(t, poolServer(t, file), []act{
		{"after a restart", message(host(1), request, wants("10.0.0.102")), "ACK 10.0.0.102 to 10.0.0.102:68 at 02:00:00:00:00:01"},
		{"another's after a restart", message(host(2), discover, wants("10.0.0.102")), "OFFER 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:02"},
		{"release", message(host(1), release, serverID(own), has("10.0.0.102")), ""},
	})
	play(t, poolServer(t, file), []act{
		{"released before a restart", message(host(2), discover, wants("10.0.0.102")), "OFFER 10.0.0.102 to 10.0.0.102:68 at 02:00:00:00:00:02"},
	})
}

// A board whose reserved address somebody leases must not get it too.
func TestReservedAddressThatIsLeased(t *testing.T) {
	s := poolServer(t, filepath.Join(t.TempDir(), "db"))
	s.Policy = boards{known: {Addr: ip(100)}}
	play(t, s, []act{
		{"stranger", message(host(1), dhcpv4.MessageTypeDiscover), "OFFER 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:01"},
		{"stranger's", message(host(1), dhcpv4.MessageTypeRequest, serverID("10.0.0.1"), wants("10.0.0.100")), "ACK 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:01"},
		{"board", message(known, dhcpv4.MessageTypeDiscover), ""},
		{"given back", message(host(1), dhcpv4.MessageTypeRelease, serverID("10.0.0.1"), has("10.0.0.100")), ""},
		{"board", message(known, dhcpv4.MessageTypeDiscover), "OFFER 10.0.0.100 to 10.0.0.100:68 at " + known.String()},
	})
}

// What is not on disk is not acknowledged.
func TestNoLeaseWithoutDisk(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	s := testServer()
	if s.Pool, err = OpenPool(t.Context(), st, ip(100), ip(199), nil); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	play(t, s, []act{
		{"discover", message(host(1), dhcpv4.MessageTypeDiscover), "OFFER 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:01"},
		{"request", message(host(1), dhcpv4.MessageTypeRequest, serverID("10.0.0.1"), wants("10.0.0.100")), ""},
	})
}

// Many save at once: each gets its own result, in few commits.
func TestSavesAreBatched(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	p := poolServer(t, file).Pool
	errs := make(chan error)
	for i := range 100 {
		l := lease{mac: host(byte(i)), addr: ip(byte(100 + i)), expires: start}
		go func() { errs <- p.save(t.Context(), l) }()
	}
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan struct{})
	go func() { p.write(ctx); close(written) }()
	for range 100 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	cancel()
	<-written
	again := poolServer(t, file).Pool
	for i := range 100 {
		if got := again.slots[i]; got.mac != host(byte(i)) || !got.until.Equal(start) {
			t.Errorf("slot %d = %+v; want it to be %v's until %v", i, got, host(byte(i)), start)
		}
	}
}

func TestStats(t *testing.T) {
	s := testServer()
	for _, packet := range [][]byte{{}, message(strange, dhcpv4.MessageTypeDiscover).ToBytes(), message(known, dhcpv4.MessageTypeDiscover).ToBytes()} {
		_, _ = exchangeOf(t, s, packet)
	}
	got := s.Stats()
	if got.Received[Discover] != 2 || got.Sent[Offer] != 1 || got.Malformed != 1 || got.Unanswered != 1 {
		t.Errorf("Stats = %s; want 2 DISCOVERs, 1 OFFER, 1 malformed, 1 unanswered", fmt.Sprint(got))
	}
}
