package worker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// A cluster is a real queue and its real workers, on one media share.
type cluster struct {
	*testing.T
	queue *queue.Queue
	media string
}

// newCluster runs a queue with two workers until the test ends.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	dir, media := t.TempDir(), t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	broker, err := queue.StartBroker(queue.BrokerOptions{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "js"),
		Authenticate: func(_, token string) bool { return token == testToken }, Log: testLog(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	q, err := queue.Open(t.Context(), queue.Options{Store: s, MediaDir: media, Broker: broker, Log: testLog(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range 2 {
		startWorker(t, &Worker{Config: Config{
			Name: fmt.Sprintf("worker%d", i), Token: testToken, QueueURL: "nats://" + broker.Addr().String(), MediaDir: media,
		}})
	}
	return &cluster{T: t, queue: q, media: media}
}

// do has a request done and returns the job as it ended.
func (c *cluster) do(r transcode.Request) queue.Job {
	c.Helper()
	job, _, err := c.queue.Submit(c.Context(), r)
	if err != nil {
		c.Fatal(err)
	}
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

// Every format goes all the way: from a request to what a player reads.
func TestEveryFormatIsPublished(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	data, err := os.ReadFile(makeSource(t, "a.mp4", shortClip))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.media, "a.mp4"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		output transcode.Output
		want   string
	}{
		{"stream", transcode.Output{}, "hls/stream/master.m3u8"},
		{"cmaf", transcode.Output{Container: transcode.ContainerCMAF}, "hls/cmaf/master.m3u8"},
		{"encrypted", transcode.Output{Encrypted: true}, "hls/encrypted/master.m3u8"},
		{"both", transcode.Output{Container: transcode.ContainerCMAF, Encrypted: true}, "hls/both/master.m3u8"},
		{"file", transcode.Output{Format: transcode.FormatMP4}, "mp4/file.mp4"},
		{"options", transcode.Output{Format: transcode.FormatMKV, Options: strings.Fields("-c:v mpeg4 -b:v 1M")}, "mkv/options.mkv"},
		{"whole", transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields("-c:v libx264 -preset ultrafast -vf tmix")}, "mp4/whole.mp4"},
	}
	for _, tt := range tests {
		job := c.do(transcode.Request{Source: "a.mp4", Name: tt.name, SegmentSeconds: 1, Output: tt.output})
		if job.State != queue.Done || job.Output != tt.want {
			t.Errorf("%s: job is %s at %q: %s, %q; want it done at %s", tt.name, job.State, job.Output, job.Reason, job.Stderr, tt.want)
			continue
		}
		var extensions []string
		if tt.output.Encrypted {
			extensions = []string{"-allowed_extensions", "ALL"}
		}
		for _, kind := range []string{"v", "a"} {
			args := append([]string{"-v", "error"}, extensions...)
			out := ffmpegRun(t, c.media, "ffprobe", append(args, "-select_streams", kind+":0", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", job.Output)...)
			frames := strings.Fields(strings.ReplaceAll(out, ",", " "))
			if kind == "v" && (len(frames) == 0 || frames[0] != "30") || kind == "a" && len(frames) == 0 {
				t.Errorf("%s: a player decodes %q frames of %s; want 30 of video, and audio", tt.name, out, kind)
			}
		}
	}
}
