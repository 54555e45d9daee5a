package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/pi"
)

const (
	// probeWait is how long a host has to say that it uses an address, and
	// probes how often it is asked within that time.
	probeWait = 300 * time.Millisecond
	probes    = 2
	// manyProbes is from where on each address is asked for once: the network
	// has enough to do with as many broadcasts.
	manyProbes = 256
	// reserveEvery is how often addresses are probed ahead of need.
	reserveEvery = time.Minute
)

// A prober finds out whether hosts use addresses.
type prober struct {
	link *link // nil: there is no ARP, and nobody answers

	mu      sync.Mutex
	running map[netip.Addr]*probe
}

// A probe asks for one address. Whoever wants to know the same while it runs gets its result, so
// that a host is asked once for an address that the next client gets.
type probe struct {
	users []pi.MAC      // that say that they use it; guarded by the prober's mu until done is closed
	done  chan struct{} // closed when nobody is asked any more
	err   error         // why not all were asked; set before
}

// maxAnswers bounds how many hosts that claim one address are remembered.
const maxAnswers = 4

func newProber(l *link) *prober { return &prober{link: l, running: map[netip.Addr]*probe{}} }

// user returns a host other than client that says it uses addr; ok is false
// if none does within probeWait.
func (p *prober) user(ctx context.Context, addr netip.Addr, client pi.MAC) (mac pi.MAC, ok bool, err error) {
	users, err := p.users(ctx, []netip.Addr{addr})
	if err != nil {
		return pi.MAC{}, false, err
	}
	for _, mac := range users[addr] {
		if mac != client {
			return mac, true, nil
		}
	}
	return pi.MAC{}, false, nil
}

// users returns who says that they use each of addrs.
func (p *prober) users(ctx context.Context, addrs []netip.Addr) (map[netip.Addr][]pi.MAC, error) {
	users := make(map[netip.Addr][]pi.MAC, len(addrs))
	if p.link == nil || len(addrs) == 0 {
		return users, nil
	}
	probes, own := p.begin(addrs)
	p.end(own, p.askAll(ctx, own))
	for i, probe := range probes {
		<-probe.done // of whoever began it, and waits no longer than probeWait
		if probe.err != nil {
			return nil, probe.err
		}
		users[addrs[i]] = probe.users
	}
	return users, nil
}

// begin returns the probes of addrs, and which of these the caller must ask for and end.
func (p *prober) begin(addrs []netip.Addr) (all []*probe, own []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range addrs {
		if p.running[addr] == nil {
			p.running[addr] = &probe{done: make(chan struct{})}
			own = append(own, addr)
		}
		all = append(all, p.running[addr])
	}
	return all, own
}

// end ends the probes of addrs.
func (p *prober) end(addrs []netip.Addr, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, addr := range addrs {
		p.running[addr].err = err
		close(p.running[addr].done)
		delete(p.running, addr)
	}
}

// askAll asks for addrs and returns after probeWait.
func (p *prober) askAll(ctx context.Context, addrs []netip.Addr) error {
	rounds := probes
	if len(addrs) > manyProbes {
		rounds = 1
	}
	for range rounds {
		if len(addrs) == 0 {
			break
		}
		if err := p.link.askFor(addrs); err != nil {
			return err
		}
		if !pause.For(ctx, probeWait/time.Duration(rounds)) {
			return ctx.Err()
		}
	}
	return nil
}

// listen reads the link's ARP until its reading is stopped by a deadline or its
// file is closed.
func (p *prober) listen() error {
	buf := make([]byte, 128) // more than an ARP frame has; the rest of others is not read
	for {
		n, err := p.link.file.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if errors.Is(err, syscall.ENETDOWN) { // told once; it may come up again
			continue
		}
		if err != nil {
			return fmt.Errorf("dhcp: reading ARP: %w", err)
		}
		if addr, mac, ok := heard(buf[:n]); ok {
			p.deliver(addr, mac)
		}
	}
}

func (p *prober) deliver(addr netip.Addr, mac pi.MAC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	probe := p.running[addr]
	if probe != nil && len(probe.users) < maxAnswers && !slices.Contains(probe.users, mac) {
		probe.users = append(probe.users, mac)
	}
}
