package dhcp

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pibootd/pkg/pi"
)

// An arpTable is what a kernel would hold, of pins.
type arpTable struct {
	mu      sync.Mutex
	entries map[netip.Addr]pi.MAC
}

func (a *arpTable) write(addr netip.Addr, mac pi.MAC, pinned bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pinned {
		a.entries[addr] = mac
	} else {
		delete(a.entries, addr)
	}
	return nil
}

func newTable() (*arpTable, *neighbours) {
	table := &arpTable{entries: map[netip.Addr]pi.MAC{}}
	return table, &neighbours{pins: map[pi.MAC]pinned{}, write: table.write}
}

func hostAddr(i byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, i}) }

// No client waits for what the kernel is asked to do for another.
func TestPinsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, n := newTable()
		slow := make(chan struct{})
		n.write = func(addr netip.Addr, mac pi.MAC, pinned bool) error {
			if addr == hostAddr(1) {
				<-slow
			}
			return table.write(addr, mac, pinned)
		}
		pinnedOne := make(chan error, 1)
		go func() { pinnedOne <- n.pin(hostAddr(1), pi.MAC{1}, time.Now()) }()
		synctest.Wait()
		for _, err := range []error{n.pin(hostAddr(2), pi.MAC{2}, time.Now()), n.pin(hostAddr(3), pi.MAC{3}, time.Now()), n.unpin(pi.MAC{3})} {
			if err != nil {
				t.Error(err)
			}
		}
		close(slow)
		if err := <-pinnedOne; err != nil {
			t.Error(err)
		}
		if want := (map[netip.Addr]pi.MAC{hostAddr(1): {1}, hostAddr(2): {2}}); !maps.Equal(table.entries, want) {
			t.Errorf("the table has %v; want %v", table.entries, want)
		}
	})
}

// A pin that is taken back while the kernel writes it does not stay.
func TestUnpinWhilePinIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, n := newTable()
		slow := make(chan struct{})
		n.write = func(addr netip.Addr, mac pi.MAC, pinned bool) error {
			if pinned {
				<-slow
			}
			return table.write(addr, mac, pinned)
		}
		done := make(chan error, 1)
		go func() { done <- n.pin(hostAddr(1), pi.MAC{1}, time.Now()) }()
		synctest.Wait()
		if err := n.unpin(pi.MAC{1}); err != nil {
			t.Error(err)
		}
		close(slow)
		if err := <-done; err != nil || len(table.entries) > 0 {
			t.Errorf("the table has %v, %v; want nothing", table.entries, err)
		}
	})
}

// Whatever is done at once, the table ends up as pins say.
func TestPinsAtOnce(t *testing.T) {
	table, n := newTable()
	start := time.Now()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				addr, mac := hostAddr(byte(rand.N(3))), pi.MAC{byte(rand.N(3))}
				var err error
				switch rand.N(4) {
				case 0:
					err = n.unpin(mac)
				case 1:
					err = n.renew(start.Add(rand.N(2 * pinTime)))
				default:
					err = n.pin(addr, mac, start.Add(rand.N(pinTime)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want := map[netip.Addr]pi.MAC{}
	for _, p := range n.pins {
		want[p.addr], _ = n.pinOf(p.addr)
	}
	if !maps.Equal(table.entries, want) {
		t.Errorf("the table has %v; want %v", table.entries, want)
	}
}

func TestPinThatIsRefused(t *testing.T) {
	_, n := newTable()
	n.write = func(netip.Addr, pi.MAC, bool) error { return errors.New("refused") }
	if err := n.pin(hostAddr(1), pi.MAC{1}, time.Now()); err == nil || len(n.pins) > 0 {
		t.Errorf("pin = %v, pins %v; want an error, and none", err, n.pins)
	}
}
