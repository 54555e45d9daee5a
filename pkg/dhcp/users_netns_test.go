//go:build netns

package dhcp

import (
	"net/netip"
	"slices"
	"testing"

	"pibootd/pkg/pi"
)

// TestFindUsers: the host that has an address is reported by its Ethernet address;
// of two hosts with one address, both are; of none, nobody is.
func TestFindUsers(t *testing.T) {
	t.Parallel()
	l := newLANOf(t, testServer(), known)
	addr := netip.MustParseAddr
	first, second := pi.MAC{2, 0, 0, 0, 3, 1}, pi.MAC{2, 0, 0, 0, 3, 2}
	l.host(t, "pfirst", first, netip.MustParsePrefix("10.0.0.21/24"))
	l.host(t, "psecond", second, netip.MustParsePrefix("10.0.0.21/24"))
	ok(t, l.board.AddAddr("eth0", netip.MustParsePrefix("10.0.0.22/24")))
	asked := []netip.Addr{addr("10.0.0.21"), addr("10.0.0.22"), addr("10.0.0.23"), addr("10.0.0.1")}
	var users map[netip.Addr][]pi.MAC
	ok(t, l.server.Do(func() (err error) {
		users, err = FindUsers(t.Context(), "eth0", addr("10.0.0.1"), asked)
		return err
	}))
	both := users[addr("10.0.0.21")]
	slices.SortFunc(both, func(a, b pi.MAC) int { return slices.Compare(a[:], b[:]) })
	if !slices.Equal(both, []pi.MAC{first, second}) || !slices.Equal(users[addr("10.0.0.22")], []pi.MAC{known}) || len(users) != 2 {
		t.Errorf("users = %v; want %v and %v of 10.0.0.21, %v of 10.0.0.22, and no more", users, first, second, known)
	}
	ok(t, l.server.Do(func() error {
		if users, err := FindUsers(t.Context(), "lo", addr("10.0.0.1"), asked); err != nil || len(users) > 0 {
			t.Errorf("users on lo = %v, %v; want none", users, err)
		}
		if _, err := FindUsers(t.Context(), "none0", addr("10.0.0.1"), asked); err == nil {
			t.Error("an interface that is not there is no error")
		}
		return nil
	}))
}
