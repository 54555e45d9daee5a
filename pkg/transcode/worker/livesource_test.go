package worker

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/rtmp"
)

// newLiveSourceTest is newLiveQueue with a worker in this process.
func newLiveSourceTest(t *testing.T) *liveTest {
	t.Helper()
	l := newLiveQueue(t)
	startWorker(t, &Worker{Config: Config{Name: "a", Token: queuetest.Token, QueueURL: "nats://" + l.queue.Broker.Addr().String(), MediaDir: l.queue.MediaDir}})
	return l
}

// send has ffmpeg send the test's source as fast as it is played, again and again, until the
// test ends or it is stopped.
func (l *liveTest) send(to ...string) (stop func()) {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	source := makeSource(l.T, "live30.mp4", fmt.Sprintf(liveSource, 30))
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-v", "error", "-nostdin", "-y", "-re", "-stream_loop", "-1", "-i", source, "-c", "copy"}, to...)...)
	cmd.Stderr = l.Output()
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	stop = sync.OnceFunc(func() { cancel(); _ = cmd.Wait() })
	l.Cleanup(stop)
	return stop
}

// follow adds a stream of a source and follows it until it has some parts.
func (l *liveTest) follow(source string) {
	l.Helper()
	if _, err := l.queue.AddLive(l.Context(), transcode.Request{Source: source, Name: "show", Output: liveRungs}); err != nil {
		l.Fatal(err)
	}
	for _, rendition := range []string{"90p", transcode.AudioName} {
		f := &liveFollower{rendition: rendition}
		for range 2 {
			l.next(f)
		}
	}
	if _, err := l.queue.StopLive(l.Context(), "show"); err != nil {
		l.Fatal(err)
	}
}

// freePort returns a port of this machine that nobody has.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// An encoder that waits for a client of HTTP is a source. It is asked again until it is
// there.
func TestLiveSourceHTTP(t *testing.T) {
	t.Parallel()
	l, addr := newLiveSourceTest(t), freePort(t)
	l.send("-f", "mpegts", "-listen", "1", "http://"+addr)
	l.follow("http://" + addr + "/secret")
	for _, stream := range l.queue.Lives() {
		if strings.Contains(fmt.Sprint(stream), "secret") {
			t.Errorf("the list has %+v; want no path of the source", stream)
		}
	}
}

// A server of RTMP is a source. ffmpeg speaks to it through the daemon.
func TestLiveSourceRTMP(t *testing.T) {
	t.Parallel()
	l, addr := newLiveSourceTest(t), freePort(t)
	l.send("-f", "flv", "-listen", "1", "rtmp://"+addr+"/live/key")
	l.follow("rtmp://" + addr + "/live/key")
}

// An encoder that waits for a caller of SRT is a source, with a passphrase.
func TestLiveSourceSRT(t *testing.T) {
	t.Parallel()
	l, addr := newLiveSourceTest(t), freePort(t)
	l.send("-f", "mpegts", "srt://"+addr+"?mode=listener&passphrase=hush-hush-hush")
	l.follow("srt://" + addr + "?passphrase=hush-hush-hush&latency=100")
	for _, stream := range l.queue.Lives() {
		if strings.Contains(fmt.Sprint(stream), "hush") {
			t.Errorf("the list has %+v; want no passphrase", stream)
		}
	}
}

// A server of RTSP, such as a camera, is a source. ffmpeg speaks to it through the daemon.
func TestLiveSourceRTSP(t *testing.T) {
	t.Parallel()
	l, addr := newLiveSourceTest(t), freePort(t)
	startRTSP(t, addr)
	l.send("-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+addr+"/camera")
	l.follow("rtsp://" + addr + "/camera")
}

// startRTMP lets encoders send to the queue, and returns the URL of its streams.
func (l *liveTest) startRTMP() string {
	l.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.Fatal(err)
	}
	server := &rtmp.Server{Log: testLog(l.T), Publish: func(key string, from netip.AddrPort) (rtmp.Publication, error) { return l.queue.Publish(key, from) }}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	l.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			l.Error(err)
		}
	})
	return "rtmp://" + listener.Addr().String() + "/live/"
}

// An encoder that has the stream key sends a live stream. While it does, no other can. The
// one that comes after it continues behind a discontinuity, by the same key; by another one
// when that was renewed.
func TestLiveStreamFromAnEncoder(t *testing.T) {
	t.Parallel()
	l := newLiveSourceTest(t)
	url := l.startRTMP()
	stream, err := l.queue.AddLive(t.Context(), transcode.Request{Name: "show", Live: &transcode.Live{Listen: true}, Output: liveRungs})
	if err != nil || stream.State != "waiting" {
		t.Fatalf("the stream is %q, %v; want it waiting", stream.State, err)
	}
	key, err := l.queue.LiveKey("show", false)
	if err != nil {
		t.Fatal(err)
	}
	f := &liveFollower{rendition: "90p"}
	stop := l.send("-f", "flv", url+key)
	l.until(f, begun(0))
	if stream, err = l.queue.Live("show"); err != nil || stream.State != "live" || stream.Encoder == "" {
		t.Errorf("the stream is %s from %q, %v; want it live", stream.State, stream.Encoder, err)
	}
	if _, err := l.queue.Publish(key, netip.AddrPort{}); err == nil || !strings.Contains(err.Error(), "another encoder") {
		t.Errorf("a second encoder: %v; want it refused", err)
	}
	stop()
	l.send("-f", "flv", url+key)
	l.until(f, begun(1))
	second, err := l.queue.LiveKey("show", true)
	if err != nil || second == key {
		t.Fatalf("key %q, %v; want another one", second, err)
	}
	if _, err := l.queue.Publish(key, netip.AddrPort{}); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("the old key: %v; want it refused without the key", err)
	}
	if _, err := l.queue.Publish(second, netip.AddrPort{}); err != nil {
		t.Errorf("the new key: %v; want the encoder that had the old one disconnected", err)
	}
	if _, err := l.queue.StopLive(t.Context(), "show"); err != nil {
		t.Fatal(err)
	}
	l.until(f, ended)
	if _, err := l.queue.Publish(second, netip.AddrPort{}); err == nil {
		t.Error("a stream that has ended lets an encoder in")
	}
	info, err := os.Stat(filepath.Join(l.dir, "keys", "show.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the key is %v, %v; want 0600", info.Mode(), err)
	}
	l.wantKey(second)
}

// wantKey makes sure that a stream of the same name has the same key again.
func (l *liveTest) wantKey(want string) {
	l.Helper()
	if _, err := l.queue.AddLive(l.Context(), transcode.Request{Name: "show", Live: &transcode.Live{Listen: true}}); err != nil {
		l.Fatal(err)
	}
	if got, err := l.queue.LiveKey("show", false); got != want || err != nil {
		l.Errorf("the stream's key is %q, %v; want %q again", got, err, want)
	}
}

// What is written to a named pipe is a source.
func TestLiveSourcePipe(t *testing.T) {
	t.Parallel()
	l := newLiveSourceTest(t)
	pipe := filepath.Join(l.queue.MediaDir, "camera")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l.send("-f", "mpegts", pipe)
	l.follow("camera")
}

// What is not allowed is no source: addresses that are not listed, this machine, other
// protocols; and no redirection leads anywhere.
func TestLiveSourceRefused(t *testing.T) {
	t.Parallel()
	log := testLog(t)
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) {
		o.Log, o.LiveAllow = log, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("224.0.0.0/4")}
	})
	for source, want := range map[string]string{
		"rtmp://127.0.0.1/live/key":          "which is this machine",
		"rtmp://[::1]/live/key":              "which is this machine",
		"http://[::ffff:127.0.0.1]:8080/":    "which is this machine",
		"http://localhost/":                  "which is this machine",
		"http://198.51.100.7/a.ts":           "not allowed",
		"http://0.0.0.0:8080/":               "one other machine",
		"rtsp://224.0.0.1/a":                 "one other machine",
		"file:///etc/passwd":                 "no URL",
		"ftp://192.0.2.1/a":                  "rtmp, rtsp, srt, http or https",
		"srt://192.0.2.1":                    "port",
		"srt://192.0.2.1:9000?mode=listener": "want caller",
		"srt://192.0.2.1:9000?passphrase=a":  "passphrase",
		"concat://192.0.2.1/a":               "rtmp, rtsp, srt, http or https",
		"http://192.0.2.1:99999/":            "port",
		"http://192.0.2.1:0/":                "port",
		"http:///a":                          "no URL",
		"http://no-such-host.invalid/":       "not found",
		"rtmp://" + strings.Repeat("a", 3e3): "no URL",
		"../a":                               "not a path in the media share",
		".work/1":                            "outside pibootd's own",
		"missing.mp4":                        "no such file",
	} {
		_, err := q.AddLive(t.Context(), transcode.Request{Source: source, Name: "show"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v; want it refused: %s", source, err, want)
		}
	}
}

// A source that redirects is not followed.
func TestLiveSourceRedirects(t *testing.T) {
	t.Parallel()
	l := newLiveSourceTest(t)
	asked := make(chan string, 100)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Path:
		default:
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	if _, err := l.queue.AddLive(t.Context(), transcode.Request{Source: "http://" + listener.Addr().String() + "/first", Name: "show"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if path := <-asked; path != "/first" {
			t.Errorf("%s was asked for; want the source alone", path)
		}
	}
}
