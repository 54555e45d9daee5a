package worker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

const shortClip = "-f lavfi -i testsrc2=s=64x64:r=10:d=3 -f lavfi -i sine=440:d=3 " + x264 + "-c:a aac"

var probeUnit = transcode.Unit{ID: "probe", Kind: transcode.KindProbe, Source: "in/a.mp4"}

// units returns the units that source, as in/a.mp4, is cut into, video first.
func units(t *testing.T, source string) []transcode.Unit {
	t.Helper()
	p, _, err := (&Worker{}).probe(t.Context(), source, newPulse(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := transcode.NewPlan(transcode.Request{Source: "in/a.mp4", SegmentSeconds: 1}, p, 0)
	if err != nil {
		t.Fatal(err)
	}
	return append(plan.Units[1:], plan.Units[0])
}

func TestWorkerDoesEveryKind(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	all := append([]transcode.Unit{probeUnit}, units(t, source)...)
	q := newTestQueue(t)
	q.claim = grant(all...)
	q.start()
	for _, u := range all {
		q.announce(transcode.LaneAny, u)
	}
	r := runWorker(t, q, source, nil)
	for _, u := range all {
		if c := wait(t, "claim", q.claims); c.Session == "" || c != (transcode.Claim{Job: 1, Unit: u.ID, Session: c.Session}) {
			t.Errorf("claim = %+v; want %s", c, u.ID)
		}
		done := wait(t, "result", q.dones)
		if done.Job != 1 || done.Unit != u.ID || done.Attempt != 1 {
			t.Errorf("done = %+v; want attempt 1 of %s", done, u.ID)
		}
		if err := transcode.Check(u, done.Result); err != nil {
			t.Error(err)
		}
		for _, s := range done.Result.Segments {
			info, err := os.Stat(filepath.Join(r.attemptDir(u.ID, 1), s.Name))
			if err != nil || info.Size() != s.SizeBytes || info.Mode() != 0o644 {
				t.Errorf("%s = %v, %v; want %d bytes for all to read", s.Name, info, err, s.SizeBytes)
			}
		}
		r.waitLog(t, "unit done")
	}
	for hello := wait(t, "hello", q.hellos); len(hello.Encoders) == 0; hello = wait(t, "hello", q.hellos) {
	}
	r.end()
	if err := wait(t, "end", r.ended); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if n := q.messages(); n != 0 {
		t.Errorf("%d work messages are left; want all acknowledged", n)
	}
}

func TestWorkerSaysWhatItCan(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.start()
	runWorker(t, q, "", func(w *Worker) { w.Boot = Boot{MuxID: 7, HWDecode: true} })
	first := wait(t, "hello", q.hellos)
	if first.Version != "test" || first.MuxID != 7 || !first.HWDecode || first.CPUs < 1 || first.Arch == "" || first.Hostname == "" {
		t.Errorf("first hello = %+v", first)
	}
	for hello := first; hello.FFmpeg == ""; {
		hello = wait(t, "hello", q.hellos)
		if hello.FFmpeg != "" && (len(hello.Encoders) == 0 || hello.Encoders[0] != "libx264") {
			t.Errorf("hello = %+v; want libx264 among the encoders", hello)
		}
	}
}

func TestWorkerRefused(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	refusals := 0
	q.claim = func(transcode.Claim) transcode.ClaimReply {
		refusals++
		return transcode.ClaimReply{Refused: "it is running", Gone: refusals == 3}
	}
	q.start()
	r := runWorker(t, q, "", nil)
	for range 3 {
		q.announce(transcode.LaneAny, probeUnit)
		wait(t, "claim", q.claims)
	}
	next := probeUnit
	next.ID = "next"
	q.announce(transcode.LaneAny, next)
	if c := wait(t, "claim", q.claims); c.Unit != next.ID {
		t.Errorf("claim = %+v; want %s", c, next.ID)
	}
	r.end()
	if err := wait(t, "end", r.ended); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if n := q.messages(); n != 0 {
		t.Errorf("%d work messages are left; want each acknowledged before the claim", n)
	}
}

// A worker with a muxer id takes its own lane's work first, and any lane's.
func TestWorkerOwnLane(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	own := probeUnit
	own.ID = "own"
	q := newTestQueue(t)
	q.claim = grant(probeUnit, own)
	q.start()
	q.announce(transcode.LaneAny, probeUnit)
	runWorker(t, q, source, func(w *Worker) { w.Boot.MuxID = 7 })
	if d := wait(t, "result", q.dones); d.Unit != probeUnit.ID {
		t.Errorf("done = %s; want %s, for the own lane is not there yet", d.Unit, probeUnit.ID)
	}
	q.openLane(transcode.MuxLane(7))
	q.announce(transcode.MuxLane(7), own)
	if d := wait(t, "result", q.dones); d.Unit != own.ID {
		t.Errorf("done = %s; want %s", d.Unit, own.ID)
	}
}

func TestWorkerStaleResult(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim, q.verdict = grant(u), transcode.Verdict{Reason: "attempt 2 is running"}
	q.start()
	q.announce(transcode.LaneAny, u)
	r := runWorker(t, q, source, nil)
	wait(t, "result", q.dones)
	r.waitLog(t, "result refused")
	r.end()
	wait(t, "end", r.ended)
	if _, err := os.Stat(r.attemptDir(u.ID, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the refused attempt's directory: %v; want it removed", err)
	}
}

func TestWorkerBadSource(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.claim = grant(probeUnit)
	q.start()
	q.announce(transcode.LaneAny, probeUnit)
	runWorker(t, q, written(t, "a.mp4", "this is not a video"), nil)
	f := wait(t, "failure", q.failures)
	if !f.Final || f.Unit != "probe" || f.Attempt != 1 || !strings.Contains(f.Reason, "not a video that ffmpeg can read") || len(f.Stderr) == 0 {
		t.Errorf("failed = %+v; want it final, and why", f)
	}
}

// Units that no queue would send must do no harm.
func TestWorkerStrangeUnits(t *testing.T) {
	t.Parallel()
	strange := []transcode.Unit{
		{ID: "bake", Kind: "bake"},
		{ID: "empty", Kind: transcode.KindVideo, Source: "in/a.mp4"},
		{ID: "out", Kind: transcode.KindProbe, Source: "../a.mp4"},
		{ID: "root", Kind: transcode.KindProbe, Source: "/etc/passwd"},
		{ID: "no-rate", Kind: transcode.KindVideo, Source: "in/a.mp4", Video: &transcode.VideoUnit{EndFrame: 1}},
	}
	q := newTestQueue(t)
	q.claim = grant(strange...)
	q.start()
	for _, u := range strange {
		q.announce(transcode.LaneAny, u)
	}
	runWorker(t, q, "", nil)
	for _, u := range strange {
		if f := wait(t, "failure", q.failures); f.Unit != u.ID || !strings.Contains(f.Reason, "not one this worker knows to do") {
			t.Errorf("failed = %+v; want %s not known", f, u.ID)
		}
	}
}

// The daemon goes away while a unit is being done, and comes back only when the
// result waits for it.
func TestWorkerOutlivesQueue(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u)
	q.start()
	q.announce(transcode.LaneAny, u)
	q.silent.Store(true)
	r := runWorker(t, q, source, nil)
	wait(t, "progress", q.progress)
	q.stop()
	q.silent.Store(false)
	r.waitLog(t, "queue does not answer subject="+transcode.SubjectDone)
	q.start()
	d := wait(t, "result", q.dones)
	if err := transcode.Check(u, d.Result); err != nil || d.Attempt != 1 {
		t.Errorf("done = %+v, %v; want the first attempt's result", d, err)
	}
	r.waitLog(t, "unit done")
	second := probeUnit
	q.claim = grant(second)
	q.announce(transcode.LaneAny, second)
	if d := wait(t, "result", q.dones); d.Unit != second.ID {
		t.Errorf("done = %s; want %s: work continues after the restart", d.Unit, second.ID)
	}
}

// A worker that is up before its server, and before it is known there.
func TestWorkerBeforeQueue(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.start()
	url := q.server.ClientURL()
	q.stop()
	w := &Worker{Config: Config{Name: testWorker, Token: testToken, QueueURL: url, MediaDir: t.TempDir()}}
	r := startWorker(t, w)
	r.waitLog(t, "queue does not answer")
	q.start()
	wait(t, "hello", q.hellos)
}

// A queue that was restarted knows nobody and gives no work to whom it does not
// know: a worker says hello as soon as it is back, and in which protocol.
func TestWorkerGreetsAQueueThatWasRestarted(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.every.Store(300) // longer than the test waits
	q.start()
	w := &Worker{Config: Config{Name: testWorker, Token: testToken, QueueURL: q.server.ClientURL(), MediaDir: t.TempDir()}}
	startWorker(t, w)
	for wait(t, "hello", q.hellos).FFmpeg == "" {
	}
	q.stop()
	for len(q.hellos) > 0 { // what it has yet said before
		<-q.hellos
	}
	q.start()
	if h := wait(t, "hello", q.hellos); h.Protocol != transcode.Protocol {
		t.Errorf("it speaks protocol %d; want %d", h.Protocol, transcode.Protocol)
	}
}

// stubborn is an ffmpeg that can all it is asked at first, and then hangs with
// a child of its own.
const stubborn = `#!/bin/sh
case "$*" in
*lavfi*) echo ffmpeg version test >&2 ;;
*" -f data "*) ;; # captions, of which there are none
*) echo frame=1; echo progress=continue; echo what a mess >&2; sleep 1000 & wait ;;
esac
`

func stubbornFFmpeg(t *testing.T) string {
	t.Helper()
	path := written(t, "ffmpeg", stubborn)
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWorkerStopped(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u)
	q.start()
	q.announce(transcode.LaneAny, u)
	r := runWorker(t, q, source, func(w *Worker) { w.FFmpeg = stubbornFFmpeg(t) })
	for p := wait(t, "progress", q.progress); p.Frames < 1; p = wait(t, "progress", q.progress) {
	}
	r.end()
	if err := wait(t, "end", r.ended); err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	if f := wait(t, "failure", q.failures); f.Final || !f.Stopped || f.Reason != "the worker was stopped" {
		t.Errorf("failed = %+v; want the claim given back", f)
	}
	if _, err := os.Stat(r.attemptDir(u.ID, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stopped attempt's directory: %v; want it removed", err)
	}
}

func TestWorkerKillsWhatStalls(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u)
	q.start()
	q.announce(transcode.LaneAny, u)
	ffmpeg := stubbornFFmpeg(t)
	runWorker(t, q, source, func(w *Worker) { w.FFmpeg, w.pace.stall = ffmpeg, time.Second })
	f := wait(t, "failure", q.failures)
	if f.Final || !strings.Contains(f.Reason, "no progress for 1s") || len(f.Stderr) != 1 || f.Stderr[0] != "what a mess" {
		t.Errorf("failed = %+v; want no progress, and what ffmpeg said", f)
	}
}

// A server that is back is found soon, and one that is not, or that lets this
// worker in no more, is not asked twice a second for ever.
func TestReconnectDelay(t *testing.T) {
	w := &Worker{}
	for n, want := range map[int]time.Duration{0: w.retryAfter(), 1: w.retryAfter(), 2: 2 * w.retryAfter(), 9: longestPause, 1 << 40: longestPause} {
		if got := w.reconnectDelay(n); got != want {
			t.Errorf("before try %d: %v; want %v", n, got, want)
		}
	}
}
