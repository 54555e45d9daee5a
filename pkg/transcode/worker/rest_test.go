package worker

import (
	"testing"
	"testing/synctest"
	"time"

	"pibootd/pkg/transcode"
)

// A worker rests so long that its weight is the share of the time it works in,
// and no longer when it is given another weight meanwhile.
func TestRest(t *testing.T) {
	tests := map[string]struct {
		weight, then float64 // then: from a minute on
		want         time.Duration
	}{
		"all of its time":   {1, 1, 0},
		"nobody said":       {0, 0, 0},
		"half":              {0.5, 0.5, 2 * time.Minute},
		"a quarter":         {0.25, 0.25, 6 * time.Minute},
		"next to nothing":   {1e-9, 1e-9, 198 * time.Minute},
		"more than all":     {2, 2, 0},
		"less than nothing": {-1, -1, 0},
		"ended":             {0.01, 1, time.Minute},
		"prolonged":         {0.5, 0.25, 6 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &session{Worker: &Worker{}, undrained: make(chan struct{}, 1)}
				s.reply.Store(&transcode.HelloReply{Weight: test.weight})
				later := time.AfterFunc(time.Minute-time.Millisecond, func() { s.applyReply(transcode.HelloReply{Weight: test.then}) })
				defer later.Stop()
				began := time.Now()
				s.rest(t.Context(), 2*time.Minute)
				if got := time.Since(began); got < test.want || got > test.want+restLook {
					t.Errorf("rested %v; want %v", got, test.want)
				}
			})
		})
	}
}
