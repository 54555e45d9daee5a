package stage

import (
	"os"
	"sync"
	"testing"
)

// What another process has left is swept while stages are made, and none of
// these is taken for such.
func TestStagesAndSweeps(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan struct{})
	var sweeps sync.WaitGroup
	sweeps.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if err := Sweep(dir); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		s, err := New(dir)
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := os.Stat(s.Path); err != nil {
			t.Errorf("a new stage: %v; want it there", err)
		}
		if err := s.Discard(); err != nil {
			t.Error(err)
		}
	}
	close(ended)
	sweeps.Wait()
}
