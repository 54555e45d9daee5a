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

// A prober finds out whether a host uses an address.
type prober struct {
	link *link // nil: there is no ARP, and nobody answers

	mu      sync.Mutex
	waiting map[netip.Addr][]chan pi.MAC
}

func newProber(l *link) *prober { return &prober{link: l, waiting: map[netip.Addr][]chan pi.MAC{}} }

// user returns the host other than client that says it uses addr; ok is false
// if none does within probeWait.
func (p *prober) user(ctx context.Context, addr netip.Addr, client pi.MAC) (mac pi.MAC, ok bool, err error) {
	if p.link == nil {
		return pi.MAC{}, false, nil
	}
	answers := p.wait(addr)
	defer p.done(addr, answers)
	for range probes {
		if err := p.link.askFor(addr); err != nil {
			return pi.MAC{}, false, err
		}
		timeout := time.NewTimer(probeWait / probes)
		select {
		case mac := <-answers:
			timeout.Stop()
			if mac != client {
				return mac, true, nil
			}
		case <-timeout.C:
		case <-ctx.Done():
			timeout.Stop()
			return pi.MAC{}, false, ctx.Err()
		}
	}
	return pi.MAC{}, false, nil
}

// users returns who uses each of addrs, the zero MAC where nobody does.
func (p *prober) users(ctx context.Context, addrs []netip.Addr) (map[netip.Addr]pi.MAC, error) {
	users := make(map[netip.Addr]pi.MAC, len(addrs))
	if p.link == nil || len(addrs) == 0 {
		return users, nil
	}
	answers := make([]chan pi.MAC, len(addrs))
	for i, addr := range addrs {
		answers[i] = p.wait(addr)
		defer p.done(addr, answers[i])
	}
	rounds := probes
	if len(addrs) > manyProbes {
		rounds = 1
	}
	for range rounds {
		for _, addr := range addrs {
			if err := p.link.askFor(addr); err != nil {
				return nil, err
			}
		}
		if !pause.For(ctx, probeWait/time.Duration(rounds)) {
			return nil, ctx.Err()
		}
	}
	for i, addr := range addrs {
		select {
		case users[addr] = <-answers[i]:
		default:
			users[addr] = pi.MAC{}
		}
	}
	return users, nil
}

func (p *prober) wait(addr netip.Addr) chan pi.MAC {
	answers := make(chan pi.MAC, 1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[addr] = append(p.waiting[addr], answers)
	return answers
}

func (p *prober) done(addr netip.Addr, answers chan pi.MAC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[addr] = slices.DeleteFunc(p.waiting[addr], func(c chan pi.MAC) bool { return c == answers })
	if len(p.waiting[addr]) == 0 {
		delete(p.waiting, addr)
	}
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
	for _, answers := range p.waiting[addr] {
		select {
		case answers <- mac:
		default: // one answer is enough
		}
	}
}
