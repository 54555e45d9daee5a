// Package pause waits, but no longer than a context.
package pause

import (
	"context"
	"time"
)

// For waits for d and reports whether ctx lasted that long.
func For(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
