package operation

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"pibootd/internal/pause"
)

// onWrite is a log that looks around while something is written to it.
type onWrite func()

func (f onWrite) Write(line []byte) (int, error) { f(); return len(line), nil }

// An operation whose process could not be run is open until that is written down: whoever looked
// in between would read that it was killed.
func TestNotLaunched(t *testing.T) {
	k := New(t.TempDir(), func(context.Context, string) error { return errors.New("no such program") }, nil)
	var between Operation
	k.Log = slog.New(slog.NewTextHandler(onWrite(func() { between, _ = k.Find(1) }), nil))
	go func() { _ = k.Run(t.Context()) }()
	op, err := k.Begin(Order{Name: "mine", Recipe: Minimal})
	if err != nil {
		t.Fatal(err)
	}
	for !op.State.Ended() && pause.For(t.Context(), time.Millisecond) {
		if op, err = k.Find(op.ID); err != nil {
			t.Fatal(err)
		}
	}
	if between.State != Waiting || op.State != Failed || op.Error != "no such program" {
		t.Errorf("the operation was %+v and is %+v; want it waiting, then failed with the reason", between, op)
	}
}
