//go:build netns

package dhcp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pibootd/pkg/pi"
)

// Which host has an address is in the kernel's table, or is found out; a lease
// says it too, also of a client that is silent. What lies beyond the network has
// no host.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := testServer()
	l := newLANOf(t, s, known)
	l.host(t, "p77", pi.MAC{2, 0, 0, 0, 0, 77}, netip.MustParsePrefix("10.0.0.77/24"))
	l.host(t, "p50", strange, netip.MustParsePrefix("10.0.0.50/24"))
	l.host(t, "p9", pi.MAC{2, 0, 0, 0, 0, 9}, netip.MustParsePrefix("10.9.0.7/24"))
	l.awaitServer(t)
	var conn *Conn
	ok(t, l.server.Do(func() (err error) { conn, err = Listen("eth0", s.Addr.Addr(), 1067); return err }))
	defer func() { ok(t, conn.Close()) }()
	pool, err := newPool(ip(50), ip(59), nil)
	ok(t, err)
	_, err = pool.lease(known, ip(50), holding, time.Now(), time.Hour)
	ok(t, err)
	l.ip(t, "neigh", "replace", "10.0.0.88", "lladdr", known.String(), "dev", "eth0", "nud", "stale")

	for range 2 { // first they are asked for
		for addr, want := range map[string][]pi.MAC{
			"10.0.0.77": {{2, 0, 0, 0, 0, 77}},
			"10.0.0.88": {known},
			"10.0.0.50": {known, strange}, // leased to a board that is off, and taken by another
			"10.0.0.78": nil,
			"10.0.0.1":  nil, // the server's own
			"10.9.0.7":  nil, // on the wire, in another network
			"192.0.2.1": nil,
		} {
			got, err := Hosts(t.Context(), pool, conn, netip.MustParseAddr(addr))
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("Hosts(%s) = %v, %v; want %v", addr, got, err, want)
			}
		}
	}
	if got, err := Hosts(t.Context(), nil, conn, ip(77)); err != nil || len(got) != 1 {
		t.Errorf("Hosts without a pool = %v, %v; want one", got, err)
	}
	for _, addr := range []string{"10.9.0.7", "192.0.2.1"} {
		if got := l.ip(t, "neigh", "show", "to", addr); got != "" {
			t.Errorf("the table has %q; want nothing asked of another network", got)
		}
	}
}
