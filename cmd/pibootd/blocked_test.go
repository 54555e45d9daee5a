package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/registry"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

func TestBlockedReason(t *testing.T) {
	board := func(online, drained bool, mux int, encoders ...string) web.Pi {
		return web.Pi{Online: online, Worker: &queue.Worker{Online: online, Drained: drained, Hello: transcode.Hello{MuxID: mux, Encoders: encoders}}}
	}
	off, on, drained := board(false, false, 2), board(true, false, 1, "libx264"), board(true, true, 2, "libx264", "h264_v4l2m2m")
	fast := on
	fast.Settings.Labels = []string{"fast", "row1"}
	fastOff := off
	fastOff.Settings.Labels = []string{"slow"}
	locked := on
	locked.Name, locked.Worker = "hlspi3", &queue.Worker{Online: true, Hello: transcode.Hello{Locked: "ffmpeg 4.1.9 does not encode by libx264 here"}}
	hardware := transcode.Output{Encoder: "h264_v4l2m2m"}
	for _, tt := range []struct {
		what   string
		r      transcode.Request
		boards []web.Pi
		want   string
	}{
		{"no board", transcode.Request{}, nil, "no Pi is online yet"},
		{"boards that are off", transcode.Request{}, []web.Pi{{}, off}, "no Pi is online yet"},
		{"one that is on", transcode.Request{}, []web.Pi{off, on}, ""},
		{"drained", transcode.Request{}, []web.Pi{off, drained}, "drained"},
		{"locked", transcode.Request{}, []web.Pi{off, drained, locked}, "no Pi takes work right now: the video waits for one; hlspi3: ffmpeg 4.1.9 does not encode by libx264 here"},
		{"one of two locked", transcode.Request{}, []web.Pi{locked, on}, ""},
		{"pinned", transcode.Request{MuxID: 1}, []web.Pi{off, on, drained}, ""},
		{"pinned to nobody", transcode.Request{MuxID: 9}, []web.Pi{on}, "muxer id 9"},
		{"pinned to one that is drained", transcode.Request{MuxID: 2}, []web.Pi{on, drained}, "muxer id 2"},
		{"a label", transcode.Request{Labels: []string{"fast"}}, []web.Pi{on, fast}, ""},
		{"labels", transcode.Request{Labels: []string{"fast", "row1"}}, []web.Pi{on, fast}, ""},
		{"a label of nobody", transcode.Request{Labels: []string{"slow"}}, []web.Pi{on, fast}, "no Pi has the label slow: the video waits for one (pibootd edit-pi PI --label slow)"},
		{"a label, and no board", transcode.Request{Labels: []string{"slow"}}, nil, "no Pi has the label slow"},
		{"labels of two", transcode.Request{Labels: []string{"fast", "slow"}}, []web.Pi{fast, fastOff}, "no Pi has the labels fast, slow: the video waits for one (pibootd edit-pi PI --label fast --label slow)"},
		{"a label of one that is off", transcode.Request{Labels: []string{"slow"}}, []web.Pi{fast, fastOff}, "no Pi that takes work has the label slow"},
		{"a label that no muxer has", transcode.Request{Source: "videos/a.mp4", MuxID: 9, Labels: []string{"fast"}}, []web.Pi{fast}, "muxer id 9"},
		{"an encoder", transcode.Request{Output: hardware}, []web.Pi{board(true, false, 0, "h264_v4l2m2m")}, ""},
		{"an encoder of nobody", transcode.Request{Output: hardware}, []web.Pi{on, drained}, "encoder h264_v4l2m2m"},
		{"for a muxer that we do not know", transcode.Request{Source: "videos/a.mp4", MuxID: 9}, nil, ""},
		{"not for one", transcode.Request{Source: "videos/a.mp4"}, nil, "no Pi is online yet"},
	} {
		if got := blockedReason(tt.r, tt.boards); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: it waits for %q; want %q", tt.what, got, tt.want)
		}
	}
	if got := state(drained); got != "worker online, drained" {
		t.Errorf("the state of a drained board is %q", got)
	}
	if got := state(locked); got != "worker online, refuses work" {
		t.Errorf("the state of a locked board is %q", got)
	}
	var text strings.Builder
	if err := printPi(&text, locked); err != nil || !strings.Contains(text.String(), "refuses work: ffmpeg 4.1.9 does not encode") {
		t.Errorf("a locked board is shown as %q, %v; want why it refuses work", text.String(), err)
	}
}

func TestIdle(t *testing.T) {
	units := []queue.UnitState{{State: "done"}, {State: "running"}}
	for _, tt := range []struct {
		job  queue.Job
		want bool
	}{
		{queue.Job{State: queue.Queued}, true},
		{queue.Job{State: queue.Queued, Paused: true}, false},
		{queue.Job{State: queue.Running, Units: units}, false},
		{queue.Job{State: queue.Running, Units: units[:1]}, true},
		{queue.Job{State: queue.Publishing, Units: units[:1]}, false},
		{queue.Job{State: queue.Done}, false},
	} {
		if got := idle(tt.job); got != tt.want {
			t.Errorf("idle(%+v) = %v; want %v", tt.job, got, tt.want)
		}
	}
}

// Scripts read why a job waits, also in the list, which has no units.
func TestWaiting(t *testing.T) {
	at := func(job int64) []web.Pi {
		return []web.Pi{{}, {Online: true, Worker: &queue.Worker{Online: true, Job: job}}}
	}
	job := queue.Job{ID: 7, State: queue.Running, Request: transcode.Request{Labels: []string{"fast"}}}
	for _, tt := range []struct {
		job    queue.Job
		boards []web.Pi
		want   string
	}{
		{job, at(7), ""},
		{job, at(8), `"waits":"no Pi has the label fast`},
		{queue.Job{ID: 7, State: queue.Queued}, at(0), ""},
		{queue.Job{ID: 7, State: queue.Queued}, nil, `"waits":"no Pi is online yet`},
		{queue.Job{ID: 7, State: queue.Publishing}, nil, ""},
	} {
		text, err := json.Marshal(shownJob{tt.job, jobBlockedReason(tt.job, tt.boards)})
		if err != nil || !strings.Contains(string(text), `"id":7`) || strings.Contains(string(text), "waits") != (tt.want != "") || !strings.Contains(string(text), tt.want) {
			t.Errorf("a %s job with %d boards: %s, %v; want %s", tt.job.State, len(tt.boards), text, err, tt.want)
		}
	}
}

// A job for labels that no worker has is accepted, and says why it waits.
func TestTranscodeForLabels(t *testing.T) {
	q, socket := serveQueue(t, t.TempDir())
	if code, _, errs := pibootd(t, "", "add-worker", socket, "desk-pc", "--label", "fast"); code != exitDone {
		t.Fatal(errs)
	}
	hello(t, q, "desk-pc", transcode.Hello{})
	if err := os.WriteFile(filepath.Join(q.MediaDir, "a.mp4"), []byte("a video"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := pibootd(t, "", "transcode", socket, "a.mp4", "--label", "fast"); code != exitDone || errs != "" {
		t.Errorf("for a label that is there: exit %d, %q, %q; want nothing said", code, out, errs)
	}
	const nobody = "no Pi has the labels fast, slow: the video waits for one (pibootd edit-pi PI --label fast --label slow)"
	code, out, errs := pibootd(t, "", "transcode", socket, "a.mp4", "--label", "slow", "--label", "fast")
	if code != exitDone || out != "job 2; see pibootd jobs show 2\n" || errs != nobody+"\n" {
		t.Errorf("for labels that nobody has: exit %d, %q, %q; want a job and %q", code, out, errs, nobody)
	}
	if _, out, errs := pibootd(t, "", "jobs", "show", socket, "2"); !strings.Contains(out, "  labels  fast slow\n") || !strings.Contains(out, "  waits   "+nobody+"\n") {
		t.Errorf("the job is shown as %q, %q; want %q", out, errs, nobody)
	}
	_, out, errs = pibootd(t, "", "jobs", "list", socket, "--json")
	var jobs []shownJob
	if err := json.Unmarshal([]byte(out), &jobs); err != nil || len(jobs) != 2 || jobs[0].Waits != nobody || jobs[1].Waits != "" {
		t.Errorf("jobs are listed as %s, %q, %v; want the second to wait, and why", out, errs, err)
	}
}

func TestPrintJob(t *testing.T) {
	job := queue.Job{
		ID: 7, State: queue.Running, Request: transcode.Request{Source: "inbox/\x1b[2Ja.mp4"}, Note: `one worker does "all"`, Frames: 30, TotalFrames: 120, FPS: 12.4, ETA: 7400 * time.Millisecond,
		Units: []queue.UnitState{{ID: "probe", State: "done", Attempt: 1, Worker: "3333347a"}, {ID: "v-0000", State: "running", Attempt: 2, Worker: "muxer-2", Frames: 30, TotalFrames: 120, FailedOn: "3333347a", FailedWhy: "no progress for 1m0s"}},
	}
	board := web.Pi{Pi: registry.Pi{Serial: 0x3333347a, Name: "hlspi1"}}
	var out strings.Builder
	if err := printJob(&out, job, []web.Pi{board}); err != nil {
		t.Fatal(err)
	}
	const want = `job 7  running
  video   "inbox/\x1b[2Ja.mp4"
  done    25 %, 12 fps, ETA 7s
  note    one worker does "all"
  failed  v-0000 on hlspi1: no progress for 1m0s
  UNIT    STATE    ATTEMPT  WORKER   FRAMES
  probe   done     1        hlspi1   0/0
  v-0000  running  2        muxer-2  30/120
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("the job is shown so (-want +got):\n%s", diff)
	}
}

// The reason of a failure calls workers by the names of their boards, too.
func TestPrintJobNamesWhoFailed(t *testing.T) {
	job := queue.Job{ID: 7, State: queue.Failed, Reason: "whole was tried 5 times, the last time by 3333347a: ffmpeg: exit status 1"}
	board := web.Pi{Pi: registry.Pi{Serial: 0x3333347a, Name: "hlspi1"}}
	var out strings.Builder
	if err := printJob(&out, job, []web.Pi{board}); err != nil {
		t.Fatal(err)
	}
	if want := "reason  whole was tried 5 times, the last time by hlspi1: ffmpeg"; !strings.Contains(out.String(), want) {
		t.Errorf("the job is shown as %q; want %q", out.String(), want)
	}
}

// A line of the list fits a terminal, whatever its texts are.
func TestOutcome(t *testing.T) {
	for _, tt := range []struct {
		job  queue.Job
		want string
	}{
		{queue.Job{}, ""},
		{queue.Job{Output: "hls/a/master.m3u8"}, "hls/a/master.m3u8"},
		{queue.Job{Output: "hls/" + strings.Repeat("a", 20) + "/master.m3u8"}, "…aaaaaaaaaaaa/master.m3u8"},
		{queue.Job{State: queue.Failed, Reason: "bad source: it is empty"}, "bad source: it is empty"},
		{queue.Job{State: queue.Failed, Reason: "bad source: it is no video ä"}, "bad source: it is no vid…"},
		{queue.Job{State: queue.Running, Output: "a", Reason: "no space"}, "a"},
		{queue.Job{State: queue.Failed, Output: "a", Reason: "no space"}, "no space"},
	} {
		if got := outcome(tt.job, 25); got != tt.want {
			t.Errorf("outcome(%+v) = %q; want %q", tt.job, got, tt.want)
		}
	}
}
