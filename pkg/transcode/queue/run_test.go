package queue

import (
	"context"
	"testing"
)

// A daemon whose context ends while it starts has not failed.
func TestRunThatIsStoppedAtOnce(t *testing.T) {
	b := open(t, newDirs(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
}
