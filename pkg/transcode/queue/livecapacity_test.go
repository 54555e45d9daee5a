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
		unknown int     // workers more that have encoded nothing
		others  int     // streams of the same ladder
		want    string
		known   bool
	}{
		{0, 0, 0, 0, "", false},
		{0, 0, 2, 0, "", false},
		{1, 200, 0, 0, "", true},
		{1, 40, 0, 0, "want --rung", true},
		{4, 40, 0, 0, "", true},
		{1, 40, 3, 0, "", false},
		{1, 1, 1, 0, "(1 that have encoded nothing yet are taken to be like the others)", false},
		{1, 1, 0, 0, "want more workers", true},
		{1, 120, 0, 0, "", true},
		{1, 120, 0, 1, "and have", true},
	} {
		q := &Queue{workers: newWorkers(nil), live: newLiveStreams()}
		for i := range tt.workers + tt.unknown {
			name := fmt.Sprintf("w%d", i)
			q.workers.hello(name, transcode.Hello{Protocol: transcode.Protocol, Encoders: []string{transcode.EncoderX264}}, time.Now())
			if i >= tt.workers {
				continue
			}
			q.workers.measured(name, []transcode.Speed{{Encoder: liveEncoder(transcode.EncoderX264), Lines: 720, FPS: tt.fps}})
		}
		for i := range tt.others {
			other := newLiveStream(int64(2+i), request)
			other.plan = &plan
			q.live.put(other)
		}
		known, err := q.checkCapacity(newLiveStream(1, request), plan)
		if known != tt.known || (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d workers with %v frames/s, %d unknown, %d other streams: known %v, %v; want %q", tt.workers, tt.fps, tt.unknown, tt.others, known, err, tt.want)
		}
	}
}

// A stream that was accepted without knowing the workers ends when its first parts have shown
// that they are too slow, and says what would fit. One that is encoded in time goes on.
func TestLiveCapacityIsProved(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fps       float64 // of the worker; 0: it has encoded nothing
		after     time.Duration
		encoded   bool // all that was received is
		ends      bool
		undecided bool
	}{
		"too slow":            {1, 12 * time.Second, false, true, false},
		"too early":           {1, 8 * time.Second, false, false, true},
		"slow, but in time":   {1, 12 * time.Second, true, false, true},
		"in time for long":    {1, 80 * time.Second, true, false, false},
		"fast":                {1e6, 12 * time.Second, false, false, false},
		"nothing encoded yet": {0, 12 * time.Second, false, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, newDirs(t), func(o *Options) { o.LiveLate = 2 * calibrateTime })
			_, err := b.AddLive(t.Context(), transcode.Request{Source: sourceName, Name: "show", Live: &transcode.Live{}, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 64}}}})
			if err != nil {
				t.Fatal(err)
			}
			s := b.live.named("show")
			b.addParts(s, 12)
			b.known("pi1")
			if tt.fps > 0 {
				b.workers.measured("pi1", []transcode.Speed{{Encoder: liveEncoder(transcode.EncoderX264), Lines: 64, FPS: tt.fps}})
			}
			s.mu.Lock()
			began := time.Now().Add(time.Hour) // the queue's own clock never gets there
			s.unproved = began
			for _, p := range s.parts {
				if tt.encoded {
					p.state = done
				}
			}
			s.mu.Unlock()
			if err := b.proveCapacity(t.Context(), s, began.Add(tt.after)); err != nil {
				t.Fatal(err)
			}
			job, err := b.Job(t.Context(), s.job)
			if err != nil || (job.State == Failed) != tt.ends || tt.ends && !strings.Contains(job.Reason, "want more workers") {
				t.Errorf("the job is %s, %q, %v; want it ended: %v", job.State, job.Reason, err, tt.ends)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if undecided := !s.unproved.IsZero(); !tt.ends && undecided != tt.undecided {
				t.Errorf("still to be proved: %v; want %v", undecided, tt.undecided)
			}
		})
	}
}
