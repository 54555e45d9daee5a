package main

import (
	"slices"
	"testing"

	"pibootd/pkg/transcode/queue"
)

// A muxer of the older pool fails at the whole video, although its unit is the
// probe.
func TestFailuresSayWhatFailed(t *testing.T) {
	job := queue.Job{State: queue.Queued, Units: []queue.UnitState{
		{ID: "probe", FailedOn: "muxer-1-10-0-0-5", FailedWhy: "FFmpegErr"},
		{ID: "c1", FailedOn: "3333347a", FailedWhy: "exit status 1"},
		{ID: "probe", FailedOn: "pc", FailedWhy: "exit status 1"},
	}}
	got := failures(job, map[string]string{"3333347a": "hlspi1"})
	want := []string{"the whole video on muxer-1-10-0-0-5: FFmpegErr", "c1 on hlspi1: exit status 1", "probe on pc: exit status 1"}
	if !slices.Equal(got, want) {
		t.Errorf("failures = %q; want %q", got, want)
	}
}
