//go:build bench

package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue/queuetest"
)

// TestLiveLatency prints how long after its last frame was received a part of a live stream
// of 360p can be played, and how far behind the source a player with low latency is.
func TestLiveLatency(t *testing.T) {
	l := &liveTest{T: t, dir: t.TempDir()}
	l.queue = queuetest.Start(t, l.dir, nil)
	data, err := os.ReadFile(makeSource(t, "live360.mp4", "-f lavfi -i testsrc2=s=640x360:r=25:d=60 -f lavfi -i sine=440:r=48000:d=60 "+x264+"-g 50 -c:a aac"))
	if err == nil {
		err = os.WriteFile(filepath.Join(l.queue.MediaDir, "a.mp4"), data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		w := &Worker{Config: Config{Name: fmt.Sprintf("w%d", i), Token: queuetest.Token, QueueURL: "nats://" + l.queue.Broker.Addr().String(), MediaDir: l.queue.MediaDir}}
		startWorker(t, w)
	}
	for _, seconds := range []float64{1, 0.5} {
		request := transcode.Request{Source: "a.mp4", Name: "show", Live: &transcode.Live{PartSeconds: seconds}, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 360}}}}
		if _, err := l.queue.AddLive(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		late := l.lateness(30)
		if _, err := l.queue.StopLive(t.Context(), "show"); err != nil {
			t.Fatal(err)
		}
		l.until(&liveFollower{rendition: "360p"}, ended)
		for _, share := range []int{10, 19} {
			of := late[len(late)*share/20-1]
			t.Logf("parts of %v s: %d of 20 can be played %.2f s after their last frame; a player that holds back three parts is %.2f s behind the source",
				seconds, share, of.Seconds(), of.Seconds()+3*seconds)
		}
	}
}

// lateness returns how long after their last frame parts could be played, in order.
func (l *liveTest) lateness(parts int) (late []time.Duration) {
	const first = 5 // those before wait for the probe
	f := &liveFollower{rendition: "360p"}
	for n := range first + parts {
		if l.next(f); f.list.Ended {
			l.Fatalf("the source has ended after %d parts: this machine is too slow for it, or too busy", n)
		}
		last := f.list.Segments[len(f.list.Segments)-1]
		if n >= first {
			late = append(late, time.Since(last.Time.Add(time.Duration(last.Seconds()*float64(time.Second)))))
		}
	}
	slices.Sort(late)
	return late
}
