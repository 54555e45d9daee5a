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

// WatchAddresses records on the timeline and in the log which hosts use boards'
// addresses, until ctx ends.
func (f *Fleet) WatchAddresses(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var known []Conflict
	for {
		known = f.lookForConflicts(ctx, known)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// lookForConflicts records the conflicts that are not in known, and returns all.
func (f *Fleet) lookForConflicts(ctx context.Context, known []Conflict) []Conflict {
	found, err := f.Conflicts(ctx, f.Registry.All())
	if err != nil {
		if ctx.Err() == nil {
			f.Log.Debug("address conflicts not checked", "component", "fleet", "err", err)
		}
		return known
	}
	for _, c := range found {
		if slices.ContainsFunc(known, c.same) {
			continue
		}
		f.Log.Warn("a board's address is used by another host", "component", "fleet", "pi", c.Board.Name, "addr", c.Board.IP, "mac", c.User)
		f.Timeline.Record(timeline.Event{
			At: time.Now(), Board: c.Board.Serial.String(), Name: c.Board.Name, Kind: timeline.Conflict,
			Addr: c.Board.IP, MAC: c.User, Detail: c.String(),
		})
	}
	for _, c := range known {
		if !slices.ContainsFunc(found, c.same) {
			f.Log.Info("a board's address is no longer used by another host", "component", "fleet", "pi", c.Board.Name, "addr", c.Board.IP, "mac", c.User)
		}
	}
	return found
}
