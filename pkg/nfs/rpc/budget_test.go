package rpc

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A budgetTest is a room of eight units and some clients.
type budgetTest struct {
	*testing.T
	*memoryBudget
}

const budgetUnit = largeCall / 2

func newBudgetTest(t *testing.T) budgetTest { return budgetTest{t, newMemoryBudget(8 * budgetUnit)} }

// queue takes n units for c, in its turn, and returns what tells when they are
// taken.
func (r budgetTest) queue(ctx context.Context, c *client, n int) <-chan error {
	got := make(chan error, 1)
	go func() { got <- r.wait(ctx, c, n*budgetUnit) }()
	synctest.Wait()
	return got
}

func (r budgetTest) want(what string, got <-chan error, want bool) {
	r.Helper()
	synctest.Wait()
	select {
	case err := <-got:
		if err != nil || !want {
			r.Errorf("%s: admitted, %v; want %v", what, err, want)
		}
	default:
		if want {
			r.Errorf("%s: still waits", what)
		}
	}
}

// TestMemoryBudgetShares: a client has at most as much as it leaves free, so one that
// comes later has its part.
func TestMemoryBudgetShares(t *testing.T) {
	r := newBudgetTest(t)
	greedy, late, third, fourth := &client{}, &client{}, &client{}, &client{}
	for _, tt := range []struct {
		who  string
		c    *client
		n    int
		want bool
	}{
		{"a client alone", greedy, 1, true},
		{"the same, a second time", greedy, 1, true},
		{"the same, to a third of it all", greedy, 1, true},
		{"the same, beyond", greedy, 1, false},
		{"a second client", late, 1, true},
		{"the same, to half of what it leaves", late, 1, true},
		{"the same, beyond", late, 1, false},
		{"a third client", third, 2, true},
		{"a fourth, for more than is left", &client{}, 2, false},
		{"a fourth, for what is left", fourth, 1, true},
		{"a fifth", &client{}, 1, false},
	} {
		if got := r.try(tt.c, tt.n*budgetUnit); got != tt.want {
			t.Errorf("%s: %v; want %v", tt.who, got, tt.want)
		}
	}
	r.release(greedy, 3*budgetUnit)
	r.release(late, 2*budgetUnit)
	r.release(third, 2*budgetUnit)
	r.release(fourth, budgetUnit)
	if r.free != 8*budgetUnit || greedy.memory != 0 {
		t.Errorf("free is %d and the client has %d after all was given back; want %d and 0", r.free, greedy.memory, 8*budgetUnit)
	}
}

// TestMemoryBudgetOrder: those who have nothing get it in the order in which they
// came, and are not kept waiting by one who wants more than its share.
func TestMemoryBudgetOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBudgetTest(t)
		greedy, modest, patient := &client{}, &client{}, &client{}
		r.want("for a client alone", r.queue(t.Context(), greedy, 3), true)
		more := r.queue(t.Context(), greedy, 1)
		r.want("more than its share", more, false)
		r.want("for another, behind it", r.queue(t.Context(), modest, 4), true)
		large := r.queue(t.Context(), patient, 2)
		r.want("more than there is", large, false)
		small := r.queue(t.Context(), &client{}, 1)
		r.want("less than there is, behind one that has nothing", small, false)
		if r.try(&client{}, budgetUnit) {
			t.Error("a newcomer overtakes those who wait")
		}
		r.release(modest, budgetUnit)
		r.want("for the one that waits longest with nothing", large, true)
		r.want("for the one behind it", small, false)
		r.release(patient, 2*budgetUnit)
		r.want("for the one behind it", small, true)
		r.want("more than its share", more, false)
	})
}

// TestMemoryBudgetLeft: who goes away while it waits takes nothing with it.
func TestMemoryBudgetLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBudgetTest(t)
		holder := &client{}
		r.want("for a client alone", r.queue(t.Context(), holder, 4), true)
		ctx, cancel := context.WithCancel(t.Context())
		gone := r.queue(ctx, &client{}, 5)
		next := r.queue(t.Context(), &client{}, 2)
		r.want("behind one that has nothing", next, false)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("wait = %v; want %v", err, context.Canceled)
		}
		r.want("the next", next, true)
		r.release(holder, 4*budgetUnit)
		if r.free != 6*budgetUnit {
			t.Errorf("free is %d; want %d", r.free, 6*budgetUnit)
		}
	})
}
