package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A cluster is a real queue and its real workers, on one media share.
type cluster struct {
	*testing.T
	queue *queue.Queue
	addr  netip.AddrPort // where workers connect to
	media string
}

// newCluster runs a queue with two workers until the test ends.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := newQueue(t, testLog(t))
	for i := range 2 {
		startWorker(t, &Worker{Config: c.config(fmt.Sprintf("worker%d", i))})
	}
	return c
}

// config is that of a worker of c.
func (c *cluster) config(name string) Config {
	return Config{Name: name, Token: queuetest.Token, QueueURL: "nats://" + c.addr.String(), MediaDir: c.media}
}

// newQueue runs a queue without workers until the test ends.
func newQueue(t *testing.T, log *slog.Logger) *cluster {
	t.Helper()
	return newQueueOn(t, log, t.TempDir())
}

// newQueueOn is newQueue on a media share that is there.
func newQueueOn(t *testing.T, log *slog.Logger, media string) *cluster {
	t.Helper()
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.MediaDir, o.Log = media, log })
	return &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: media}
}

// provide puts a file into the media share.
func (c *cluster) provide(name, file string) {
	c.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(filepath.Join(c.media, name), data, 0o644)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// do has a request done and returns the job as it ended.
func (c *cluster) do(r transcode.Request) queue.Job {
	c.Helper()
	return c.waitEnd(c.submit(r))
}

func (c *cluster) submit(r transcode.Request) queue.Job {
	c.Helper()
	job, _, err := c.queue.Submit(c.Context(), r)
	if err != nil {
		c.Fatal(err)
	}
	return job
}

// waitEnd returns a job as it ended.
func (c *cluster) waitEnd(job queue.Job) queue.Job {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 3*patience)
	defer cancel()
	for update, err := range c.queue.Watch(ctx, job.ID) {
		if err != nil {
			c.Fatal(err)
		}
		job = update
	}
	return job
}

// get waits for a file of a job's stream as players do.
func (c *cluster) get(job int64, name string) {
	for {
		ctx, cancel := context.WithTimeout(c.Context(), 9*time.Second)
		_, err := c.queue.StreamFile(ctx, job, name)
		cancel()
		if err == nil {
			return
		}
		if !errors.Is(err, queue.ErrNotYet) || c.Context().Err() != nil {
			c.Errorf("%s: %v", name, err)
			return
		}
	}
}

// wantDone waits for the end of a job, however slow this machine is.
func (c *cluster) wantDone(job queue.Job) {
	c.Helper()
	for now, err := range c.queue.Watch(c.Context(), job.ID) {
		if err != nil {
			c.Fatal(err)
		}
		job = now
	}
	if job.State != queue.Done {
		c.Fatalf("job is %s: %s %q; want it done", job.State, job.Reason, job.Stderr)
	}
}

// checkSwept makes sure that no unpublished file is left.
func (c *cluster) checkSwept() {
	c.Helper()
	for _, pattern := range []string{filepath.Join(transcode.WorkDir, "*"), filepath.Join(transcode.ScratchOf("*"), "*")} {
		left, err := filepath.Glob(filepath.Join(c.media, pattern))
		if err != nil || len(left) > 0 {
			c.Errorf("%q, %v are left; want nothing", left, err)
		}
	}
}

// Every format goes all the way: from a request to what a player reads.
func TestEveryFormatIsPublished(t *testing.T) {
	t.Parallel()
	c := newShortCluster(t, 2, 4)
	c.provide("a.mp4", makeSource(t, "a.mp4", shortClip))
	// Long enough for several units that make all renditions at once.
	c.provide("long.mp4", makeSource(t, "long.mp4", "-f lavfi -i testsrc2=s=160x128:r=10:d=8 -f lavfi -i sine=440:d=8 "+x264+"-g 20 -c:a aac"))
	tests := []struct {
		name   string
		output transcode.Output
		want   string
		source string
	}{
		{"stream", transcode.Output{}, "hls/stream/master.m3u8", "a.mp4"},
		{"cmaf", transcode.Output{Container: transcode.ContainerCMAF}, "hls/cmaf/master.m3u8", "a.mp4"},
		{"encrypted", transcode.Output{Encrypted: true}, "hls/encrypted/master.m3u8", "a.mp4"},
		{"both", transcode.Output{Container: transcode.ContainerCMAF, Encrypted: true}, "hls/both/master.m3u8", "a.mp4"},
		{"long", transcode.Output{}, "hls/long/master.m3u8", "long.mp4"},
		{"long-both", transcode.Output{Container: transcode.ContainerCMAF, Encrypted: true}, "hls/long-both/master.m3u8", "long.mp4"},
		{"two-pass", transcode.Output{TwoPass: true}, "hls/two-pass/master.m3u8", "long.mp4"},
		{"two-pass-file", transcode.Output{Format: transcode.FormatMKV, TwoPass: true}, "mkv/two-pass-file.mkv", "long.mp4"},
		{"long-file", transcode.Output{Format: transcode.FormatMP4}, "mp4/long-file.mp4", "long.mp4"},
		{"file", transcode.Output{Format: transcode.FormatMP4}, "mp4/file.mp4", "a.mp4"},
		{"options", transcode.Output{Format: transcode.FormatMKV, Options: strings.Fields("-c:v mpeg4 -b:v 1M")}, "mkv/options.mkv", "a.mp4"},
		{"whole", transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields("-c:v libx264 -preset ultrafast -vf tmix")}, "mp4/whole.mp4", "a.mp4"},
	}
	for _, tt := range tests {
		want := map[string]string{"a.mp4": "30", "long.mp4": "80"}[tt.source]
		job := c.do(transcode.Request{Source: tt.source, Name: tt.name, SegmentSeconds: 1, Output: tt.output})
		if job.State != queue.Done || job.Output != tt.want {
			t.Errorf("%s: job is %s at %q: %s, %q; want it done at %s", tt.name, job.State, job.Output, job.Reason, job.Stderr, tt.want)
			continue
		}
		job, err := c.queue.Job(t.Context(), job.ID)
		if err != nil {
			t.Fatal(err)
		}
		if surveys := slices.ContainsFunc(job.Units, func(u queue.UnitState) bool { return u.Kind == transcode.KindSurvey }); surveys != tt.output.TwoPass {
			t.Errorf("%s: surveys: %t; want them of two passes", tt.name, surveys)
		}
		var extensions []string
		if tt.output.Encrypted {
			extensions = []string{"-allowed_extensions", "ALL"}
		}
		for _, kind := range []string{"v", "a"} {
			args := append([]string{"-v", "error"}, extensions...)
			out := ffmpegRun(t, c.media, "ffprobe", append(args, "-select_streams", kind+":0", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", job.Output)...)
			frames := strings.Fields(strings.ReplaceAll(out, ",", " "))
			if kind == "v" && (len(frames) == 0 || frames[0] != want) || kind == "a" && len(frames) == 0 {
				t.Errorf("%s: a player decodes %q frames of %s; want %s of video, and audio", tt.name, out, kind, want)
			}
		}
	}
}
