package rootfs

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
			if err := sweepStaging(dir); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		s, err := newStage(dir)
		if err != nil {
			t.Error(err)
			break
		}
		if _, err := os.Stat(s.dir); err != nil {
			t.Errorf("a new stage: %v; want it there", err)
		}
		if err := s.discard(); err != nil {
			t.Error(err)
		}
	}
	close(ended)
	sweeps.Wait()
}
