package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/worker"
)

// A openedShare is a queue whose workers reach its media share by HTTP alone.
type openedShare struct {
	*testing.T
	*queuetest.Queue
	proxy *ShareProxy
	addr  string
	cuts  atomic.Int64 // connections that are still to be cut
	units chan queue.UnitEvent
}

func openShare(t *testing.T) *openedShare {
	t.Helper()
	l := &openedShare{T: t, units: make(chan queue.UnitEvent, 1000)}
	l.Queue = queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.OnUnit = func(e queue.UnitEvent) { l.units <- e } })
	l.proxy = &ShareProxy{
		Queue: l.Queue.Queue, MediaDir: l.MediaDir, QueueURL: l.Broker.URL(), Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_, token string) bool { return token == queuetest.Token },
	}
	server := httptest.NewUnstartedServer(l.proxy.Routes())
	server.Listener = &cutting{server.Listener, &l.cuts}
	server.Start()
	t.Cleanup(server.Close)
	l.addr = server.Listener.Addr().String()
	return l
}

// work runs a worker that does not mount the share, until the test ends.
func (l *openedShare) work() (dir string) {
	l.Helper()
	return l.workBy("")
}

// workBy runs such a worker with another program in place of ffmpeg; "" means
// ffmpeg itself.
func (l *openedShare) workBy(ffmpeg string) (dir string) {
	l.Helper()
	dir = l.TempDir()
	w := &worker.Worker{
		Config: worker.Config{Name: "pc1", Token: queuetest.Token, Daemon: l.addr, WorkDir: dir},
		Log:    slog.New(slog.NewTextHandler(l.Output(), nil)),
		FFmpeg: ffmpeg,
	}
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	l.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			l.Error(err)
		}
	})
	return dir
}

// end waits for a job's end.
func (l *openedShare) end(job int64) queue.Job {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), 5*time.Minute)
	defer cancel()
	var last queue.Job
	for state := range l.Watch(ctx, job) {
		if last = state; last.State.Ended() {
			return last
		}
	}
	l.Fatalf("job %d is %s; want it ended", job, last.State)
	return last
}

// claimed waits until a worker has claimed a unit that is no probe.
func (l *openedShare) claimed() queue.UnitEvent {
	l.Helper()
	limit := time.After(5 * time.Minute)
	for {
		select {
		case unit := <-l.units:
			if unit.Event == queue.EventClaimed && unit.Unit != "probe" {
				return unit
			}
		case <-limit:
			l.Fatal("no unit was claimed")
		}
	}
}

func (l *openedShare) submit(r transcode.Request) queue.Job {
	l.Helper()
	job, _, err := l.Submit(l.Context(), r)
	if err != nil {
		l.Fatal(err)
	}
	return job
}

// A cutting listener cuts connections in the middle of what they carry.
type cutting struct {
	net.Listener
	left *atomic.Int64
}

func (c *cutting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil || c.left.Add(-1) < 0 {
		return conn, err
	}
	cut := &cutConn{Conn: conn}
	cut.left.Store(cutAfter)
	return cut, nil
}

// cutAfter bytes, both ways together, a connection is cut.
const cutAfter = 150_000

type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) spend(n int) {
	if c.left.Add(-int64(n)) < 0 {
		c.Conn.Close()
	}
}

func (c *cutConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.spend(n)
	return n, err
}

func (c *cutConn) Write(p []byte) (int, error) {
	p2 := p[:min(int64(len(p)), max(c.left.Load(), 0)+1)]
	n, err := c.Conn.Write(p2)
	c.spend(n)
	if err == nil && n < len(p) {
		err = net.ErrClosed
	}
	return n, err
}

// makeVideo makes a video of some MB in the share.
func makeVideo(t *testing.T, file string) {
	t.Helper()
	args := "-hide_banner -loglevel error -f lavfi -i testsrc2=s=320x180:r=25:d=8 -f lavfi -i sine=440:d=8 -c:v libx264 -preset ultrafast -b:v 4M -minrate 4M -bufsize 1M -x264-params nal-hrd=cbr -c:a aac"
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", append(strings.Fields(args), file)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A worker that mounts nothing makes streams and files, although its connections
// are cut in the middle of what it reads and sends.
func TestWorkerWithoutMount(t *testing.T) {
	t.Parallel()
	l := openShare(t)
	makeVideo(t, filepath.Join(l.MediaDir, "a film & more.mp4"))
	l.cuts.Store(25)
	dir := l.work()
	for _, output := range []transcode.Output{{}, {Format: transcode.FormatMP4}, {Format: transcode.FormatMKV, Options: []string{"-t", "3"}}} {
		job := l.end(l.submit(transcode.Request{Source: "a film & more.mp4", Name: "a", SegmentSeconds: 1, Output: output}).ID)
		if job.State != queue.Done {
			t.Fatalf("%s: job is %s: %s %q; want it done", output.Format, job.State, job.Reason, job.Stderr)
		}
		if info, err := os.Stat(filepath.Join(l.MediaDir, job.Output)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v; want a file", job.Output, info, err)
		}
	}
	if left := l.cuts.Load(); left > 0 {
		t.Errorf("%d connections were not cut; want all, so that all is read and sent again", left)
	}
	left, err := filepath.Glob(filepath.Join(dir, transcode.WorkDir, "*", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%q are left, %v; want nothing", left, err)
	}
}

// A worker is lent what it has claimed, and may give back what belongs to that.
func TestLentWhatIsClaimed(t *testing.T) {
	t.Parallel()
	l := openShare(t)
	makeVideo(t, filepath.Join(l.MediaDir, "a.mp4"))
	if err := os.WriteFile(filepath.Join(l.MediaDir, "b.mp4"), []byte("another"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.work()
	job := l.submit(transcode.Request{Source: "a.mp4", Name: "a", SegmentSeconds: 1})
	unit := l.claimed()
	own := transcode.AttemptDir(job.ID, unit.Unit, unit.Attempt)
	for _, tt := range []struct {
		method, name, worker, token string
		want                        int
	}{
		{"GET", "", "pc1", queuetest.Token, 200},
		{"GET", "", "pc1", "guessed", 401},
		{"GET", "", "", "", 401},
		{"GET", "/a.mp4", "pc1", "guessed", 401},
		{"GET", "/a.mp4", "pc2", queuetest.Token, 404},
		{"GET", "/b.mp4", "pc1", queuetest.Token, 404},
		{"GET", "/hls/../a.mp4", "pc1", queuetest.Token, 404},
		{"GET", "/" + own + "/00000.ts", "pc1", queuetest.Token, 404},
		{"PUT", "/b.mp4", "pc1", queuetest.Token, 404},
		{"PUT", "/" + own + "/00000.ts", "pc2", queuetest.Token, 404},
		{"PUT", "/" + own + "/../../../00000.ts", "pc1", queuetest.Token, 404},
		{"PUT", "/" + own + "/.stream.key", "pc1", queuetest.Token, 404},
		{"PUT", "/" + transcode.AttemptDir(job.ID, unit.Unit, unit.Attempt+1) + "/00000.ts", "pc1", queuetest.Token, 404},
		{"DELETE", "/a.mp4", "pc1", queuetest.Token, 405},
	} {
		if got := l.ask(tt.method, tt.name, tt.worker, tt.token); got != tt.want {
			t.Errorf("%s %s of %q: %d; want %d", tt.method, tt.name, tt.worker, got, tt.want)
		}
	}
	if job = l.end(job.ID); job.State != queue.Done {
		t.Errorf("job is %s: %s; want it done all the same", job.State, job.Reason)
	}
	if got := l.ask("GET", "/a.mp4", "pc1", queuetest.Token); got != 404 {
		t.Errorf("the source is lent with %d after the job; want 404", got)
	}
}

// A file that comes in ends with the claim that it belongs to, also while nothing
// of it comes.
func TestUploadEndsWithItsClaim(t *testing.T) {
	t.Parallel()
	l := openShare(t)
	makeVideo(t, filepath.Join(l.MediaDir, "a.mp4"))
	l.workBy(endlessFFmpeg(t))
	job := l.submit(transcode.Request{Source: "a.mp4"})
	l.uploadUntilCancelled(job, l.claimed())
	daemon{media: l.MediaDir}.wantNoTemps(t)
}

// endlessFFmpeg returns a program that encodes without an end: the claim of a unit
// lasts until the queue ends it.
func endlessFFmpeg(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ffmpeg")
	script := `#!/bin/sh
case " $* " in *" -progress "*) exec tail -f /dev/null;; esac
exec ffmpeg "$@"
`
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// uploadUntilCancelled begins an upload without an end for a unit that is claimed,
// then cancels the job and makes sure that this ends the upload.
func (l *openedShare) uploadUntilCancelled(job queue.Job, unit queue.UnitEvent) {
	l.Helper()
	begun, answered, cancelled := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	ctx := httptrace.WithClientTrace(l.Context(), &httptrace.ClientTrace{Got100Continue: func() { close(begun) }})
	body, never := io.Pipe()
	defer never.Close()
	name := transcode.AttemptDir(job.ID, unit.Unit, unit.Attempt) + "/00000.ts"
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+l.addr+transcode.PathShare+"/"+name, body)
	if err != nil {
		l.Fatal(err)
	}
	request.SetBasicAuth("pc1", queuetest.Token)
	request.Header.Set("Expect", "100-continue")
	go func() {
		select {
		case <-begun: // it has been accepted
			cancelled <- l.Cancel(context.WithoutCancel(ctx), job.ID)
		case <-answered:
			cancelled <- nil
		}
	}()
	transport := &http.Transport{ExpectContinueTimeout: time.Hour}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	close(answered)
	if err := errors.Join(err, <-cancelled); err != nil {
		l.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusNotFound || !strings.Contains(string(text), "no attempt that pc1 has claimed") {
		l.Errorf("answered %s %s, %v; want 404, because the claim has ended", response.Status, text, err)
	}
	select {
	case <-begun:
	default:
		l.Error("the upload did not begin while the claim lasted")
	}
}

// ask asks as a worker does, and returns the status. No redirection is followed:
// Go's server sends one where a path is not clean.
func (l *openedShare) ask(method, name, worker, token string) int {
	l.Helper()
	request, err := http.NewRequestWithContext(l.Context(), method, "http://"+l.addr+transcode.PathShare, strings.NewReader("x"))
	if err != nil {
		l.Fatal(err)
	}
	request.URL.Path += name
	if worker != "" {
		request.SetBasicAuth(worker, token)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		l.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusTemporaryRedirect || response.StatusCode == http.StatusMovedPermanently {
		return http.StatusNotFound
	}
	return response.StatusCode
}

// A link that a board has put into its attempt's directory leads nowhere hidden.
func TestLentLinks(t *testing.T) {
	dir := t.TempDir()
	l := &ShareProxy{MediaDir: dir}
	write(t, filepath.Join(dir, "hls/a/.stream.key"), "secret")
	write(t, filepath.Join(dir, ".work/1/v0.1/00000.m4s"), "segment")
	write(t, filepath.Join(dir, ".work/1/publish/.stream.key"), "secret")
	for name, to := range map[string]string{
		"00001.m4s": "../../../hls/a/.stream.key", "00002.m4s": "/etc/passwd", "00003.m4s": "../publish/.stream.key", "00004.m4s": "00000.m4s",
	} {
		if err := os.Symlink(to, filepath.Join(dir, ".work/1/v0.1", name)); err != nil {
			t.Fatal(err)
		}
	}
	for number, want := range []bool{true, false, false, false, true} {
		name := fmt.Sprintf(".work/1/v0.1/0000%d.m4s", number)
		file, _, err := l.open(name)
		if (err == nil) != want {
			t.Errorf("%s: %v; want it lent: %v", name, err, want)
		}
		if err == nil {
			err = file.Close()
		}
		if err != nil && want {
			t.Error(err)
		}
	}
}

// What a video makes ffmpeg ask for reaches nobody.
func TestLentPlaylist(t *testing.T) {
	t.Parallel()
	l := openShare(t)
	var asked atomic.Int64
	bystander := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, err := io.WriteString(w, "not a segment")
		if err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}))
	defer bystander.Close()
	playlist := "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n" + bystander.URL + "/0.ts\n#EXT-X-ENDLIST\n"
	write(t, filepath.Join(l.MediaDir, "a.m3u8"), playlist)
	write(t, filepath.Join(l.MediaDir, "empty.mp4"), "")
	l.work()
	job := l.end(l.submit(transcode.Request{Source: "a.m3u8"}).ID)
	if job.State != queue.Failed || asked.Load() > 0 {
		t.Errorf("job is %s: %s, and the bystander was asked %d times; want it failed, and nobody asked", job.State, job.Reason, asked.Load())
	}
	job = l.end(l.submit(transcode.Request{Source: "empty.mp4"}).ID)
	if job.State != queue.Failed || !strings.Contains(job.Reason, "it is empty") {
		t.Errorf("job is %s: %s; want it failed because the video is empty", job.State, job.Reason)
	}
}
