package queue

import (
	"context"
	"testing"
)

// A daemon that is told to end while it starts has not failed.
func TestRunThatIsStoppedAtOnce(t *testing.T) {
	b := open(t, newDirs(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
}
