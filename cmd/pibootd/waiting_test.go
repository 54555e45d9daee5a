package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/registry"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

func TestWaitsFor(t *testing.T) {
	board := func(online, drained bool, mux int, encoders ...string) web.Pi {
		return web.Pi{Online: online, Worker: &queue.Worker{Online: online, Drained: drained, Hello: transcode.Hello{MuxID: mux, Encoders: encoders}}}
	}
	off, on, drained := board(false, false, 2), board(true, false, 1, "libx264"), board(true, true, 2, "libx264", "h264_v4l2m2m")
	fast := on
	fast.Settings.Labels = []string{"fast", "row1"}
	fastOff := off
	fastOff.Settings.Labels = []string{"slow"}
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
		if got := waitsFor(tt.r, tt.boards); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: it waits for %q; want %q", tt.what, got, tt.want)
		}
	}
	if got := state(drained); got != "worker online, drained" {
		t.Errorf("the state of a drained board is %q", got)
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
		{queue.Job{State: queue.Done}, false},
	} {
		if got := idle(tt.job); got != tt.want {
			t.Errorf("idle(%+v) = %v; want %v", tt.job, got, tt.want)
		}
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

// A line of the list fits a terminal, whatever is in it.
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
