package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"pibootd/internal/turns"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// changesUnderWay are the boards that are being added or changed, so that changes
// of different boards run side by side and changes of one board do not. They are
// kept in memory only, because Start cleans up after a killed daemon.
type changesUnderWay struct {
	turns    turns.Turns[pi.Serial]
	mu       sync.Mutex                // never held over I/O
	reserved map[pi.Serial]registry.Pi // what the board will be called, and its addresses
}

// begin waits until no other change of the board is under way. The caller calls
// end, which releases what the board has reserved, too.
func (c *changesUnderWay) begin(ctx context.Context, serial pi.Serial) (end func(), err error) {
	done, err := c.turns.Begin(ctx, serial)
	if err != nil {
		return nil, fmt.Errorf("fleet: waiting for another change of the board %s to end: %w", serial, err)
	}
	return func() {
		c.release(serial)
		done()
	}, nil
}

func (c *changesUnderWay) release(serial pi.Serial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, serial)
}

// A chooser returns a free address for which reserved returns false.
type chooser func(reserved func(netip.Addr) bool) (netip.Addr, error)

// reserve keeps board's name and addresses for it until its change ends. It fails
// if another board has reserved one of them, or if check fails, which must not do
// I/O. choose, if not nil, gives the board its IP address.
func (c *changesUnderWay) reserve(board registry.Pi, choose chooser, check func(registry.Pi) error) (registry.Pi, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, board.Serial)
	if choose != nil {
		var err error
		if board.IP, err = choose(c.addressReservedLocked); err != nil {
			return registry.Pi{}, err
		}
	}
	if err := errors.Join(c.conflictsLocked(board), check(board)); err != nil {
		return registry.Pi{}, err
	}
	c.reserved[board.Serial] = board
	return board, nil
}

func (c *changesUnderWay) addressReservedLocked(ip netip.Addr) bool {
	for _, other := range c.reserved {
		if other.IP == ip {
			return true
		}
	}
	return false
}

// conflictsLocked reports what board has in common with others that are being
// added or changed, as the registry does for those that are registered.
func (c *changesUnderWay) conflictsLocked(board registry.Pi) error {
	var problems []error
	taken := func(field, what string, value any, other registry.Pi) {
		problems = append(problems, pi.Conflicting(field, fmt.Errorf("fleet: %s %s is reserved for the board with serial %s, which is being added or changed", what, value, other.Serial)))
	}
	for _, other := range c.reserved {
		if other.MAC == board.MAC {
			taken("mac", "address", board.MAC, other)
		}
		if other.Name == board.Name {
			taken("name", "name", board.Name, other)
		}
		if other.IP == board.IP {
			taken("ip", "ip", board.IP, other)
		}
	}
	return errors.Join(problems...)
}

// checkName reports whether a board that is being added or changed has reserved
// the name.
func (c *changesUnderWay) checkName(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.reserved {
		if other.Name == name {
			return pi.Conflicting("name", fmt.Errorf("fleet: name %s is reserved for the board with serial %s, which is being added or changed", name, other.Serial))
		}
	}
	return nil
}

// begin waits until no other change of the board that ref names is under way, and
// returns the board as it is then. The caller calls end.
func (f *Fleet) begin(ctx context.Context, ref string) (board registry.Pi, end func(), err error) {
	for {
		found, err := f.Registry.Find(ref)
		if err != nil {
			return registry.Pi{}, nil, err
		}
		if end, err = f.changes.begin(ctx, found.Serial); err != nil {
			return registry.Pi{}, nil, err
		}
		// The change that this one has waited for may have renamed the board.
		board, err := f.Registry.Find(ref)
		if err == nil && board.Serial == found.Serial {
			return board, end, nil
		}
		end()
	}
}

// maxClones is how many roots are cloned at a time: more of them would only
// contend for the disk.
const maxClones = 8

// acquireClone waits until another root may be cloned. The caller calls release.
func (f *Fleet) acquireClone(ctx context.Context) (release func(), err error) {
	select {
	case f.clones <- struct{}{}:
		return func() { <-f.clones }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("fleet: waiting for other roots to be cloned: %w", ctx.Err())
	}
}
