package dhcp

import (
	"cmp"
	"context"
	"net/netip"
	"sync"
	"time"

	"pibootd/internal/pause"
)

// The mask ROM of the Pi 3B and 2B 1.2 needs help that no other boot code does
// (raspberrypi/firmware#764, #934, #991, #1067):
//
//   - It misses an OFFER that comes at once, and may leave one unread until
//     another frame arrives. So the OFFER is delayed, and wake-up frames are
//     sent before it and after it.
//   - It accepts any OFFER, because all boards use the same transaction id. So
//     OFFERs to mask ROMs are unicast, and sent one after the other.
//   - It stops answering ARP while it loads files. So its address is pinned.
const (
	replyDelay = time.Second
	// A DISCOVER is sent every 5 s: a later OFFER would meet the next one.
	replyLatest = 4500 * time.Millisecond
	// With replyDelay the two wake-up frames are 0.6 s and 1.2 s after the
	// DISCOVER, as those of openSUSE's netboot-rpi3b.
	wakeBefore = 400 * time.Millisecond
	wakeAfter  = 200 * time.Millisecond
	// replyGap is the least time between two OFFERs: until the first is read.
	replyGap = 400 * time.Millisecond
)

// A pacer spaces out the OFFERs to mask ROMs.
type pacer struct {
	mu   sync.Mutex
	next time.Time
}

// turn returns when to send the OFFER for a DISCOVER that arrived now. ok is false
// if all turns before the board's next DISCOVER are occupied.
func (r *pacer) turn(now time.Time, delay time.Duration) (at time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at = now.Add(cmp.Or(delay, replyDelay))
	if at.Before(r.next) {
		at = r.next
	}
	if at.Sub(now) > max(replyLatest, delay) {
		return time.Time{}, false
	}
	r.next = at.Add(replyGap)
	return at, true
}

// paced returns a. An OFFER to a mask ROM is delayed and wrapped in wake-up
// frames, so that the board receives it.
func (x *exchange) paced(req *request, a answer) answer {
	if !req.client.MaskROM || !req.boot || req.kind != Discover || a.reply == nil && a.later == nil {
		return a
	}
	at, ok := x.pacer.turn(time.Now(), x.ReplyDelay)
	if !ok {
		return noReply("too many boards of its kind ask at once; its turn is when it asks again")
	}
	return answer{later: func(ctx context.Context) answer {
		for a.later != nil {
			a = a.later(ctx)
		}
		if a.reply == nil || !pause.For(ctx, time.Until(at.Add(-wakeBefore))) {
			return answer{reason: a.reason}
		}
		x.wake(req)
		if !pause.For(ctx, time.Until(at)) {
			return answer{}
		}
		x.pin(req, addrOf(a.reply.YourIPAddr))
		a.after = func(ctx context.Context) {
			if pause.For(ctx, wakeAfter) {
				x.wake(req)
			}
		}
		return a
	}}
}

func (x *exchange) wake(req *request) {
	if x.out.conn == nil || x.out.conn.link == nil {
		return
	}
	if err := x.out.conn.link.wake(req.client.MAC); err != nil {
		x.log().Warn("wake-up frame not sent", "pi", req.client.MAC, "err", err)
	}
}

func (x *exchange) pin(req *request, addr netip.Addr) {
	neigh := x.out.neighbours()
	if neigh == nil || !addr.IsValid() {
		return
	}
	if err := neigh.pin(addr, req.client.MAC, time.Now()); err != nil {
		x.log().Warn("neighbour entry not made; the board's files may not reach it", "pi", req.client.MAC, "addr", addr, "err", err)
	}
}

// unpin removes the ARP entry of a board whose present software answers ARP.
func (x *exchange) unpin(req *request) {
	neigh := x.out.neighbours()
	if neigh == nil || req.client.MaskROM {
		return
	}
	if err := neigh.unpin(req.client.MAC); err != nil {
		x.log().Warn("neighbour entry not removed", "pi", req.client.MAC, "err", err)
	}
}
