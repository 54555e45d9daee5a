package pause

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if !For(ctx, 40*time.Second) || time.Since(start) != 40*time.Second {
			t.Errorf("For ended after %v; want true after 40 s", time.Since(start))
		}
		if For(ctx, 40*time.Second) || time.Since(start) != time.Minute {
			t.Errorf("For ended after %v; want false after a minute", time.Since(start))
		}
	})
}
