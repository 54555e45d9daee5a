package dhcp

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/pi"
)

// maskROM makes a message that of a 3B's mask ROM.
func maskROM(m *dhcpv4.DHCPv4) {
	bootCode(m)
	m.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, append([]byte{0}, bytes.Repeat([]byte{0x44}, 16)...)))
}

// TestMaskROMsTakeTurns has seven 3Bs ask at the same instant.
func TestMaskROMsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testServer()
		policy := boards{}
		for n := range byte(10) {
			policy[host(n)] = Reservation{Addr: ip(30 + n)}
		}
		s.Policy = policy
		x := newExchange(s, nil)
		began := time.Now()
		var mu sync.Mutex
		var at []time.Duration
		var to []string
		x.send = func(_ *dhcpv4.DHCPv4, r route) error {
			mu.Lock()
			defer mu.Unlock()
			at, to = append(at, time.Since(began)), append(to, r.String())
			return nil
		}
		ask := func(mac pi.MAC) {
			if err := x.handle(t.Context(), message(mac, dhcpv4.MessageTypeDiscover, maskROM).ToBytes(), netip.AddrPort{}); err != nil {
				t.Error(err)
			}
		}
		for n := range byte(10) {
			ask(host(n))
		}
		// A board that needs no help does not wait behind them.
		x.Policy = boards{known: {Addr: ip(21)}}
		if err := x.handle(t.Context(), message(known, dhcpv4.MessageTypeDiscover, bootCode).ToBytes(), netip.AddrPort{}); err != nil {
			t.Error(err)
		}
		x.waiting.Wait()
		var want []time.Duration
		want = append(want, 0)
		for d := replyDelay; d <= replyLatest; d += replyGap {
			want = append(want, d)
		}
		if !slices.Equal(at, want) {
			t.Errorf("OFFERs are sent after %v; want %v", at, want)
		}
		if got, want := to[1], "10.0.0.30:68 at "+host(0).String(); got != want {
			t.Errorf("OFFER to a mask ROM goes to %s; want %s", got, want)
		}
	})
}

func TestReplyDelay(t *testing.T) {
	now := time.Unix(0, 0)
	var r pacer
	if at, ok := r.turn(now, 2*time.Second); !ok || at != now.Add(2*time.Second) {
		t.Errorf("turn = %v, %v; want 2 s later", at, ok)
	}
}

// A mask ROM sends no REQUEST: in the pool, the OFFER is its lease.
func TestMaskROMsOfferIsALease(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	const offer = "OFFER 10.0.0.100 to 10.0.0.100:68 at 02:00:00:00:00:01"
	s := poolServer(t, file)
	s.BootStrangers, s.ReplyDelay = true, time.Nanosecond
	play(t, s, []act{{"mask ROM", message(host(1), dhcpv4.MessageTypeDiscover, maskROM), offer}})
	play(t, poolServer(t, file), []act{
		{"another after a restart", message(host(2), dhcpv4.MessageTypeDiscover, wants("10.0.0.100")), "OFFER 10.0.0.101 to 10.0.0.101:68 at 02:00:00:00:00:02"},
		{"its kernel after a restart", message(host(1), dhcpv4.MessageTypeDiscover), offer},
	})
}

// The OFFER of a proxy is broadcast by nature: to a mask ROM it is so in name
// only.
func TestProxyOfferToAMaskROM(t *testing.T) {
	s := testServer()
	s.Proxy, s.ReplyDelay = true, time.Nanosecond
	e, err := exchangeOf(t, s, message(known, dhcpv4.MessageTypeDiscover, maskROM).ToBytes())
	if want := "OFFER 0.0.0.0 to 255.255.255.255:68 at " + known.String(); err != nil || e.answer != want {
		t.Errorf("answer = %q, %v; want %q", e.answer, err, want)
	}
}
