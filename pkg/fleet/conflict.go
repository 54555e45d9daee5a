package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// watchEvery is the interval of the ARP requests that ask who uses the boards'
// addresses. A board that boots has to answer none of them.
const watchEvery = time.Minute

// A Conflict is a host that uses a board's address.
type Conflict struct {
	Board registry.Pi
	User  pi.MAC
}

// String describes the conflict.
func (c Conflict) String() string {
	return fmt.Sprintf("%s is used by %s, not by %s", c.Board.IP, c.User, c.Board.Name)
}

// same reports whether c and other are about the same host and address.
func (c Conflict) same(other Conflict) bool {
	return c.User == other.User && c.Board.IP == other.Board.IP && c.Board.Serial == other.Board.Serial
}

// Conflicts finds the hosts that use addresses of boards. It takes 0.3 s.
func (f *Fleet) Conflicts(ctx context.Context, boards []registry.Pi) ([]Conflict, error) {
	if f.FindUsers == nil || len(boards) == 0 {
		return nil, nil
	}
	var addrs []netip.Addr
	for _, board := range boards {
		if _, remote := f.subnetOf(board.IP); !remote { // ARP ends at the router
			addrs = append(addrs, board.IP)
		}
	}
	if len(addrs) == 0 {
		return nil, nil
	}
	users, err := f.FindUsers(ctx, addrs)
	if err != nil {
		return nil, err
	}
	var found []Conflict
	for _, board := range boards {
		for _, user := range users[board.IP] {
			if user != board.MAC {
				found = append(found, Conflict{board, user})
			}
		}
	}
	return found, nil
}

// checkUnused returns an error that names the host that uses the address meant
// for a board.
func (f *Fleet) checkUnused(ctx context.Context, board registry.Pi) error {
	found, err := f.Conflicts(ctx, []registry.Pi{board})
	if err != nil {
		f.Log.Warn("cannot check whether an address is in use", "component", "fleet", "addr", board.IP, "err", err)
		return nil
	}
	if len(found) > 0 {
		return pi.Conflicting("ip", fmt.Errorf("fleet: %s is used by the host %s; want another address, or that host to give it up", board.IP, found[0].User))
	}
	return nil
}

// AskedForAddress has WatchAddresses look at once who uses a board's address, because the board is
// about to take it. It does not wait; while many boards ask at once, some are looked for later.
func (f *Fleet) AskedForAddress(board registry.Pi) {
	select {
	case f.asked <- board:
	default:
	}
}

// WatchAddresses records on the timeline and in the log which hosts use boards'
// addresses, until ctx ends.
func (f *Fleet) WatchAddresses(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	known := f.lookForConflicts(ctx, f.Registry.All(), nil)
	for {
		select {
		case board := <-f.asked:
			known = f.lookForConflicts(ctx, []registry.Pi{board}, known)
		case <-tick.C:
			known = f.lookForConflicts(ctx, f.Registry.All(), known)
		case <-ctx.Done():
			return
		}
	}
}

// lookForConflicts records which conflicts of these boards are not in known, and which are over.
// It returns all that are known then.
func (f *Fleet) lookForConflicts(ctx context.Context, boards []registry.Pi, known []Conflict) []Conflict {
	found, err := f.Conflicts(ctx, boards)
	if err != nil {
		if ctx.Err() == nil {
			f.Log.Debug("address conflicts not checked", "component", "fleet", "err", err)
		}
		return known
	}
	looked := func(c Conflict) bool {
		return slices.ContainsFunc(boards, func(b registry.Pi) bool { return b.Serial == c.Board.Serial })
	}
	for _, c := range found {
		if !slices.ContainsFunc(known, c.same) {
			f.Log.Warn("a board's address is used by another host", "component", "fleet", "pi", c.Board.Name, "addr", c.Board.IP, "mac", c.User)
			f.recordConflict(c, timeline.Conflict, c.String())
		}
	}
	for _, c := range known {
		switch {
		case !looked(c):
			found = append(found, c)
		case !slices.ContainsFunc(found, c.same):
			f.Log.Info("a board's address is no longer used by another host", "component", "fleet", "pi", c.Board.Name, "addr", c.Board.IP, "mac", c.User)
			f.recordConflict(c, timeline.NoConflict, fmt.Sprintf("%s is no longer used by %s", c.Board.IP, c.User))
		}
	}
	return found
}

func (f *Fleet) recordConflict(c Conflict, kind timeline.Kind, detail string) {
	f.Timeline.Record(timeline.Event{
		At: time.Now(), Board: c.Board.Serial.String(), Name: c.Board.Name, Kind: kind,
		Addr: c.Board.IP, MAC: c.User, Detail: detail,
	})
}
