package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/worker"
)

// livePatience is how long a test waits for what a loaded machine does in the end.
const livePatience = 3 * time.Minute

// startLive starts a server whose queue has two workers, and returns the address of its
// port and its media share.
func startLive(t *testing.T) (d daemon, media string) {
	t.Helper()
	q := queuetest.Start(t, t.TempDir(), nil)
	for i := range 2 {
		w := &worker.Worker{Config: worker.Config{Name: fmt.Sprintf("w%d", i), Token: queuetest.Token, QueueURL: "nats://" + q.Broker.Addr().String(), MediaDir: q.MediaDir}}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan error, 1)
		go func() { ran <- w.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ran; err != nil {
				t.Error(err)
			}
		})
	}
	return startWith(t, func(s *Server, _ *Listeners) { s.Queue = q.Queue }), q.MediaDir
}

// makeLiveSource makes a video of this many seconds, with a key frame every other second
// and sound.
func makeLiveSource(t *testing.T, file string, seconds int) {
	t.Helper()
	args := fmt.Sprintf("-v error -f lavfi -i testsrc2=s=320x180:r=25:d=%[1]d -f lavfi -i sine=440:r=48000:d=%[1]d -c:v libx264 -preset ultrafast -g 50 -c:a aac", seconds)
	if out, err := exec.Command("ffmpeg", append(strings.Fields(args), file)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
}

// What of a live source's URL may be secret is in no list, no job and not in the audit log.
// The key of a stream that listens is for the admin.
func TestStreamSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	q := queuetest.Start(t, dir, func(o *queue.Options) {
		o.LiveAllow, o.LiveKeys = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, filepath.Join(dir, "keys")
	})
	d := startWith(t, func(s *Server, _ *Listeners) {
		s.Queue, s.Info.Network, s.Info.RTMPPort = q.Queue, "192.0.2.9/24", 1935
	})
	if _, err := d.client.AddStream(t.Context(), transcode.Request{Source: "rtsp://me:hush@192.0.2.1/hush", Name: "camera"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.AddStream(t.Context(), transcode.Request{Name: "obs", Live: &transcode.Live{Listen: true}}); err != nil {
		t.Fatal(err)
	}
	key, err := d.client.StreamKey(t.Context(), "obs", false)
	if err != nil || len(key.Key) < 20 || key.RTMP != "rtmp://192.0.2.9:1935/live" {
		t.Fatalf("the key is %+v, %v; want one, and where to send", key, err)
	}
	if _, err := d.client.StreamKey(t.Context(), "camera", false); err == nil || !strings.Contains(err.Error(), "does not listen") {
		t.Errorf("the key of a camera: %v; want none", err)
	}
	for _, path := range []string{"/api/v1/streams", "/api/v1/streams/obs", "/api/v1/jobs", "/api/v1/jobs/1", "/api/v1/jobs/2", "/api/v1/audit"} {
		text, err := get[json.RawMessage](t.Context(), d.client, path)
		if err != nil || strings.Contains(string(text), "hush") || strings.Contains(string(text), key.Key) {
			t.Errorf("%s: %v: %s; want no secret", path, err, text)
		}
	}
}

// A player that knows nothing of pibootd has a whole live stream, without a frame lost,
// from its beginning to its end.
func TestLiveStreamIsPlayed(t *testing.T) {
	t.Parallel()
	d, media := startLive(t)
	makeLiveSource(t, filepath.Join(media, "a.mp4"), 8)
	live, err := d.client.AddStream(t.Context(), transcode.Request{
		Source: "a.mp4", Name: "the show", Live: &transcode.Live{}, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 180}, {Lines: 90}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.mkv")
	ctx, cancel := context.WithTimeout(t.Context(), livePatience)
	defer cancel()
	play := exec.CommandContext(ctx, "ffmpeg", "-v", "warning", "-nostdin", "-live_start_index", "0", "-i", "http://"+d.public+live.URL, "-map", "0:v:0", "-map", "0:a:0", "-c", "copy", copied)
	out, err := play.CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg as a player: %v: %s", err, out)
	}
	if stream, err := get[LiveStream](t.Context(), d.client, "/api/v1/streams/the%20show"); err != nil || stream.Viewers != 1 {
		t.Errorf("%d watch the stream, %v; want the player", stream.Viewers, err)
	}
	frames, err := exec.Command("ffprobe", "-v", "error", "-count_packets", "-select_streams", "v", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", copied).Output()
	if got := strings.TrimSpace(string(frames)); err != nil || got != "200" {
		t.Errorf("%s frames were played, %v; want 200\n%s", got, err, out)
	}
	t.Logf("%s", out)
	response, err := http.Get("http://" + d.public + "/live/the%20show/180p/index.m3u8")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if !strings.HasSuffix(string(text), "#EXT-X-ENDLIST\n") || err != nil {
		t.Errorf("in the end the playlist is %v\n%s; want it to end", err, text)
	}
}
