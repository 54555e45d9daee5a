//go:build e2e

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/web"
)

// A machine that is no Pi fetches the worker, and transcodes without mounting
// anything, also while it and the daemon are killed.
func TestOtherMachine(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	added := decode[web.AddedMachine](t, l, "add-worker", "pc1", "--label", "big")
	dir := t.TempDir()
	token, program, video, short := filepath.Join(dir, "token"), filepath.Join(dir, "pibootd-worker"), filepath.Join(dir, "a film.mp4"), filepath.Join(dir, "short.mp4")
	if err := os.WriteFile(token, []byte(added.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fetching := l.startProgram(t, "curl", "--silent", "--show-error", "--fail", "--output", program, "http://"+added.Server+web.ProgramPath+"amd64")
	<-fetching.ended
	if err := errors.Join(fetching.err, os.Chmod(program, 0o755)); err != nil {
		t.Fatal(err)
	}
	start := func() *process {
		return l.startProgram(t, program, "--server", added.Server, "--name", "pc1", "--token-file", token, "--work-dir", filepath.Join(dir, "work"))
	}
	machine := start()
	machine.waitFor(t, "worker ready")
	makeVideo(t, video, "60")
	makeVideo(t, short, "3")
	waiting := l.start(t, "transcode", video, short, "--label", "big", "--wait")
	machine.waitFor(t, "unit=v")
	machine.signal(t, syscall.SIGKILL)
	<-machine.ended
	machine = start()
	machine.waitFor(t, "unit begun")
	l.daemon.signal(t, syscall.SIGKILL)
	<-l.daemon.ended
	l.serve(t)
	waiting.waitFor(t, "hls/a film/master.m3u8")
	waiting.waitFor(t, "hls/short/master.m3u8")
	if out := l.pibootd(t, "list-workers"); !strings.Contains(out, "pc1") || !strings.Contains(out, "online") {
		t.Errorf("list-workers: %s; want pc1, online", out)
	}
	l.pibootd(t, "remove-worker", "pc1", "--yes")
	machine.waitFor(t, "queue lost")
}
