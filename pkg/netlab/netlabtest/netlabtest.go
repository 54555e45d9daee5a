//go:build linux

// Package netlabtest makes networks for tests. A network that cannot be made ends its test, and
// every network ends with its test.
package netlabtest

import (
	"net/netip"
	"testing"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

// Bridge is the name of the bridge that NewBridge makes and Join joins.
const Bridge = "br0"

// New makes an empty namespace.
func New(t testing.TB) *netlab.Namespace {
	t.Helper()
	ns, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// NewBridge makes a namespace with a bridge, which has the address addr, e.g. 10.0.0.1/24, or none
// if addr is "".
func NewBridge(t testing.TB, addr string) *netlab.Namespace {
	t.Helper()
	ns := New(t)
	if err := ns.Bridge(Bridge, prefix(addr)); err != nil {
		t.Fatal(err)
	}
	return ns
}

// NewPair makes two namespaces whose interfaces eth0 are joined and have the addresses a and b.
func NewPair(t testing.TB, a, b string) (*netlab.Namespace, *netlab.Namespace) {
	t.Helper()
	first, second := New(t), New(t)
	err := netlab.Connect(
		netlab.End{Namespace: first, Name: "eth0", Addr: prefix(a)},
		netlab.End{Namespace: second, Name: "eth0", Addr: prefix(b)})
	if err != nil {
		t.Fatal(err)
	}
	return first, second
}

// A Host is one end of a cable whose other end is a port of a bridge. The kernel picks a zero MAC.
type Host struct {
	Port string // its interface in the namespace of the bridge; at most 15 bytes
	MAC  pi.MAC
	Addr string // e.g. 10.0.0.11/24; "": none
}

// Join makes a namespace whose interface eth0 is joined to the bridge of on. Deleting h.Port from on
// takes it off the network before the test ends.
func (h Host) Join(t testing.TB, on *netlab.Namespace) *netlab.Namespace {
	t.Helper()
	ns := New(t)
	err := netlab.Connect(
		netlab.End{Namespace: ns, Name: "eth0", MAC: h.MAC, Addr: prefix(h.Addr)},
		netlab.End{Namespace: on, Name: h.Port})
	if err == nil {
		err = on.Attach(h.Port, Bridge)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func prefix(addr string) netip.Prefix {
	if addr == "" {
		return netip.Prefix{}
	}
	return netip.MustParsePrefix(addr)
}
