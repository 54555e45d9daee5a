package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pibootd/pkg/access"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/boot"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/store"
	"pibootd/pkg/tftp"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/trash"
)

// Without a login the port shows what is public, and changes nothing.
func TestNobodyChangesAnything(t *testing.T) {
	d := start(t)
	for _, test := range []struct {
		method, path string
		public       int
	}{
		{"GET", "/metrics", 200},
		{"GET", "/api/v1/info", 200},
		{"GET", "/api/v1/pis", 200},
		{"GET", "/api/v1/pis/hlspi1", 200},
		{"GET", "/api/v1/pis/3333347a", 200},
		{"GET", "/api/v1/pis/nobody", 404},
		{"GET", "/api/v1/discovered", 200},
		{"GET", "/api/v1/workers", 200},
		{"GET", "/api/v1/workers/nobody", 404},
		{"POST", "/api/v1/workers", 401},
		{"DELETE", "/api/v1/workers/desk-pc", 401},
		{"GET", "/api/v1/events", 200},
		{"GET", "/api/v1/events?board=hlspi1&after=0", 200},
		{"GET", "/api/v1/events?after=x", 400},
		{"GET", "/api/v1/events?follow=maybe", 400},
		{"GET", "/api/v1/events?board=nobody", 404},
		{"GET", "/api/v1/jobs", 200},
		{"GET", "/api/v1/jobs/7", 404},
		{"GET", "/api/v1/jobs/x", 400},
		{"POST", "/api/v1/pis", 401},
		{"PATCH", "/api/v1/pis/hlspi1", 401},
		{"DELETE", "/api/v1/pis/hlspi1", 401},
		{"POST", "/api/v1/jobs", 401}, // without the token
		{"POST", "/api/v1/jobs/1/retry", 401},
		{"GET", "/", 200},
		{"GET", "/boards/hlspi1", 200},
		{"GET", "/assets/none.js", 404},
		{"GET", "/worker/v1/program/mips", 404},
		{"GET", "/nothing", 404},
		{"GET", "/api/v1/logs", 401},
		{"PUT", "/api/v1/jobs/1", 405},
		{"POST", "/api/v1/setup-link", 404},
		{"GET", "/api/v1/doctor", 401},
		{"DELETE", "/api/v1/jobs/1", 401},
	} {
		request, err := http.NewRequestWithContext(t.Context(), test.method, "http://"+d.public+test.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != test.public {
			t.Errorf("%s %s: %s, %v; want %d", test.method, test.path, response.Status, err, test.public)
		}
		var problem Problem
		spoken := strings.HasPrefix(test.path, "/api/") || strings.HasPrefix(test.path, "/worker/")
		if test.public >= 400 && spoken && (json.Unmarshal(body, &problem) != nil || problem.Error == "") {
			t.Errorf("%s %s: %q; want a problem in words", test.method, test.path, body)
		}
	}
}

// Roots that were kept of a board outlive its registration.
func TestKeptRootsOfARemovedBoard(t *testing.T) {
	d := start(t)
	roots := rootfs.Roots{Dir: filepath.Join(filepath.Dir(d.media), "roots")}
	const gone = pi.Serial(0x10000001)
	write(t, filepath.Join(roots.Path(gone), "etc/hostname"), "gone\n")
	kept, err := roots.Archive(gone, rootfs.Origin{Why: "the board was removed"})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := d.client.KeptRoots(t.Context(), gone.String()); err != nil || len(all) != 1 || all[0].Name != kept.Name {
		t.Errorf("KeptRoots = %+v, %v; want %s", all, err, kept.Name)
	}
	if _, err := d.client.RemoveKept(t.Context(), gone.String(), kept.Name); err != nil {
		t.Errorf("RemoveKept = %v", err)
	}
	if _, err := d.client.KeptRoots(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("KeptRoots of nobody = %v; want an error that names it", err)
	}
}

func TestClient(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	info, err := d.client.Info(ctx)
	if err != nil || info.Version != "test" {
		t.Errorf("Info = %+v, %v", info, err)
	}
	boards, err := d.client.Pis(ctx)
	if err != nil || len(boards) != 1 || boards[0].Name != "hlspi1" || boards[0].Online || boards[0].Last == nil {
		t.Errorf("Pis = %+v, %v; want hlspi1, offline, with its last event", boards, err)
	}
	board, err := d.client.Pi(ctx, "hlspi1")
	if err != nil || board.Boot == nil || !strings.Contains(board.Boot.CommandLine, "muxid=1") {
		t.Errorf("Pi = %+v, %v; want its command line with muxid=1", board, err)
	}
	if _, err := d.client.AddPi(ctx, fleet.Request{MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, 2}, Serial: 2}, nil); err == nil || !strings.Contains(err.Error(), "template") {
		t.Errorf("AddPi without a template = %v; want an error that speaks of templates", err)
	}
	if _, err := d.client.Submit(ctx, transcode.Request{Source: "nothing.mp4"}, false); err == nil || !strings.Contains(err.Error(), "nothing.mp4") {
		t.Errorf("Submit of nothing = %v; want an error that names it", err)
	}
	if _, err := d.client.Examine(ctx, []string{"nobody"}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("Examine of nobody = %v; want an error that names it", err)
	}
	if edited, err := d.client.EditPi(ctx, "nobody", fleet.Edit{}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("EditPi of nobody = %+v, %v; want an error that names it", edited, err)
	}
	for event, err := range d.client.Follow(ctx, "hlspi1", 0) {
		if err != nil || event.Kind != timeline.Discover {
			t.Errorf("Follow = %v, %v; want the board's DISCOVER", event, err)
		}
		break
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(d.media), "roots")); err != nil {
		t.Fatal(err)
	}
	if board, err := d.client.Pi(ctx, "hlspi1"); err != nil || board.Boot != nil || !strings.Contains(board.Problem, "opening the root of hlspi1") {
		t.Errorf("Pi without a root = %+v, %v; want it, and what is wrong", board, err)
	}
	if _, err := NewClient(filepath.Join(t.TempDir(), "none")).Info(ctx); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Info without a daemon = %v; want %v", err, ErrNotRunning)
	}
}

func TestMetrics(t *testing.T) {
	d := start(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.public+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`pibootd_boards{state="stuck"} 0`, `pibootd_jobs{state="failed"} 0`, "pibootd_workers_online 0", "pibootd_encoding_frames_per_second 0", `pibootd_free_bytes{dir="media"} `,
		`pibootd_dhcp_received_total{kind="discover"} 0`, `pibootd_dhcp_sent_total{kind="offer"} 0`,
		`pibootd_dhcp_dropped_total{reason="overload"} 0`,
		`pibootd_tftp_transfers_total{outcome="sent"} 0`, `pibootd_tftp_dropped_total{reason="overload"} 0`, "pibootd_tftp_sent_bytes_total 0", "pibootd_timeline_events_dropped_total 0",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("/metrics has no %q:\n%s", want, text)
		}
	}
}

func TestJobs(t *testing.T) {
	d := start(t)
	ctx := t.Context()
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	first, err := d.client.Submit(ctx, transcode.Request{Source: "a.mp4"}, false)
	if err != nil || first.Existed {
		t.Fatalf("Submit = %+v, %v", first, err)
	}
	if again, err := d.client.Submit(ctx, transcode.Request{Source: "a.mp4"}, false); err != nil || !again.Existed || again.Job.ID != first.Job.ID {
		t.Errorf("Submit again = %+v, %v; want the same job", again, err)
	}
	if jobs, err := d.client.Jobs(ctx); err != nil || len(jobs) != 1 {
		t.Errorf("Jobs = %+v, %v; want one", jobs, err)
	}
	high, on := queue.High, true
	if job, err := d.client.ChangeJob(ctx, first.Job.ID, queue.Change{Priority: &high, Paused: &on}); err != nil || job.Priority != high || !job.Paused {
		t.Errorf("ChangeJob = %+v, %v; want it high and paused", job, err)
	}
	if _, err := d.client.RemoveJob(ctx, first.Job.ID); err == nil {
		t.Error("a job that has not ended was removed")
	}
	if job, err := d.client.CancelJob(ctx, first.Job.ID); err != nil || job.State != queue.Cancelled {
		t.Errorf("CancelJob = %+v, %v; want it cancelled", job, err)
	}
	for job, err := range d.client.WatchJob(ctx, first.Job.ID) {
		if err != nil || job.State != queue.Cancelled {
			t.Errorf("WatchJob = %+v, %v; want it cancelled", job, err)
		}
	}
	again, err := d.client.RetryJob(ctx, first.Job.ID)
	if err != nil || again.Job.ID == first.Job.ID || again.Job.State != queue.Queued {
		t.Errorf("RetryJob = %+v, %v; want a new job", again, err)
	}
	if job, err := d.client.RemoveJob(ctx, first.Job.ID); err != nil || job.State != queue.Cancelled {
		t.Errorf("RemoveJob = %+v, %v", job, err)
	}
	if _, err := d.client.Job(ctx, 99); err == nil || !strings.Contains(err.Error(), "99") {
		t.Errorf("Job 99 = %v; want an error that names it", err)
	}
}

func TestJobWithLabels(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	request := map[string]any{"source": "a.mp4", "labels": []string{"row1", "fast"}}
	got, err := send[Submitted](t.Context(), d.client, http.MethodPost, "/api/v1/jobs", request)
	if err != nil || !slices.Equal(got.Job.Request.Labels, []string{"fast", "row1"}) {
		t.Errorf("submitted: %+v, %v; want its labels", got, err)
	}
	request["labels"] = []string{"Fast"}
	_, err = send[Submitted](t.Context(), d.client, http.MethodPost, "/api/v1/jobs", request)
	if err == nil || !strings.Contains(err.Error(), `label "Fast"; want 1 to 63 of`) {
		t.Errorf("a label that no board can have: %v; want it refused", err)
	}
}

func TestUnknownFieldsAreRefused(t *testing.T) {
	d := start(t)
	_, err := send[Submitted](t.Context(), d.client, http.MethodPost, "/api/v1/jobs", map[string]string{"sauce": "a.mp4"})
	if err == nil || !strings.Contains(err.Error(), `"sauce"`) {
		t.Errorf("a misspelt field: %v; want it named", err)
	}
}

func TestMedia(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "hls/a/master.m3u8"), "#EXTM3U\n")
	write(t, filepath.Join(d.media, ".work/1/secret.ts"), "unpublished")
	write(t, filepath.Join(d.media, "hls/.hidden/x.ts"), "hidden")
	write(t, filepath.Join(d.media, "mkv/a.mkv"), "a video")
	for name, target := range map[string]string{
		"out.ts": "/etc/hostname", "link.m3u8": "hls/a/master.m3u8", "secret.ts": ".work/1/secret.ts", "work": ".work", "link.ts": "fifo.ts",
	} {
		if err := os.Symlink(target, filepath.Join(d.media, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(d.media, "fifo.ts"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"hls/a/master.m3u8": 200, "link.m3u8": 200, "mkv/a.mkv": 200, "secret.ts": 404, "work/1/secret.ts": 404, "link.ts": 404, "hls/a/": 404, "hls/a": 404, "": 404, ".work/1/secret.ts": 404,
		"hls/.hidden/x.ts": 404, "out.ts": 404, "fifo.ts": 404, "hls/..%2f.work/1/secret.ts": 404, "%2e%2e/pibootd.db": 404,
	} {
		status, header, _ := d.ask(t, http.MethodGet, "/media/"+path, "", "")
		if status != want || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("GET /media/%s: %d, %v; want %d, for pages of all origins", path, status, header, want)
		}
		wantNoPage(t, path, header)
	}
	if status, header, _ := d.ask(t, http.MethodPut, "/media/a.ts", "", "x"); status != 405 || header.Get("Allow") != "GET, HEAD" {
		t.Errorf("PUT /media/a.ts: %d, Allow: %s; want 405 and GET, HEAD", status, header.Get("Allow"))
	}
}

// wantNoPage makes sure that nothing of the share runs as a page of this origin.
func wantNoPage(t *testing.T, path string, header http.Header) {
	t.Helper()
	if rules := header.Get("Content-Security-Policy"); !strings.HasPrefix(rules, "sandbox; default-src 'none';") || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("GET /media/%s has the rules %q and %q; want a sandbox, and nosniff", path, rules, header.Get("X-Content-Type-Options"))
	}
}

// Whatever a file of the share is called and is made of, a browser shows it only
// if there can be no script in it.
func TestMediaTypes(t *testing.T) {
	d := start(t)
	const page = "<!DOCTYPE html><script>alert(1)</script>"
	for name, want := range map[string]string{
		"a.m3u8": "application/vnd.apple.mpegurl", "a.ts": "video/mp2t", "a.m4s": "video/iso.segment", "a.mp4": "video/mp4", "A.MP4": "video/mp4",
		"a.mkv": "video/x-matroska", "a.vtt": "text/vtt; charset=utf-8", "a.srt": "application/x-subrip", "a.jpg": "image/jpeg", "a.webp": "image/webp", "a.m4a": "audio/mp4",
		"a.html": "", "a.htm": "", "a.xhtml": "", "a.svg": "", "a.xml": "", "a.mpd": "", "a.ttml": "", "a.js": "", "a.mjs": "", "a.css": "", "a.json": "", "a.pdf": "", "a.wasm": "",
		"a.swf": "", "a.txt": "", "a.key": "", "a": "", "a.mp4.html": "", "a.html.": "", "a.mht": "", "a.manifest": "",
	} {
		write(t, filepath.Join(d.media, "uploads", name), page)
		status, header, _ := d.ask(t, http.MethodGet, "/media/uploads/"+name, "", "")
		kept := ""
		if want == "" {
			want, kept = "application/octet-stream", "attachment"
		}
		if status != 200 || header.Get("Content-Type") != want || header.Get("Content-Disposition") != kept || header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d, %v; want the type %q, kept: %q", name, status, header, want, kept)
		}
		wantNoPage(t, name, header)
	}
}

// daemon is a server with one board and what it takes to reach it.
type daemon struct {
	public string // address of the public door
	secure string // the same over TLS
	client *Client
	media  string
	stop   func() // begins its end
	end    func() // ends it
	log    *boardlog.Log
}

// logged adds a line to the board's log and waits until it is there.
func (d daemon) logged(t *testing.T, text string) {
	t.Helper()
	d.log.Add("3333347a", boardlog.Line{Source: boardlog.Journal, Program: "app", Text: text})
	for line, err := range d.log.Follow(t.Context(), boardlog.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if line.Text == text {
			return
		}
	}
}

// start starts a server whose state everybody can read.
func start(t *testing.T) daemon {
	return startWith(t, func(*Server, *Listeners) {})
}

// startClosed starts a server that shows published videos, /metrics and the worker's
// program without a login, as is the default.
func startClosed(t *testing.T) daemon {
	return startWith(t, func(s *Server, _ *Listeners) { s.Public.Read = false })
}

// elsewhere is a listener whose clients are on another machine.
type elsewhere struct{ net.Listener }

func (l elsewhere) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return connFromElsewhere{conn}, err
}

type connFromElsewhere struct{ net.Conn }

func (connFromElsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, 9, 0, 7), Port: 1234}
}

// startWith starts a server that change has changed.
func startWith(t *testing.T, change func(*Server, *Listeners)) daemon {
	t.Helper()
	return startIn(t, t.TempDir(), change)
}

// startIn starts a server on what another one may have left in a directory.
func startIn(t *testing.T, dir string, change func(*Server, *Listeners)) daemon {
	t.Helper()
	d := daemon{media: filepath.Join(dir, "media"), client: NewClient(filepath.Join(dir, "sock"))}
	d.client.http.Transport = checked{d.client.http.Transport, api}
	write(t, filepath.Join(d.media, ".keep"), "")
	ctx, stop := context.WithCancel(context.Background())
	server, closeAll := newServer(t, ctx, dir, d.media)
	public, publicErr := net.Listen("tcp4", "127.0.0.1:0")
	secure, secureErr := net.Listen("tcp4", "127.0.0.1:0")
	control, controlErr := net.Listen("unix", filepath.Join(dir, "sock"))
	if err := errors.Join(publicErr, secureErr, controlErr); err != nil {
		t.Fatal(err)
	}
	d.log = server.BoardLog.(*boardlog.Log)
	d.public, d.secure, d.stop = public.Addr().String(), secure.Addr().String(), stop
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	config := &tls.Config{Certificates: certificate.TLS.Certificates}
	certificate.Close()
	listeners := Listeners{Public: public, TLS: secure, Config: config, Control: control}
	change(server, &listeners)
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listeners) }()
	d.end = sync.OnceFunc(func() {
		stop()
		if err := errors.Join(<-served, closeAll()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(d.end)
	return d
}

// newServer returns a server on real parts that run until ctx ends.
func newServer(t *testing.T, ctx context.Context, dir, media string) (server *Server, closeAll func() error) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(ctx, filepath.Join(dir, "pibootd.db"))
	must(err)
	known, err := registry.Open(ctx, s)
	must(err)
	events, err := timeline.Open(ctx, s)
	must(err)
	board, err := known.Find("hlspi1") // of an earlier start
	if err != nil {
		board, err = known.Add(ctx, registry.Pi{
			Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.9.0.192"),
			Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64}, Settings: registry.Settings{MuxID: 1},
		}, "token")
	}
	must(err)
	broker, err := broker.Start(broker.Options{Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "nats"), Authenticate: func(string, string) bool { return false }})
	must(err)
	jobs, err := queue.Open(ctx, queue.Options{Store: s, MediaDir: media, Broker: broker})
	must(err)
	roots := &rootfs.Roots{Dir: filepath.Join(dir, "roots")}
	write(t, filepath.Join(roots.Path(board.Serial), "boot/firmware/config.txt"), "")
	boards := fleet.New(fleet.Fleet{
		Registry: known, Timeline: events, Log: log, Roots: roots, NFS: &nfs.Server{Key: make([]byte, 32)}, Disconnect: broker.Disconnect, Templates: &rootfs.Templates{Dir: filepath.Join(dir, "templates")},
		Policy: &boot.Policy{Registry: known, Timeline: events, Roots: roots, Log: log}, Network: netip.MustParsePrefix("10.9.0.1/24"),
	})
	operations := operation.New(filepath.Join(dir, "operations"), func(context.Context, string) error { return errors.New("no process makes templates here") }, log)
	server = &Server{
		Access: access.New(s, time.Hour), Public: Public{Media: true, Read: true, Metrics: true, Program: true},
		Registry: known, Fleet: boards, Roots: roots, Metrics: []prometheus.Collector{DHCPMetrics(&dhcp.Server{}), TFTPMetrics(&tftp.Server{})}, Queue: jobs, Timeline: events, Doctor: &doctor.Doctor{Fleet: boards, Timeline: events, Diagnoses: &diagnosis.Tracker{Timeline: events}}, Diagnoses: &diagnosis.Tracker{Timeline: events}, Log: log, Info: Info{Version: "test", MediaDir: media, Network: "10.9.0.1/24", HTTPPort: 8080},
		Templates: boards.Templates, Operations: operations, Trash: &trash.Trash{MediaDir: media, Keep: time.Hour, Log: log},
		UploadToken: []byte(uploadTestToken), MaxUpload: uploadTestMax, Names: []string{"nas.example.org"},
	}
	lines := boardlog.New(filepath.Join(dir, "logs"))
	server.BoardLog = lines
	server.Info.StateDir = dir
	ran := make(chan error, 4)
	go func() { ran <- operations.Run(ctx) }()
	go func() { lines.Run(ctx); ran <- nil }()
	go func() { ran <- events.Run(ctx) }()
	go func() { ran <- jobs.Run(ctx) }()
	events.Record(timeline.Event{Board: board.Serial.String(), Name: board.Name, Kind: timeline.Discover})
	for event := range events.Follow(ctx, "", 0) {
		if event.Kind == timeline.Discover {
			break // it is written
		}
	}
	return server, func() error {
		err := errors.Join(<-ran, <-ran, <-ran, <-ran, jobs.Close())
		broker.Close()
		return errors.Join(err, s.Close())
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
