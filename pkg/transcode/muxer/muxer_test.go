package muxer

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A bench is a handler on a real queue.
type bench struct {
	*Handler
	t     *testing.T
	url   string
	media string
}

func start(t *testing.T) *bench {
	t.Helper()
	q := queuetest.Open(t, t.TempDir(), nil)
	b := &bench{t: t, media: q.MediaDir}
	b.Handler = &Handler{Queue: q.Queue, MediaDir: q.MediaDir, Allowed: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Log: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(b.Routes())
	b.url = server.URL
	t.Cleanup(server.Close)
	return b
}

// submit hands in a video of the muxers' directory.
func (b *bench) submit(source string) int64 {
	b.t.Helper()
	b.write(source, "a video")
	job, _, err := b.Queue.Submit(b.t.Context(), transcode.Request{Source: source, Output: transcode.Output{Ladder: transcode.PresetAuthor}})
	if err != nil {
		b.t.Fatal(err)
	}
	return job.ID
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	file := filepath.Join(b.media, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// post says something as a muxer does: python's urllib sends no type with no body.
func (b *bench) post(path string, form url.Values) (int, reply) {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.url+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Host = "videobackend"
	return b.do(r)
}

func (b *bench) do(r *http.Request) (int, reply) {
	b.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var answer reply
	text, err := io.ReadAll(response.Body)
	if err == nil && strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		b.t.Fatalf("%s: %q, %v", r.URL, text, err)
	}
	return response.StatusCode, answer
}

func (b *bench) want(path string, form url.Values, status int, says string) reply {
	b.t.Helper()
	got, answer := b.post(path, form)
	if got != status || answer.Status != says {
		b.t.Errorf("POST %s: %d %+v; want %d %q", path, got, answer, status, says)
	}
	return answer
}

func TestMuxerDoesAVideo(t *testing.T) {
	b := start(t)
	b.want("/muxer/1", nil, 200, "empty")
	id := b.submit("videos/a b/film.mp4")
	answer := b.want("/muxer/1", nil, 200, "job")
	if answer.Job == nil || answer.Job.ID != id || answer.Job.Path != "a b/film.mp4" {
		t.Fatalf("job = %+v; want number %d, a b/film.mp4", answer.Job, id)
	}
	b.want("/muxer/2", nil, 200, "empty")
	b.want("/muxer/complete/1/1", nil, 422, "error") // nothing is there: given back
	if answer := b.want("/muxer/1", nil, 200, "job"); answer.Job.ID != id {
		t.Fatalf("job = %+v; want number %d again", answer.Job, id)
	}
	b.want("/muxer/inprocess/1/1", nil, 200, "ok")
	b.want("/muxer/inprocess/2/1", nil, 409, "error")
	b.stream("videos/a b/film.mp4.hls")
	b.want("/muxer/complete/2/1", nil, 409, "error")
	b.want("/muxer/complete/1/1", nil, 200, "ok")
	b.want("/muxer/complete/1/1", nil, 200, "ok") // our answer was lost
	b.want("/muxer/failed/1/1", url.Values{"reason": {"FFmpegErr"}}, 409, "error")
	job, err := b.Queue.Job(t.Context(), id)
	if err != nil || job.State != queue.Done || job.Output != "videos/a b/film.mp4.hls/manifest_master.m3u8" {
		t.Errorf("job = %+v, %v; want done", job, err)
	}
}

// stream makes what HLS-Stream-Creator does.
func (b *bench) stream(dir string) {
	b.t.Helper()
	b.write(dir+"/manifest_master.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:PROGRAM-ID=1,BANDWIDTH=200000\nmanifest_200.m3u8\n#EXT-X-STREAM-INF:PROGRAM-ID=1,BANDWIDTH=100000\nmanifest_100.m3u8\n")
	for _, rate := range []string{"200", "100"} {
		segments := filepath.Join(b.media, dir, "media_"+rate+"_%05d.ts")
		out, err := exec.CommandContext(b.t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=10:duration=2",
			"-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-b:v", rate+"k", "-f", "segment", "-segment_time", "1", "-segment_list_type", "m3u8",
			"-segment_list", filepath.Join(b.media, dir, "manifest_"+rate+".m3u8"), "-segment_format", "mpegts", segments).CombinedOutput()
		if err != nil {
			b.t.Fatalf("ffmpeg: %v\n%s", err, out)
		}
	}
}

func TestMuxerFails(t *testing.T) {
	b := start(t)
	id := b.submit("videos/a.mkv")
	b.want("/muxer/1", nil, 200, "job")
	b.want("/muxer/inprocess/1/1", nil, 200, "ok")
	b.want("/muxer/failed/1/1", url.Values{"reason": {"CantGetBitRate"}}, 200, "ok")
	for range 4 {
		b.want("/muxer/1", nil, 200, "job")
		b.want("/muxer/failed/1/1", url.Values{"reason": {"CantGetBitRate\xff"}}, 200, "ok")
	}
	job, err := b.Queue.Job(t.Context(), id)
	if err != nil || job.State != queue.Failed || !strings.Contains(job.Reason, "CantGetBitRate") {
		t.Errorf("job = %+v, %v; want it failed with the muxer's reason", job, err)
	}
}

func TestWhatMuxersAreGiven(t *testing.T) {
	author := transcode.Output{Ladder: transcode.PresetAuthor}
	encrypted := author
	encrypted.Encrypted = true
	for _, test := range []struct {
		name string
		r    transcode.Request
		want bool
	}{
		{"author's ladder", transcode.Request{Source: "videos/a.mp4", Output: author}, true},
		{"elsewhere", transcode.Request{Source: "inbox/a.mp4", Output: author}, false},
		{"in a stream", transcode.Request{Source: "videos/a.mp4.hls/b.mp4", Output: author}, false},
		{"our ladder", transcode.Request{Source: "videos/a.mp4"}, false},
		{"our ladder, pinned", transcode.Request{Source: "videos/a.mp4", MuxID: 1}, true},
		{"encrypted", transcode.Request{Source: "videos/a.mp4", MuxID: 1, Output: encrypted}, false},
		{"a file", transcode.Request{Source: "videos/a.mp4", MuxID: 1, Output: transcode.Output{Format: transcode.FormatMP4}}, false},
		{"h265", transcode.Request{Source: "videos/a.mp4", MuxID: 1, Output: transcode.Output{Codec: transcode.CodecH265}}, false},
	} {
		if got := fits(test.r, 1); got != test.want {
			t.Errorf("%s: %v; want %v", test.name, got, test.want)
		}
	}
}

// Originals are none of a muxer's business, its own job's neither.
func TestTidy(t *testing.T) {
	b := start(t)
	id := b.submit("videos/a.mp4")
	b.want("/muxer/1", nil, 200, "job")
	b.stream("videos/a.mp4.hls")
	b.want(fmt.Sprintf("/muxer/complete/1/%d", id), nil, 200, "ok")
	b.want("/tidy/1", nil, 200, "empty")
	b.want(fmt.Sprintf("/tidy/complete/1/%d", id), nil, 409, "error")
	b.want("/tidy/complete/1/99", nil, 409, "error")
}

func TestHostileCalls(t *testing.T) {
	b := start(t)
	for _, path := range []string{
		"/muxer/0", "/muxer/-1", "/muxer/x", "/muxer/1e3", "/muxer/99999999999999999999", "/muxer/1048577", "/muxer/%00", "/muxer/..%2f1",
		"/muxer/complete/1/0", "/muxer/complete/1/x", "/muxer/complete/x/1", "/muxer/failed/1/-1", "/muxer/failed/1/9223372036854775808",
		"/tidy/x", "/tidy/complete/1/x",
	} {
		if got, answer := b.post(path, nil); got != 400 || answer.Error == "" {
			t.Errorf("POST %s: %d %+v; want 400 and why", path, got, answer)
		}
	}
	for _, path := range []string{"/muxer/", "/muxer/1/2", "/muxer/stolen/1/2", "/muxer/complete/1/2/3", "/tidy/", "/tidy/1/2"} {
		if got, _ := b.post(path, nil); got != 404 {
			t.Errorf("POST %s: %d; want 404", path, got)
		}
	}
	b.want("/muxer/complete/1/1", nil, 409, "error")
	b.want("/muxer/failed/1/1", url.Values{"reason": {strings.Repeat("x", maxBody)}}, 400, "error")
	b.want("/muxer/failed/1/1", url.Values{"reason": {"%zz"}, "job": {"2"}}, 409, "error")
}

// A browser on a muxer's machine, and everybody else, is not heard.
func TestWhoIsHeard(t *testing.T) {
	b := start(t)
	b.submit("videos/a.mp4")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/muxer/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", "https://evil.example")
	if got, _ := b.do(r); got != 403 {
		t.Errorf("a page of another origin: %d; want 403", got)
	}
	get, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/muxer/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := b.do(get); got != 405 {
		t.Errorf("GET: %d; want 405", got)
	}
	b.Allowed = []netip.Addr{netip.MustParseAddr("127.0.0.2")}
	b.want("/muxer/1", nil, 403, "error")
}
