//go:build e2e

package web

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"pibootd/pkg/access"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/trash"
	"pibootd/pkg/transcode/worker"
	"pibootd/pkg/web/browsertest"
)

// A show is a daemon's server with boards, jobs and videos to look at. Its workers
// say hello once, and how far they are, as boards do.
type show struct {
	boards, stuck int
	running       int // jobs, each of some units
	waiting, done int // jobs
	videos        int
	strangers     int
	streams       bool // live ones
	live          bool // one of them is, by a worker

	url    string
	store  *store.Store
	boot   []registry.Pi
	broker *broker.Broker
	events *timeline.Log
	queue  *queue.Queue
	server *Server
	media  string
	token  string // of an admin
}

const showToken = "the token of each worker of the show"

// open starts the server. It ends with the test.
func (s *show) open(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	s.media = filepath.Join(dir, "media")
	write(t, filepath.Join(s.media, ".keep"), "")
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	s.store, err = store.Open(ctx, filepath.Join(dir, "pibootd.db"))
	must(err)
	known, err := registry.Open(ctx, s.store)
	must(err)
	s.events, err = timeline.Open(ctx, s.store)
	must(err)
	s.events.Boards = 1000
	s.broker, err = broker.Start(broker.Options{Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "nats"), Authenticate: func(_, token string) bool { return token == showToken }})
	must(err)
	s.register(t, known)
	s.publish(t)
	must(s.store.Write(ctx, s.insertJobs))
	s.queue, err = queue.Open(ctx, queue.Options{
		Store: s.store, MediaDir: s.media, Broker: s.broker, ClaimTTL: 24 * time.Hour, HelloEvery: 24 * time.Hour,
		LiveAllow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, LiveKeys: filepath.Join(dir, "keys"),
		Labels: func(worker string) []string { return nil },
	})
	must(err)
	log := slog.New(slog.DiscardHandler)
	operations := operation.New(filepath.Join(dir, "operations"), nil, log)
	s.makeTemplates(t, operations, dir)
	roots, templates := &rootfs.Roots{Dir: filepath.Join(dir, "roots")}, &rootfs.Templates{Dir: filepath.Join(dir, "templates")}
	s.putTemplate(t, templates.Dir)
	boards := fleet.New(fleet.Fleet{
		Registry: known, Timeline: s.events, Log: log, Roots: roots, NFS: &nfs.Server{Key: make([]byte, 32)}, Disconnect: s.broker.Disconnect, Templates: templates,
		Policy: &boot.Policy{Registry: known, Timeline: s.events, Roots: roots, Log: log}, Network: netip.MustParsePrefix("10.9.0.1/16"),
	})
	s.server = &Server{
		Registry: known, Fleet: boards, Roots: roots, Templates: templates, Operations: operations, Trash: &trash.Trash{MediaDir: s.media, Keep: 168 * time.Hour, Log: log}, TrashKeep: 168 * time.Hour, Config: config.Default(), Queue: s.queue, Timeline: s.events, Log: log,
		Doctor: &doctor.Doctor{Fleet: boards, Timeline: s.events, Diagnoses: &diagnosis.Tracker{Timeline: s.events}}, Diagnoses: &diagnosis.Tracker{Timeline: s.events},
		Info:        Info{Version: "v1.0.0", MediaDir: s.media, StateDir: dir, Interface: "eth0", Network: "10.9.0.1/16", HTTPPort: 8080, RTMPPort: 1935},
		UploadToken: []byte(uploadTestToken), MaxUpload: 1 << 30, Access: access.New(s.store, time.Hour), Public: Public{Media: true, Read: true},
	}
	public, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err)
	control, err := net.Listen("unix", filepath.Join(dir, "sock"))
	must(err)
	s.url = "http://" + public.Addr().String()
	s.server.BoardLog = boardlog.New(filepath.Join(dir, "logs"))
	ran := make(chan error, 4)
	go func() { s.server.BoardLog.(*boardlog.Log).Run(ctx); ran <- nil }()
	go func() { ran <- s.events.Run(ctx) }()
	go func() { ran <- s.queue.Run(ctx) }()
	go func() { ran <- s.server.Serve(ctx, Listeners{Public: public, Control: control}) }()
	t.Cleanup(func() {
		stop()
		err := errors.Join(<-ran, <-ran, <-ran, <-ran, s.queue.Close())
		s.broker.Close()
		if err := errors.Join(err, s.store.Close()); err != nil {
			t.Error(err)
		}
	})
	s.work(t)
	if s.streams {
		s.stream(t)
	}
	s.earlierBoots()
	s.boots(known)
	s.logs(t)
	if s.boards == 12 {
		s.server.examined.Store(newExamined([]doctor.Finding{
			{Subject: "dhcp", Level: doctor.OK, Text: "no other DHCP server answers"},
			{Subject: "disk", Level: doctor.Warning, Text: "/var/lib/pibootd has 3 GB free", Todo: "pibootd stops to make roots at 2 GB; delete templates that no board uses"},
			{Subject: "nfs", Level: doctor.OK, Text: "the exports of 12 boards work"},
			{Subject: s.boot[0].Name, Level: doctor.Warning, Text: "/roots/" + s.boot[0].Serial.String() + " is refused to 10.9.0.212", Todo: "look for another DHCP server, which has answered the board"},
		}))
		s.deleteVideos(t)
	}
	_, s.token, err = s.server.Access.AddToken(ctx, "show", access.Admin)
	must(err)
}

// deleteVideos puts two files into the trash.
func (s *show) deleteVideos(t *testing.T) {
	t.Helper()
	for name, by := range map[string]string{"uploads/first cut.mp4": "admin", "mp4/holiday.mp4": "laptop"} {
		write(t, filepath.Join(s.media, name), "a video of the past")
		if _, err := s.server.Trash.Put(name, by, 734_003_200); err != nil {
			t.Fatal(err)
		}
	}
}

// stream adds live streams, which wait for their sources.
func (s *show) stream(t *testing.T) {
	t.Helper()
	for _, r := range []transcode.Request{{Name: "concert", Live: &transcode.Live{Listen: true, Keep: true}}, {Name: "yard", Source: "rtsp://192.0.2.20/stream1"}} {
		if _, err := s.queue.AddLive(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if s.live {
		s.goLive(t)
	}
}

// goLive has a worker make a live stream of a file, and waits until that can be played.
func (s *show) goLive(t *testing.T) {
	t.Helper()
	w := &worker.Worker{Config: worker.Config{Name: "desk", Token: showToken, QueueURL: s.broker.URL(), MediaDir: s.media}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=600", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50", filepath.Join(s.media, "harbour.mp4"))
	_, err := s.queue.AddLive(t.Context(), transcode.Request{Name: "harbour", Source: "harbour.mp4", Live: &transcode.Live{DVRSeconds: 600}, Output: transcode.Output{Rungs: []transcode.Rung{{Lines: 180}, {Lines: 90}}}})
	if err == nil {
		_, err = s.queue.LiveMaster(t.Context(), "harbour")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *show) register(t *testing.T, known *registry.Registry) {
	t.Helper()
	for i := range s.boards {
		serial := pi.Serial(0x10000000 + i*7919)
		settings := registry.Settings{MuxID: i + 1}
		if i%4 == 3 {
			settings.Labels = []string{"row" + fmt.Sprint(i/8+1)}
		}
		board, err := known.Add(t.Context(), registry.Pi{
			Serial: serial, MAC: pi.MAC{0xdc, 0xa6, 0x32, byte(i >> 8), byte(i), 1}, Name: fmt.Sprintf("hlspi%d", i+1), IP: netip.AddrFrom4([4]byte{10, 9, byte(1 + i/250), byte(i%250 + 1)}),
			Root: registry.Root{Template: "minimal", Version: 1 + i%2, Arch: pi.ARM64}, Settings: settings,
		}, "token")
		if err != nil {
			t.Fatal(err)
		}
		s.boot = append(s.boot, board)
		if i == 0 || i == s.boards/2 || i == s.boards-1 { // those that have a view of their own
			putBootFiles(t, filepath.Join(filepath.Dir(s.media), "roots", serial.String()))
		}
	}
	for i := range s.strangers {
		found := registry.Discovered{MAC: pi.MAC{0xd8, 0x3a, 0xdd, 0, byte(i), 9}, Serial: pi.Serial(0xab000001 + i), Model: pi.Pi5}
		if i%2 == 1 {
			found.Serial, found.Model = 0, ""
		}
		if err := known.Discover(t.Context(), found); err != nil {
			t.Fatal(err)
		}
	}
}

// bootFiles are those of a template that boots a Pi 4B.
var bootFiles = map[string]string{
	"config.txt": "arm_64bit=1\nkernel=kernel8.img\n", "start4.elf": "firmware", "fixup4.dat": "firmware", "kernel8.img": "a kernel", "bcm2711-rpi-4-b.dtb": "a device tree",
	"cmdline.txt": "console=serial0,115200 console=tty1 rootwait\n",
}

func putBootFiles(t *testing.T, root string) {
	t.Helper()
	for name, text := range bootFiles {
		write(t, filepath.Join(root, "boot/firmware", name), text)
	}
}

// putTemplate makes two versions of a template, unless nothing was done yet.
func (s *show) putTemplate(t *testing.T, dir string) {
	t.Helper()
	if s.boards == 0 && s.strangers == 0 {
		return
	}
	for version := 1; version <= 2; version++ {
		text, err := json.Marshal(rootfs.Template{Name: "minimal", Version: version, Arch: pi.ARM64, OS: "Debian GNU/Linux 13 (trixie)", Kernels: []string{"6.12.34+deb13-arm64"}, BootDir: "boot/firmware", SizeBytes: 312e6, Files: 8123, Created: time.Now().Add(-100 * time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, "minimal", fmt.Sprint(version), "template.json"), string(text))
		putBootFiles(t, filepath.Join(dir, "minimal", fmt.Sprint(version), "root"))
	}
}

// makeTemplates has a template made, as far as the page can tell.
func (s *show) makeTemplates(t *testing.T, operations *operation.Keeper, dir string) {
	t.Helper()
	for i, o := range []operation.Order{{Name: "raspios", Recipe: operation.Import, Source: "2026-11-01-raspios-trixie-arm64-lite.img.xz"}, {Name: "muxer", Recipe: operation.Debian}} {
		if s.boards != 12 {
			return
		}
		o.StateDir = dir
		if _, err := operations.Begin(o); err != nil {
			t.Fatal(err)
		}
		status := []string{`{"state": "failed", "error": "importing 2026-11-01-raspios-trixie-arm64-lite.img.xz: it has no partition with a root file system", "ended": "2026-11-30T09:00:00Z"}`, `{"state": "running", "step": "download", "done": 123456789, "total": 412345678}`}[i]
		write(t, filepath.Join(operations.Dir, fmt.Sprint(i+1), "status.json"), status)
	}
}

var films = []string{"holiday in the mountains.mp4", "Big Buck Bunny 4K.mkv", "lecture-03 transport layer.mp4", "concert.ts", "interview (raw).mov", "drone flight.mp4", "archive_1998_tape_07.avi"}

// insertJobs puts jobs into the store as an earlier run of the daemon has left them.
func (s *show) insertJobs(tx *sql.Tx) error {
	ctx := context.Background()
	now := time.Now()
	ended := func(i int) (state, reason string) {
		switch {
		case i%11 == 4:
			return "failed", "unit video-003 failed on 3 workers: ffmpeg ended with status 1: moov atom not found"
		case i%17 == 9:
			return "cancelled", ""
		}
		return "done", ""
	}
	id := 0
	insert := func(state, reason, output string, created, started, finished time.Time) error {
		id++
		source := "videos/" + films[id%len(films)]
		if id > len(films) {
			source = fmt.Sprintf("videos/season %d/episode %02d.mkv", id/24+1, id%24+1)
		}
		request, err := json.Marshal(transcode.Request{Source: source, Name: transcode.NameOf(source)})
		if err != nil {
			return err
		}
		nano := func(at time.Time) int64 { return max(0, at.UnixNano()) }
		_, err = tx.ExecContext(ctx, `INSERT INTO jobs (id, state, request, output, reason, created, started, ended, identity) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, state, string(request), output, reason, nano(created), nano(started), nano(finished), fmt.Sprint("identity of ", id))
		return err
	}
	unit := func(seq int, name, kind, state, worker string, frames, attempt int) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO units (job, unit, seq, kind, spec, frames, state, attempt, worker, tries) VALUES (?, ?, ?, ?, '{}', ?, ?, ?, ?, ?)`, id, name, seq, kind, frames, state, attempt, worker, attempt)
		if err == nil && state == "running" {
			_, err = tx.ExecContext(ctx, `INSERT INTO attempts (job, unit, attempt, worker, started) VALUES (?, ?, ?, ?, ?)`, id, name, attempt, worker, now.UnixNano())
		}
		return err
	}
	for i := range s.done {
		state, reason := ended(i)
		output := ""
		if state == "done" && i >= s.done-s.videos {
			output = fmt.Sprintf("hls/film %d", i-(s.done-s.videos)+1)
		}
		at := now.Add(-time.Duration(s.done-i) * 37 * time.Minute)
		if err := insert(state, reason, output, at.Add(-30*time.Minute), at.Add(-20*time.Minute), at); err != nil {
			return err
		}
		if err := unit(0, "probe", "probe", "done", "", 0, 1); err != nil {
			return err
		}
		if err := unit(1, "video-000", "video", "done", "", 34567, 1); err != nil {
			return err
		}
	}
	next := s.stuck // workers before it do not work
	for i := range s.running {
		if err := insert("running", "", "", now.Add(-time.Hour), now.Add(-20*time.Minute), time.Unix(0, 0)); err != nil {
			return err
		}
		units := 24 + i*16
		if err := unit(0, "probe", "probe", "done", s.worker(0), 0, 1); err != nil {
			return err
		}
		for u := range units {
			state, worker := "pending", ""
			switch {
			case u < units*(6-i%5)/8:
				state, worker = "done", s.worker(s.stuck+(u*u+u/3+i)%max(1, min(9, s.boards-s.stuck)))
			case u < units*(6-i%5)/8+4 && next < s.boards-s.boards/8:
				state, worker = "running", s.worker(next)
				next++
			}
			attempt := 0
			if state != "pending" {
				attempt = 1
			}
			if err := unit(u+1, fmt.Sprintf("video-%03d", u), "video", state, worker, 1500, attempt); err != nil {
				return err
			}
		}
		if err := unit(units+1, "audio", "audio", "done", s.worker(s.stuck), 0, 1); err != nil {
			return err
		}
	}
	for range s.waiting {
		if err := insert("queued", "", "", now.Add(-10*time.Minute), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
			return err
		}
		if err := unit(0, "probe", "probe", "pending", "", 0, 0); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) worker(i int) string {
	if i >= len(s.boot) {
		return ""
	}
	return s.boot[i].Serial.String()
}

// publish makes videos of the share: one that plays, and others like it.
func (s *show) publish(t *testing.T) {
	t.Helper()
	if s.videos == 0 {
		return
	}
	first := filepath.Join(s.media, "hls", "film 1")
	if err := os.MkdirAll(filepath.Join(first, "360p"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25:duration=4", "-f", "lavfi", "-i", "sine=440:duration=4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0", filepath.Join(first, "360p/media.m3u8"))
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=1:duration=1", "-frames:v", "1", filepath.Join(first, "poster.jpg"))
	write(t, filepath.Join(first, "master.m3u8"), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS=\"avc1.64001e,mp4a.40.2\"\n360p/media.m3u8\n")
	run(t, "ffmpeg", "-v", "error", "-i", filepath.Join(first, "360p/media.m3u8"), "-vf", "fps=1,scale=160:-2,tile=4x1", "-frames:v", "1", "-strict", "unofficial", filepath.Join(first, "scenes.jpg"))
	scenes := "WEBVTT\n"
	for i := range 4 {
		scenes += fmt.Sprintf("\n00:00:0%d.000 --> 00:00:0%d.000\n../scenes.jpg#xywh=%d,0,160,90\n", i, i+1, 160*i)
	}
	write(t, filepath.Join(first, "storyboard/index.vtt"), scenes)
	for i := 2; i <= s.videos; i++ {
		dir := filepath.Join(s.media, "hls", fmt.Sprintf("film %d", i))
		run(t, "cp", "-r", first, dir)
		if i%3 == 0 {
			if err := os.Remove(filepath.Join(dir, "poster.jpg")); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// work has the workers say hello, and how far they are.
func (s *show) work(t *testing.T) {
	t.Helper()
	jobs, err := s.queue.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	progress := map[string][]transcode.Progress{}
	for _, job := range jobs {
		if job.State != queue.Running {
			continue
		}
		if job, err = s.queue.Job(t.Context(), job.ID); err != nil {
			t.Fatal(err)
		}
		for i, u := range job.Units {
			if u.State == "running" {
				progress[u.Worker] = append(progress[u.Worker], transcode.Progress{Job: job.ID, Unit: u.ID, Attempt: u.Attempt, Frames: 300 + i*37%1100, FPS: 9.5 + float64(i%7)})
			}
		}
	}
	for i := s.stuck; i < s.boards-s.boards/8; i++ {
		s.hello(t, s.worker(i), progress[s.worker(i)])
	}
}

// hello says hello in the name of a worker, and how far it is.
func (s *show) hello(t *testing.T, name string, progress []transcode.Progress) {
	t.Helper()
	conn, err := nats.Connect(s.broker.URL(), nats.UserInfo(name, showToken), nats.CustomInboxPrefix("_INBOX."+name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func(subject string, body any) {
		text, err := json.Marshal(body)
		if err == nil {
			_, err = conn.Request(subject+"."+name, text, time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	condition := transcode.Machine{Temperature: 48.3 + float64(len(progress)*9), Load: 0.2 + float64(len(progress)*3)}
	if len(s.boot) > 6 && name == s.worker(6) {
		condition.Temperature, condition.Throttled = 81.4, 0x40000
	}
	ask(transcode.SubjectHello, transcode.Hello{Machine: condition, Protocol: transcode.Protocol, Hostname: name, Version: "v1.0.0", Arch: "arm64", FFmpeg: "7.1.1-1+rpt1", CPUs: 4, Memory: 4 << 30, Encoders: []string{"libx264", "libx265", "h264_v4l2m2m"}, Speeds: []transcode.Speed{{Encoder: "libx264", Lines: 1080, FPS: 11.4}, {Encoder: "libx264", Lines: 720, FPS: 24.1}}})
	for _, p := range progress {
		text, err := json.Marshal(p)
		if err == nil {
			err = conn.Publish(transcode.SubjectProgress+"."+name, text)
		}
		if err == nil {
			err = conn.FlushTimeout(time.Minute)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// earlierBoots records some boots of one board, one of which failed.
func (s *show) earlierBoots() {
	if s.boards < 2 {
		return
	}
	board := s.boot[s.boards/2]
	for i, took := range []int{31, 28, 30, 52, 0, 29, 27} {
		begun := time.Now().Add(-time.Duration(40-i) * time.Hour)
		record := func(kind timeline.Kind, after int) {
			s.events.Record(timeline.Event{At: begun.Add(time.Duration(after) * time.Second), Board: board.Serial.String(), Name: board.Name, Kind: kind, Addr: board.IP, MAC: board.MAC})
		}
		record(timeline.Discover, 0)
		record(timeline.Ack, 1)
		record(timeline.Mount, 9)
		if took > 0 {
			record(timeline.WorkerOnline, took)
		}
	}
}

// logs has a board log what a boot looks like.
func (s *show) logs(t *testing.T) {
	t.Helper()
	if s.boards < 2 {
		return
	}
	serial := s.boot[s.boards/2].Serial.String()
	var lines []boardlog.Line
	for i, text := range []string{
		"Booting Linux on physical CPU 0x0000000000 [0x410fd083]", "Linux version 6.12.34+deb13-arm64 (debian-kernel@lists.debian.org)", "bcmgenet fd580000.ethernet end0: Link is Up - 1Gbps/Full - flow control rx/tx",
		"VFS: Mounted root (nfs filesystem) readonly on device 0:20.", "thermal thermal_zone0: failed to read out thermal zone (-61)", "hwmon hwmon1: Undervoltage detected!",
	} {
		lines = append(lines, boardlog.Line{At: time.Now().Add(time.Duration(i-60) * time.Second), Board: serial, Source: boardlog.Netconsole, Severity: []int{6, 6, 6, 6, 4, 2}[i], Text: text})
	}
	for i := range 60 {
		lines = append(lines, boardlog.Line{At: time.Now().Add(time.Duration(i-90) * time.Second), Board: serial, Source: boardlog.Journal, Severity: 6, Program: "pibootd-worker", Text: fmt.Sprintf("unit done job=3 unit=video-%03d took=%d.%ds", i, 11+i%3, i%10)})
	}
	s.server.BoardLog.(*boardlog.Log).Add(serial, lines...)
}

// boots records what the boards have done to get there.
func (s *show) boots(known *registry.Registry) {
	for i, board := range s.boot {
		if i == 11 && s.boards == 12 {
			continue // it was never powered on
		}
		begun := time.Now().Add(-50 * time.Minute)
		kinds := []timeline.Kind{timeline.Discover, timeline.Offer, timeline.Request, timeline.Ack, timeline.File, timeline.File, timeline.Mount, timeline.WorkerOnline}
		switch {
		case i < s.stuck:
			begun, kinds = time.Now().Add(-6*time.Minute), []timeline.Kind{timeline.Discover, timeline.Offer, timeline.Request, timeline.Ack, timeline.File, timeline.File, timeline.MountRefused}
		case i >= s.boards-s.boards/8 && i%2 == 0:
			begun, kinds = time.Now().Add(-12*time.Second), kinds[:6]
		case i >= s.boards-s.boards/8:
			kinds = append(kinds, timeline.WorkerOffline)
		}
		for n, kind := range kinds {
			e := timeline.Event{At: begun.Add(time.Duration(n) * 1500 * time.Millisecond), Board: board.Serial.String(), Name: board.Name, Kind: kind, Addr: board.IP, MAC: board.MAC}
			switch kind {
			case timeline.Discover:
				e.Model = []string{"4B", "5", "3B+", "CM4"}[i%4]
			case timeline.File:
				e.File, e.Bytes, e.Took = board.Serial.String()+[]string{"/start4.elf", "/kernel8.img"}[n%2], 2_253_000, 410*time.Millisecond
			case timeline.Mount:
				e.Export = "/roots/" + board.Serial.String()
			case timeline.MountRefused:
				e.Export, e.Detail, e.Addr = "/roots/"+board.Serial.String(), "the export is for "+board.IP.String(), netip.MustParseAddr("10.9.0.212")
			}
			s.events.Record(e)
		}
	}
}

// logIn gives the tab the token of an admin.
func (s *show) logIn(p *browsertest.Page) {
	p.Helper()
	p.Go(s.url)
	p.Do("sessionStorage.setItem('pibootd-token', '" + s.token + "')")
}

// screens are what people look at the dashboard on.
var screens = map[string]browsertest.Screen{
	"light": {Width: 1440, Height: 900}, "dark": {Width: 1440, Height: 900, Dark: true}, "phone": {Width: 390, Height: 844, Phone: true}, "4k": {Width: 3840, Height: 2160},
}

// views are the addresses of what there is to see, by name.
func (s *show) views() map[string]string {
	views := map[string]string{"home": "/", "boards": "/boards", "jobs": "/jobs", "media": "/videos", "submit": "/submit"}
	if s.boards > 1 {
		views["board"], views["stuck"], views["booting"] = "/boards/"+s.boot[s.boards/2].Name, "/boards/"+s.boot[0].Name, "/boards?state=booting"
		views["job"], views["failed"], views["video"] = fmt.Sprintf("/jobs/%d", s.done+1), "/jobs?state=failed", "/videos/hls/film%201/master.m3u8"
		views["templates"], views["doctor"], views["settings"] = "/templates", "/doctor", "/settings"
		views["quiet"], views["trash"] = "/boards/"+s.boot[s.boards-1].Name, "/videos#trash"
		views["streams"], views["add-stream"] = "/streams", "/streams#add"
		if s.streams {
			views["stream"] = "/streams/concert"
		}
		if s.live {
			views["live"] = "/streams/harbour"
		}
		views["pick"] = "/submit#share"
		views["template"], views["make"] = "/templates/minimal@2", "/templates#make"
	}
	return views
}
