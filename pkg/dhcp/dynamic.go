package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/pi"
)

// decidePool answers a client that is not registered.
func (x *exchange) decidePool(req *request) answer {
	switch req.kind {
	case Discover:
		return x.offer(req)
	case Request:
		return x.request(req)
	case Inform:
		return x.inform(req, Reservation{})
	case Release:
		if l, ok := x.Pool.end(req.client.MAC, req.asked, time.Now()); ok {
			return answer{later: func(ctx context.Context) answer { return x.store(ctx, l, answer{}) }}
		}
	case Decline:
		if l, ok := x.Pool.end(req.client.MAC, req.asked, time.Now()); ok {
			x.Pool.found(req.asked, time.Now())
			return answer{later: func(ctx context.Context) answer { return x.store(ctx, l, answer{}) }}
		}
	}
	return answer{}
}

// offer answers a DISCOVER, at once if it is known that nobody uses the
// address.
func (x *exchange) offer(req *request) answer {
	addr, probed, err := x.Pool.offer(req.client.MAC, req.asked, time.Now())
	if err != nil {
		x.log().Warn("no address for a client", "pi", req.client.MAC, "err", err)
		return noReply("%v", err)
	}
	if probed {
		return x.offered(req, addr)
	}
	return answer{later: func(ctx context.Context) answer { return x.offerProbed(ctx, req, addr) }}
}

// maxConflicts bounds how many addresses in use are tried for one client.
const maxConflicts = 5

// offerProbed offers addr, or another if a host uses it.
func (x *exchange) offerProbed(ctx context.Context, req *request, addr netip.Addr) answer {
	for range maxConflicts {
		free, err := x.probe(ctx, addr, req)
		if err != nil {
			return noReply("probing %v: %v", addr, err)
		}
		if free {
			return x.offered(req, addr)
		}
		var probed bool
		if addr, probed, err = x.Pool.offer(req.client.MAC, netip.Addr{}, time.Now()); err != nil {
			return noReply("%v", err)
		}
		if probed {
			return x.offered(req, addr)
		}
	}
	return noReply("%d addresses are in use by hosts without a lease", maxConflicts)
}

// probe reports whether no host but req's client uses addr, and has the pool
// remember it.
func (x *exchange) probe(ctx context.Context, addr netip.Addr, req *request) (free bool, err error) {
	user, used, err := x.prober.user(ctx, addr, req.client.MAC)
	if err != nil {
		return false, err
	}
	if used {
		x.conflict(addr, user)
		return false, nil
	}
	x.Pool.freed(addr, time.Now())
	return true, nil
}

// conflict has nobody get an address that a host uses.
func (x *exchange) conflict(addr netip.Addr, user pi.MAC) {
	x.log().Warn("pool address is in use by a host without a lease; not leased for now", "addr", addr, "mac", user)
	x.Pool.found(addr, time.Now())
}

// probeAhead keeps some free addresses known to be free, so that the next
// clients need not wait: a few while nobody asks, thousands after a power cut.
func (x *exchange) probeAhead(ctx context.Context) {
	tick := time.NewTicker(reserveEvery)
	defer tick.Stop()
	for {
		users, err := x.prober.users(ctx, x.Pool.reserve(time.Now()))
		if err != nil && ctx.Err() == nil {
			x.log().Debug("addresses not probed in advance", "err", err)
		}
		for addr, macs := range users {
			if len(macs) == 0 {
				x.Pool.freed(addr, time.Now())
				continue
			}
			x.conflict(addr, macs[0])
		}
		select {
		case <-tick.C:
		case <-x.Pool.short:
		case <-ctx.Done():
			return
		}
	}
}

// offered returns the OFFER of an address of the pool. A mask ROM sends no
// REQUEST and uses the address from now on: the offer is its lease.
func (x *exchange) offered(req *request, addr netip.Addr) answer {
	a := x.lease(req, Reservation{Addr: addr}, dhcpv4.MessageTypeOffer)
	if !req.client.MaskROM || !req.boot {
		return a
	}
	l, err := x.Pool.lease(req.client.MAC, addr, selecting, time.Now(), x.leaseTime())
	if err != nil {
		return noReply("%v: %v", addr, err)
	}
	return answer{later: func(ctx context.Context) answer { return x.store(ctx, l, a) }}
}

// request answers a REQUEST.
func (x *exchange) request(req *request) answer {
	if !req.asked.IsValid() {
		return noReply("asks for no address")
	}
	if !x.isHost(req.asked) {
		return x.nak(req, fmt.Sprintf("asked for %v, which is not one of %v", req.asked, x.Addr.Masked()))
	}
	l, err := x.Pool.lease(req.client.MAC, req.asked, req.claim(), time.Now(), x.leaseTime())
	if errors.Is(err, errNoRecord) && req.claim() != selecting {
		// RFC 2131 §4.3.2: stay silent, another server may know better.
		return noReply("asked for %v: %v", req.asked, err)
	}
	if err != nil {
		return x.nak(req, fmt.Sprintf("asked for %v: %v", req.asked, err))
	}
	ack := x.lease(req, Reservation{Addr: l.addr}, dhcpv4.MessageTypeAck)
	return answer{later: func(ctx context.Context) answer { return x.store(ctx, l, ack) }}
}

// store returns a once l is on disk, and no reply if it cannot be: what was
// acknowledged must outlive the server.
func (x *exchange) store(ctx context.Context, l lease, a answer) answer {
	if err := x.Pool.save(ctx, l); err != nil {
		if ctx.Err() == nil {
			x.log().Error("lease not stored, so not granted", "pi", l.mac, "addr", l.addr, "err", err)
		}
		return noReply("%v", err)
	}
	return a
}
