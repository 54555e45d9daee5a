package turns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A second change of a thing waits for the first, one of another thing does not, and waiting ends
// with its context.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns[string]
		first, err := turns.Begin(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := turns.Begin(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		defer other()
		ctx, cancel := context.WithCancel(t.Context())
		given, began := make(chan error, 1), make(chan func(), 1)
		go func() { _, err := turns.Begin(ctx, "a"); given <- err }()
		go func() { end, _ := turns.Begin(t.Context(), "a"); began <- end }()
		synctest.Wait()
		if len(given)+len(began) > 0 {
			t.Error("a second change of a thing began before the first ended")
		}
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) {
			t.Errorf("Begin = %v; want context.Canceled", err)
		}
		first()
		(<-began)()
	})
}
