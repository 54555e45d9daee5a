package queue

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A ladder that the workers cannot encode as fast as it comes is refused, with what they
// could; what other streams need is not free.
func TestLiveCapacity(t *testing.T) {
	request := transcode.Request{Source: "a", Name: "a", Live: &transcode.Live{}}
	probe := transcode.Probe{
		Format: "nut", Seconds: 4, Video: &transcode.VideoStream{Codec: "h264", Width: 1280, Height: 720, Rate: transcode.Rational{Num: 25, Den: 1}, PixelFormat: "yuv420p", EndSeconds: 4},
	}
	plan, err := transcode.PlanLive(request, probe)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		workers int
		fps     float64 // of each, at 720p
		others  int     // streams of the same ladder
		want    string
	}{
		{0, 0, 0, ""}, // nothing is known
		{1, 200, 0, ""},
		{1, 40, 0, "want --rung"},
		{4, 40, 0, ""},
		{1, 1, 0, "want more workers"},
		{1, 120, 0, ""},
		{1, 120, 1, "and have"},
	} {
		q := &Queue{workers: newWorkers(nil), live: newLiveStreams()}
		for i := range tt.workers {
			name := fmt.Sprintf("w%d", i)
			q.workers.hello(name, transcode.Hello{Protocol: transcode.Protocol, Encoders: []string{transcode.EncoderX264}}, time.Now())
			q.workers.measured(name, []transcode.Speed{{Encoder: liveEncoder(transcode.EncoderX264), Lines: 720, FPS: tt.fps}})
		}
		for i := range tt.others {
			other := newLiveStream(int64(2+i), request)
			other.plan = &plan
			q.live.put(other)
		}
		err := q.checkCapacity(newLiveStream(1, request), plan)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d workers with %v frames/s, %d other streams: %v; want %q", tt.workers, tt.fps, tt.others, err, tt.want)
		}
	}
}
