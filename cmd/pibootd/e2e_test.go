//go:build e2e

package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"

	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/virtualpi"
)

// From an empty machine to a video transcoded by a netbooted Pi, with the
// daemon killed while the Pi encodes.
func TestFromNothingToAStream(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	secondDaemonIsRefused(t, l)
	l.buildTemplate(t)
	addTwoPis(t, l)
	strangerGetsNothing(t, l)

	began := time.Now()
	console := filepath.Join(t.TempDir(), "console")
	board := l.start(t, "rehearse", "hlspi1", "--qemu", "--console", console)
	board.waitFor(t, "worker online")
	livesOnItsExport(t, l, console, began)
	doctorIsContent(t, l)
	sendsItsLog(t, l)
	reportIsWhole(t, l)
	keepsItsRootWhileItRuns(t, l)
	if _, errs, err := l.try(t, "template", "from-pi", "muxer", "hlspi1"); err == nil || !strings.Contains(errs, "hlspi1 is running") || !strings.Contains(errs, "hint: ") {
		t.Errorf("template from-pi of a board that runs: %v, %q; want it refused with a hint", err, errs)
	}

	const seconds, frames = 10, 300
	video := filepath.Join(t.TempDir(), "a video.mp4")
	makeVideo(t, video, strconv.Itoa(seconds))
	job := transcodeThroughAKill(t, l, video)
	streamIsRight(t, filepath.Join(l.state, "media", job.Output), frames, seconds)
	unitsWereDoneOnce(t, job)

	stagesInOrder(t, l, began)
	countsCalls(t, l)
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}
	if made := decode[rootfs.Template](t, l, "template", "from-pi", "muxer", "hlspi2"); made.String() != "muxer@1" || made.Arch != pi.ARM64 {
		t.Errorf("template from-pi made %+v; want muxer@1 for arm64", made)
	}
	keepsNothingWhereVolatile(t, l)
	if err := l.daemon.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("the daemon ends with %v; want nil", err)
	}
	// What a command reports when there is no daemon.
	out, errs, err := l.try(t, "doctor", "--interface", "br0")
	if err == nil || strings.Count(out, "problem ") != 1 || !strings.Contains(out, "no pibootd answers") || !strings.Contains(out, "are free") || !strings.Contains(out, "are sound") {
		t.Errorf("doctor without a daemon: %v, %q, %q; want one problem, that there is none", err, out, errs)
	}
	_, errs, err = l.try(t, "list-pis")
	if err == nil || !strings.Contains(errs, "does not answer") || !strings.Contains(errs, "hint: ") {
		t.Errorf("list-pis without a daemon: %v, %q; want it to fail with a hint", err, errs)
	}
}

// keepsNothingWhereVolatile checks that a volatile board works, and that none of
// its changes reach its root.
func keepsNothingWhereVolatile(t *testing.T, l *lab) {
	t.Helper()
	if out := l.pibootd(t, "edit-pi", "hlspi2", "--volatile"); !strings.Contains(out, "volatile false to true") {
		t.Errorf("edit-pi --volatile says %q", out)
	}
	console := filepath.Join(t.TempDir(), "console")
	board := l.start(t, "rehearse", "hlspi2", "--qemu", "--console", console)
	board.waitFor(t, "worker online")
	if text, err := os.ReadFile(console); err != nil || !strings.Contains(string(text), "changes stay in memory") {
		t.Errorf("the console of a volatile board does not say so (%v):\n%s", err, text)
	}
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}
	if out := l.pibootd(t, "drift-pi", "hlspi2"); out != "" {
		t.Errorf("drift-pi says %q; want nothing of a volatile board's root", out)
	}
}

// sendsItsLog checks that the board's worker sends the kernel's log and its own.
func sendsItsLog(t *testing.T, l *lab) {
	t.Helper()
	watch := l.start(t, "watch", "hlspi1", "--logs", "--all")
	watch.waitFor(t, "hlspi1  journal  kernel: Booting Linux on physical CPU")
	watch.waitFor(t, "hlspi1  journal  pibootd-worker: time=")
	if err := watch.end(t, syscall.SIGINT); err != nil {
		t.Errorf("watch ends with %v; want nil", err)
	}
	if out := l.pibootd(t, "watch", "hlspi1", "--logs", "--no-follow", "--grep", "BOOTING linux"); strings.Count(out, "\n") != 1 {
		t.Errorf("watch --grep shows %q; want one line", out)
	}
}

// reportIsWhole checks that a report has the requests of the board's boot, and not its token.
func reportIsWhole(t *testing.T, l *lab) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.md")
	if out := l.pibootd(t, "report", "hlspi1", "-o", file); !strings.HasPrefix(out, file+" written, ") {
		t.Errorf("report says %q", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Booting Linux on physical CPU", "dhcp from no address", hex.EncodeToString([]byte("PXEClient:Arch:00000:UNDI:002001")),
		"tftp from ", hex.EncodeToString([]byte("\x00\x013333347a/start.elf\x00octet\x00")),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	var config struct{ Token string }
	worker, err := os.ReadFile(filepath.Join(l.state, "roots/3333347a/etc/pibootd/worker.json"))
	if err == nil {
		err = json.Unmarshal(worker, &config)
	}
	if err != nil || len(config.Token) < 16 || strings.Contains(string(text), config.Token) {
		t.Errorf("the report has the worker's token %q (%v)", config.Token, err)
	}
}

// doctorIsContent checks that doctor finds nothing wrong where nothing is.
func doctorIsContent(t *testing.T, l *lab) {
	t.Helper()
	out := l.pibootd(t, "doctor")
	for _, want := range []string{"interface br0 is up", "bound on 10.77.0.1: dhcp 67, tftp 69, nfs 2049, portmap 111, queue 4222, http 8080, https 8443", "no other DHCP server answers", "/roots/3333347a mounted by 10.77.0.192, usr/bin/busybox read, a file written", "hlspi1 is up, and its worker is online.", "has never been seen."} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor says\n%s\nwant %q in it", out, want)
		}
	}
}

// keepsItsRootWhileItRuns checks that only --force replaces the root of a running
// board, and that another board's root can be replaced meanwhile.
func keepsItsRootWhileItRuns(t *testing.T, l *lab) {
	t.Helper()
	for _, command := range [][]string{
		{"reset-pi", "hlspi1"}, {"upgrade-pi", "hlspi1", "--to", "minimal"}, {"rollback-pi", "hlspi1"}, {"edit-pi", "hlspi1", "--ip", "10.77.0.199"},
	} {
		if _, errs, err := l.try(t, command...); err == nil || !strings.Contains(errs, "hlspi1 is running") {
			t.Errorf("%s: %v, %q; want it refused, as the board runs", strings.Join(command, " "), err, errs)
		}
	}
	l.pibootd(t, "reset-pi", "hlspi2")
	if out := l.pibootd(t, "kept-roots", "hlspi2"); !strings.Contains(out, "reset to minimal@1") {
		t.Errorf("kept-roots says %q; want the root from before the reset", out)
	}
	l.pibootd(t, "rollback-pi", "hlspi2")
	if out := l.pibootd(t, "drift-pi", "hlspi2"); out != "" {
		t.Errorf("drift-pi says %q; want nothing of a root that nobody used", out)
	}
}

// secondDaemonIsRefused checks that two daemons do not share a state directory.
func secondDaemonIsRefused(t *testing.T, l *lab) {
	t.Helper()
	_, errs, err := l.try(t, "serve", "--interface", "br0")
	if err == nil || !strings.Contains(errs, "in use by another pibootd") || strings.Contains(errs, "panic") {
		t.Errorf("a second daemon: %v, %q; want it refused in words", err, errs)
	}
}

func addTwoPis(t *testing.T, l *lab) {
	t.Helper()
	first := []string{"add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1", "--muxid", "1", "--muxhwdec"}
	one := decode[fleet.Added](t, l, first...)
	two := decode[fleet.Added](t, l, "add-pi", "--mac", "dc:a6:32:00:00:02", "--serial", "10000002", "--name", "hlspi2")
	if len(one.Proof) == 0 || one.Export != "/roots/3333347a" || one.Pi.IP == two.Pi.IP {
		t.Errorf("added %+v and %+v; want a proof, /roots/3333347a and two addresses", one, two)
	}
	if again := decode[fleet.Added](t, l, first...); !again.Existed || again.Pi.IP != one.Pi.IP {
		t.Errorf("adding hlspi1 again: %+v; want it to exist already", again)
	}
	if _, errs, err := l.try(t, append(first, "--ip", "10.77.0.99")...); err == nil || !strings.Contains(errs, "registered already") {
		t.Errorf("adding hlspi1 with another address: %v, %q; want it refused", err, errs)
	}
	differInIdentity(t, l)
}

// differInIdentity checks that two boards and their template have different
// identities.
func differInIdentity(t *testing.T, l *lab) {
	t.Helper()
	read := func(root, file string) string {
		text, err := os.ReadFile(filepath.Join(l.state, root, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	const one, two, template = "roots/3333347a", "roots/10000002", "templates/minimal/1/root"
	if a, b := read(one, "etc/hostname"), read(two, "etc/hostname"); a != "hlspi1" || b != "hlspi2" {
		t.Errorf("host names are %q and %q; want hlspi1 and hlspi2", a, b)
	}
	for _, file := range []string{"etc/machine-id", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ecdsa_key", "etc/pibootd/worker.json"} {
		a, b := read(one, file), read(two, file)
		if a == "" || b == "" || a == b || a == read(template, file) {
			t.Errorf("%s is empty, or the same on two boards or in the template:\n%s\n%s", file, a, b)
		}
	}
	for _, secret := range []string{"etc/ssh/ssh_host_ed25519_key", "etc/pibootd/worker.json"} {
		if info, err := os.Stat(filepath.Join(l.state, one, secret)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", secret, info.Mode(), err)
		}
	}
}

// strangerGetsNothing powers on a board that is not registered.
func strangerGetsNothing(t *testing.T, l *lab) {
	t.Helper()
	stranger := virtualpi.Board{
		Model: virtualpi.Pi4B, MAC: pi.MAC{0xdc, 0xa6, 0x32, 9, 9, 9}, Serial: 0xfeedbeef,
		Timing: virtualpi.Timing{DHCPRetry: 100 * time.Millisecond, DHCPTimeout: time.Second},
	}
	if _, err := stranger.PowerOn(t.Context(), virtualpi.Socket{Namespace: l.net, Bridge: "br0"}); !errors.Is(err, virtualpi.ErrNoOffer) {
		t.Errorf("PowerOn of an unregistered board = %v; want %v", err, virtualpi.ErrNoOffer)
	}
	found := decode[[]registry.Discovered](t, l, "list-pis", "--discovered")
	if len(found) != 1 || found[0].MAC != stranger.MAC || found[0].Serial != stranger.Serial || found[0].Model != pi.Pi4 {
		t.Errorf("discovered boards: %+v; want that one", found)
	}

	approved := decode[fleet.Added](t, l, "approve-pi", "feedbeef", "--name", "stranger")
	if approved.Pi.MAC != stranger.MAC || approved.Pi.Name != "stranger" || len(decode[[]registry.Discovered](t, l, "list-pis", "--discovered")) != 0 {
		t.Errorf("approved %+v; want that board, and none left to approve", approved.Pi)
	}
	edited := decode[fleet.Edited](t, l, "edit-pi", "stranger", "--name", "friend", "--ip", "10.77.0.99", "--muxid", "9")
	if len(edited.Changed) != 3 || edited.Pi.IP != netip.MustParseAddr("10.77.0.99") {
		t.Errorf("edited %+v; want another name, address and muxid", edited)
	}
	if served, err := stranger.PowerOn(t.Context(), virtualpi.Socket{Namespace: l.net, Bridge: "br0"}); err != nil || served.Addr.Addr() != edited.Pi.IP {
		t.Errorf("PowerOn of the approved board = %+v, %v; want it at %s", served, err, edited.Pi.IP)
	}
	l.pibootd(t, "remove-pi", "friend", "--yes")
}

// livesOnItsExport checks that what the guest sees as its root is the export.
func livesOnItsExport(t *testing.T, l *lab, console string, began time.Time) {
	t.Helper()
	text, err := os.ReadFile(console)
	if err != nil || !strings.Contains(string(text), "mounting 10.77.0.1:/roots/3333347a") {
		t.Errorf("console: %v; want the initramfs to mount /roots/3333347a:\n%s", err, text)
	}
	// Its init touches this file to get the time.
	clock, err := os.Stat(filepath.Join(l.state, "roots/3333347a/var/lib/pibootd/clock"))
	if err != nil || clock.ModTime().Before(began) {
		t.Errorf("the board's clock file: %v, %v; want it written since %v", clock, err, began)
	}
	board, err := l.client.Pi(t.Context(), "hlspi1")
	if err != nil {
		t.Fatal(err)
	}
	if board.Worker == nil || board.Worker.Hello.Hostname != "hlspi1" || board.Worker.Hello.MuxID != 1 || !board.Worker.Hello.HWDecode {
		t.Errorf("the worker says %+v; want host hlspi1, muxer 1, hardware decoding", board.Worker)
	}
}

// transcodeThroughAKill lets the board transcode a video, kills the daemon while
// the board encodes, and restarts it.
func transcodeThroughAKill(t *testing.T, l *lab, video string) queue.Job {
	t.Helper()
	waiting := l.start(t, "transcode", video, "--wait")
	id := encoding(t, l)
	if err := l.daemon.end(t, syscall.SIGKILL); err == nil {
		t.Error("the daemon was killed and says it ended well")
	}
	l.serve(t)
	if out := l.pibootd(t, "watch", "hlspi1", "--logs", "--all", "--no-follow"); !strings.Contains(out, "kernel: Booting Linux on physical CPU") {
		t.Errorf("after a kill the board's log is\n%s\nwant what it was", out)
	}
	<-waiting.ended
	if waiting.err != nil {
		t.Fatalf("transcode --wait: %v\n%s", waiting.err, waiting.text())
	}
	job, err := l.client.Job(t.Context(), id)
	if err != nil || job.State != queue.Done {
		t.Fatalf("job %d is %s (%s), %v; want it done", id, job.State, job.Reason, err)
	}
	if !strings.Contains(waiting.text(), job.Output) {
		t.Errorf("transcode --wait printed %q; want the path of %s", waiting.text(), job.Output)
	}
	return job
}

// encoding returns the number of the job when its first frames are encoded.
func encoding(t *testing.T, l *lab) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labTimeout)
	defer cancel()
	for event, err := range l.client.Follow(ctx, "hlspi1", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if event.Kind == timeline.Claimed {
			break
		}
	}
	jobs, err := l.client.Jobs(ctx)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("jobs: %+v, %v; want one", jobs, err)
	}
	for job, err := range l.client.WatchJob(ctx, jobs[0].ID) {
		if err != nil {
			t.Fatal(err)
		}
		if job.Frames > 0 && job.Frames < job.TotalFrames {
			return job.ID
		}
	}
	t.Fatal("the job ended before it was seen to encode")
	return 0
}

// unitsWereDoneOnce checks that the kill cost a pause and no work.
func unitsWereDoneOnce(t *testing.T, job queue.Job) {
	t.Helper()
	for _, unit := range job.Units {
		if unit.Attempt != 1 || unit.State != "done" {
			t.Errorf("unit %s is %s at attempt %d; want done at the first", unit.ID, unit.State, unit.Attempt)
		}
	}
}

// streamIsRight checks a published stream as a player would see it.
func streamIsRight(t *testing.T, master string, frames int, seconds float64) {
	t.Helper()
	variants, iframes, audio := readMaster(t, master)
	if len(variants) < 2 || len(iframes) != len(variants) {
		t.Errorf("%s has %d variants, %d of key frames alone; want a ladder, and as many", master, len(variants), len(iframes))
	}
	var boundaries []string
	for _, variant := range variants {
		got := ffprobe(t, variant, "-count_packets", "-select_streams", "v", "-show_entries", "stream=nb_read_packets")
		if n, err := strconv.Atoi(got[0]); err != nil || n < frames-1 || n > frames+1 {
			t.Errorf("%s has %v frames; want %d within one", variant, got, frames)
		}
		starts := strings.Join(segmentStarts(t, variant), " ")
		boundaries = append(boundaries, starts)
	}
	for _, playlist := range iframes {
		got := ffprobe(t, playlist, "-count_packets", "-select_streams", "v", "-show_entries", "stream=nb_read_packets")
		if want := strconv.Itoa(len(strings.Fields(boundaries[0]))); got[0] != want {
			t.Errorf("%s has %v frames; want %s, one of each segment", playlist, got, want)
		}
	}
	if len(slices.Compact(boundaries)) != 1 {
		t.Errorf("segments of the renditions begin at different times: %q", boundaries)
	}
	got := ffprobe(t, audio, "-show_entries", "format=duration")
	length, err := strconv.ParseFloat(got[0], 64)
	if err != nil || math.Abs(length-seconds) > 0.05 {
		t.Errorf("%s lasts %v s, %v; want %v within 0.05", audio, got, err, seconds)
	}
	if codec := ffprobe(t, audio, "-show_entries", "stream=codec_name"); codec[0] != "aac" {
		t.Errorf("%s is %v; want aac", audio, codec)
	}
}

// readMaster returns the media playlists of a master playlist: two per
// rendition, one of all frames and one of key frames, and the audio's.
func readMaster(t *testing.T, file string) (variants, iframes []string, audio string) {
	t.Helper()
	playlist, kind := readPlaylist(t, file)
	if kind != m3u8.MASTER {
		t.Fatalf("%s is no master playlist", file)
	}
	for _, variant := range playlist.(*m3u8.MasterPlaylist).Variants {
		uri := filepath.Join(filepath.Dir(file), variant.URI)
		if variant.Iframe {
			iframes = append(iframes, uri)
			continue
		}
		variants = append(variants, uri)
		for _, alternative := range variant.Alternatives {
			audio = filepath.Join(filepath.Dir(file), alternative.URI)
		}
	}
	return variants, iframes, audio
}

// segmentStarts returns when the segments of a media playlist begin, and
// checks that each begins with a key frame.
func segmentStarts(t *testing.T, file string) []string {
	t.Helper()
	playlist, kind := readPlaylist(t, file)
	if kind != m3u8.MEDIA {
		t.Fatalf("%s is no media playlist", file)
	}
	var starts []string
	for _, segment := range playlist.(*m3u8.MediaPlaylist).GetAllSegments() {
		first := ffprobe(t, filepath.Join(filepath.Dir(file), segment.URI), "-select_streams", "v", "-show_entries", "packet=pts,flags", "-read_intervals", "%+#1")
		pts, flags, _ := strings.Cut(first[0], ",")
		if !strings.HasPrefix(flags, "K") {
			t.Errorf("%s of %s begins with a packet of flags %q; want a key frame", segment.URI, file, flags)
		}
		starts = append(starts, pts)
	}
	if len(starts) < 2 {
		t.Errorf("%s has %d segments; want some", file, len(starts))
	}
	return starts
}

func readPlaylist(t *testing.T, file string) (m3u8.Playlist, m3u8.ListType) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	playlist, kind, err := m3u8.DecodeFrom(f, true)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return playlist, kind
}

// countsCalls checks that a scraper sees what the board did.
func countsCalls(t *testing.T, l *lab) {
	t.Helper()
	scrape := l.startProgram(t, "curl", "-sS", "http://10.77.0.1:8080/metrics")
	scrape.waitFor(t, `pibootd_nfs_call_seconds_count{export="/roots/3333347a",procedure="READ"}`)
}

// stagesInOrder checks that the timeline tells the whole way, in order.
func stagesInOrder(t *testing.T, l *lab, began time.Time) {
	t.Helper()
	var told []string
	for event, err := range l.client.Events(t.Context(), "hlspi1") {
		if err != nil {
			t.Fatal(err)
		}
		if event.At.Before(began) {
			continue
		}
		told = append(told, strings.TrimSpace(string(event.Kind)+" "+event.File+event.Export))
	}
	rest := told
	for _, stage := range []string{
		"discover", "offer", "file bootcode.bin", "file 3333347a/start.elf", "file 3333347a/config.txt", "file 3333347a/cmdline.txt", "file 3333347a/kernel8.img",
		"mount /roots/3333347a", "mount /media", "worker_online", "claimed", "unit_done",
	} {
		at := slices.Index(rest, stage)
		if at < 0 {
			t.Fatalf("the timeline has no %q in its place:\n%s", stage, strings.Join(told, "\n"))
		}
		rest = rest[at+1:]
	}
	// A Pi 3's boot ROM takes an offer without a request, and after it nobody asks: the address is in
	// the kernel arguments.
	if slices.Contains(told, "request") {
		t.Errorf("the board asked for a lease:\n%s", strings.Join(told, "\n"))
	}
	if units := strings.Count(strings.Join(told, "\n"), string(timeline.UnitDone)); units < 4 {
		t.Errorf("%d units were done; want the probe, two renditions and the audio", units)
	}
}
