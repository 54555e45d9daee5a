package access

import (
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Limits of attempts to log in. A success is no attempt.
const (
	maxAttempts  = 5 // of one address at once
	attemptEvery = 30 * time.Second
	maxAddresses = 4096 // that are remembered
	maxHashing   = 2    // passwords that are hashed at a time, 19 MB each
)

// A TooManyError reports that an address must wait before it may try again.
type TooManyError struct {
	Wait time.Duration
}

func (e TooManyError) Error() string {
	return fmt.Sprintf("there were too many attempts from this address; try again in %d s", int(e.Wait.Seconds())+1)
}

// attempts limits how often each address tries passwords, codes and tokens that
// are wrong: at first maxAttempts, then one each attemptEvery.
type attempts struct {
	hashing chan struct{}

	mu   sync.Mutex
	full map[netip.Addr]time.Time // when an address has all its attempts again
}

func newAttempts() *attempts {
	return &attempts{hashing: make(chan struct{}, maxHashing), full: map[netip.Addr]time.Time{}}
}

// try returns a TooManyError if addr has no attempt left. It takes an attempt, which
// a caller gives back by succeeded.
func (a *attempts) try(addr netip.Addr, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	full := a.full[addr]
	if full.Before(now) {
		full = now
	}
	full = full.Add(attemptEvery)
	if wait := full.Sub(now) - maxAttempts*attemptEvery; wait > 0 {
		return TooManyError{wait}
	}
	if _, known := a.full[addr]; !known && len(a.full) >= maxAddresses {
		a.forgetLocked(now)
	}
	a.full[addr] = full
	return nil
}

// forgetLocked forgets the addresses that have all their attempts, and at least the
// one that has them soonest.
func (a *attempts) forgetLocked(now time.Time) {
	var soonest netip.Addr
	for addr, full := range a.full {
		if full.Before(now) {
			delete(a.full, addr)
		} else if soonest == (netip.Addr{}) || full.Before(a.full[soonest]) {
			soonest = addr
		}
	}
	if len(a.full) >= maxAddresses {
		delete(a.full, soonest)
	}
}

func (a *attempts) succeeded(addr netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.full, addr)
}
