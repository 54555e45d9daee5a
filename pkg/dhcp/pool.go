package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

// Why a client cannot have an address of the pool.
var (
	errExhausted = errors.New("no free address in the pool")
	errTaken     = errors.New("the address is another client's")
	errNoRecord  = errors.New("no record of the client having it")
)

const (
	// maxPool bounds a pool: it is kept in memory, and searched.
	maxPool = 1 << 16
	// offerTime is how long an address is held for a client that was offered
	// it: a client that asks four times, ever slower, is done by then.
	offerTime = time.Minute
	// probedTime is how long an address is believed to be free after nobody
	// answered to it.
	probedTime = 90 * time.Second
	// asideTime is how long an address that another host was found to use is
	// not given to anybody.
	asideTime = time.Hour
)

// A Pool is the addresses that are leased to any client. A client is identified by
// its Ethernet address alone, because boot code, kernel and operating system of
// one board send different client identifiers or none, and must get one address.
// It is safe for concurrent use.
type Pool struct {
	store    *store.Store
	reserved func(netip.Addr) bool
	first    netip.Addr

	mu      sync.Mutex // guards what follows; no I/O under it
	slots   []slot     // one for each address from first
	owner   map[pi.MAC]int
	next    int           // where the search for a free address resumes
	taken   int           // addresses held since reserve was last called
	ahead   int           // how many reserve was to keep ready
	counted time.Time     // when reserve was last called
	batches []*batch      // to be written, at least one; the last is not full
	due     chan struct{} // holds a value while there is something in batches
	short   chan struct{} // holds a value while reserve has to be called
}

// A slot is one address. The zero slot is free and was never used.
type slot struct {
	state  state
	mac    pi.MAC    // who has it or had it last; zero: nobody
	until  time.Time // when state ends by itself
	probed time.Time // when it was last found that nobody uses it
}

type state uint8

const (
	free    state = iota
	offered       // held for a client that has not asked for it yet
	leased
	aside // in use by a host that has no lease of it
)

func (s *slot) isFree(now time.Time) bool { return s.state == free || !now.Before(s.until) }

// is reports whether the slot is in that state, for mac.
func (s *slot) is(state state, mac pi.MAC, now time.Time) bool {
	return s.state == state && s.mac == mac && now.Before(s.until)
}

func (s *slot) fresh(now time.Time) bool { return now.Sub(s.probed) < probedTime }

func newPool(first, last netip.Addr, reserved func(netip.Addr) bool) (*Pool, error) {
	if !first.Is4() || !last.Is4() || last.Less(first) || number(last)-number(first) >= maxPool {
		return nil, fmt.Errorf("dhcp: pool %v-%v; want up to %d IPv4 addresses, the lower one first", first, last, maxPool)
	}
	if reserved == nil {
		reserved = func(netip.Addr) bool { return false }
	}
	return &Pool{
		first: first, reserved: reserved, owner: map[pi.MAC]int{},
		slots: make([]slot, number(last)-number(first)+1), batches: []*batch{newBatch()}, due: make(chan struct{}, 1), short: make(chan struct{}, 1),
	}, nil
}

func number(addr netip.Addr) uint32 {
	octets := addr.As4()
	return binary.BigEndian.Uint32(octets[:])
}

func (p *Pool) addr(i int) netip.Addr {
	var octets [4]byte
	binary.BigEndian.PutUint32(octets[:], number(p.first)+uint32(i))
	return netip.AddrFrom4(octets)
}

// index returns the place of addr; ok is false if it is none of the pool's.
func (p *Pool) index(addr netip.Addr) (i int, ok bool) {
	if !addr.Is4() || addr.Less(p.first) {
		return 0, false
	}
	n := number(addr) - number(p.first)
	return int(n), n < uint32(len(p.slots))
}

// offer holds an address for mac: that which it has or had last, else the one
// it wishes, else one that nobody had, else the one that is free for longest.
// probed is whether it is known that no host uses it; if not, the caller finds
// out and says so by found or freed.
func (p *Pool) offer(mac pi.MAC, wish netip.Addr, now time.Time) (addr netip.Addr, probed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.chooseLocked(mac, wish, now)
	if !ok {
		return netip.Addr{}, false, errExhausted
	}
	s := &p.slots[i]
	if s.is(leased, mac, now) {
		return p.addr(i), true, nil
	}
	p.assignLocked(i, mac)
	s.state, s.until = offered, now.Add(offerTime)
	p.taken++
	if !s.fresh(now) || 2*p.taken >= p.ahead {
		signal(p.short)
	}
	return p.addr(i), s.fresh(now), nil
}

func (p *Pool) chooseLocked(mac pi.MAC, wish netip.Addr, now time.Time) (int, bool) {
	if i, ok := p.owner[mac]; ok && p.mayHaveLocked(i, mac, now) {
		return i, true
	}
	if i, ok := p.index(wish); ok && p.mayHaveLocked(i, mac, now) {
		return i, true
	}
	oldest := -1
	for range p.slots {
		i := p.next
		p.next = (p.next + 1) % len(p.slots)
		s := &p.slots[i]
		switch {
		case !s.isFree(now) || p.reserved(p.addr(i)):
		case s.mac == (pi.MAC{}):
			return i, true
		case oldest < 0 || s.until.Before(p.slots[oldest].until):
			oldest = i
		}
	}
	return oldest, oldest >= 0
}

// mayHaveLocked reports whether mac has the address or could get it.
func (p *Pool) mayHaveLocked(i int, mac pi.MAC, now time.Time) bool {
	s := &p.slots[i]
	mine := s.mac == mac && s.state != aside
	return (mine || s.isFree(now)) && !p.reserved(p.addr(i))
}

// assignLocked makes mac the owner of the address, and of no other.
func (p *Pool) assignLocked(i int, mac pi.MAC) {
	p.forgetLocked(i)
	if old, ok := p.owner[mac]; ok {
		p.forgetLocked(old)
	}
	p.slots[i].mac = mac
	p.owner[mac] = i
}

func (p *Pool) forgetLocked(i int) {
	s := &p.slots[i]
	if p.owner[s.mac] == i {
		delete(p.owner, s.mac)
	}
	s.mac, s.state = pi.MAC{}, free
}

// freed notes that nobody uses addr.
func (p *Pool) freed(addr netip.Addr, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.index(addr); ok {
		p.slots[i].probed = now
	}
}

// found puts addr aside, for a host uses it that has no lease of it.
func (p *Pool) found(addr netip.Addr, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(addr)
	if !ok {
		return
	}
	p.forgetLocked(i)
	s := &p.slots[i]
	s.state, s.until, s.probed = aside, now.Add(asideTime), time.Time{}
}

// A claim says what a client believes of the address that it asks for.
type claim int

const (
	selecting claim = iota // it was offered it
	rebooting              // it had it before it was switched off
	holding                // it uses it now
)

// lease gives addr to mac until now+term. The lease is not durable before save
// has returned. It fails with errTaken or errNoRecord.
func (p *Pool) lease(mac pi.MAC, addr netip.Addr, c claim, now time.Time, term time.Duration) (lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(addr)
	if !ok {
		return lease{}, errNoRecord
	}
	if !p.mayHaveLocked(i, mac, now) {
		return lease{}, errTaken
	}
	// An address that was free meanwhile may have been probed by nobody: only a
	// client that uses it already is believed that no other does.
	if s := &p.slots[i]; s.mac != mac && c != holding {
		return lease{}, errNoRecord
	}
	p.assignLocked(i, mac)
	s := &p.slots[i]
	s.state, s.until = leased, now.Add(term)
	return lease{mac: mac, addr: addr, expires: s.until}, nil
}

// end ends what mac has of addr, and returns the lease as it is then; ok is
// false if it has nothing. The address stays its own until another needs it.
func (p *Pool) end(mac pi.MAC, addr netip.Addr, now time.Time) (l lease, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(addr)
	if !ok || !p.slots[i].is(leased, mac, now) && !p.slots[i].is(offered, mac, now) {
		return lease{}, false
	}
	s := &p.slots[i]
	wasLeased := s.state == leased
	s.state, s.until = free, now
	return lease{mac: mac, addr: addr, expires: now}, wasLeased
}

// withdraw frees the address that mac was offered and did not take.
func (p *Pool) withdraw(mac pi.MAC) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.owner[mac]; ok && p.slots[i].state == offered {
		p.slots[i].state = free
	}
}

// holder returns who has a lease of addr: nobody, if there is no pool.
func (p *Pool) holder(addr netip.Addr, now time.Time) (pi.MAC, bool) {
	if p == nil {
		return pi.MAC{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(addr)
	if !ok || p.slots[i].state != leased || !now.Before(p.slots[i].until) {
		return pi.MAC{}, false
	}
	return p.slots[i].mac, true
}

// signal makes c hold a value.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it does
	}
}

// Bounds of how many free addresses are probed before somebody needs them.
const (
	minReserve = 4
	maxReserve = 8192
)

// reserve returns the addresses that the next clients will get, as many as a
// second needs at the rate since it was last called, of which it is not known
// whether a host uses them.
func (p *Pool) reserve(now time.Time) []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	rate := float64(p.taken) / max(now.Sub(p.counted), probeWait).Seconds()
	p.ahead = min(max(minReserve, int(rate)), maxReserve)
	p.taken, p.counted = 0, now
	want := p.ahead
	var list []netip.Addr
	for k := range p.slots {
		i := (p.next + k) % len(p.slots)
		s := &p.slots[i]
		if !s.isFree(now) || s.mac != (pi.MAC{}) || p.reserved(p.addr(i)) {
			continue
		}
		// What stays fresh until the next call need not be asked for again.
		if !s.fresh(now.Add(reserveEvery)) {
			list = append(list, p.addr(i))
		}
		if want--; want == 0 {
			break
		}
	}
	return list
}
