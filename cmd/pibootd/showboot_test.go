package main

import (
	"strings"
	"testing"
	"time"

	"pibootd/pkg/timeline"
)

func TestAskedFiles(t *testing.T) {
	var a askedFiles
	at := time.Now().Add(-time.Hour)
	for _, e := range []timeline.Event{
		{Kind: timeline.File, File: "bootcode.bin", Bytes: 1},
		{Kind: timeline.Mount},
		{Kind: timeline.Discover}, // the boot that counts
		{Kind: timeline.FileAborted, File: "a/start.elf"},
		{Kind: timeline.File, File: "a/start.elf", Bytes: 2900},
		{Kind: timeline.FileMissing, File: "a/recovery.elf"},
		{Kind: timeline.FileFailed, File: "a/kernel8.img", Detail: "no answer"},
		{Kind: timeline.Ack},
		{Kind: timeline.Mount},
		{Kind: timeline.WorkerOnline},
	} {
		at = at.Add(time.Second)
		e.At = at
		a.follow(e)
	}
	texts := func() string {
		var out []string
		for _, e := range a.files {
			out = append(out, askedText(e))
		}
		return strings.Join(out, "; ")
	}
	if got, want := texts(), "a/start.elf, 2.9 kB; a/recovery.elf, not found; a/kernel8.img: no answer"; got != want {
		t.Errorf("asked: %s; want %s", got, want)
	}
	a.over = false
	a.follow(timeline.Event{Kind: timeline.FileAborted, File: "b", At: at.Add(time.Hour)})
	if got, want := texts(), "b, only its size"; got != want {
		t.Errorf("asked after an hour: %s; want %s", got, want)
	}
}
