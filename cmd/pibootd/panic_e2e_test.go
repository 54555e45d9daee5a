//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/timeline"
)

// A board whose root has an init that cannot start panics, and its timeline says so: with
// logs.netconsole its kernel sends its log to the last line.
func TestPanicIsOnTheTimeline(t *testing.T) {
	l := newLab(t)
	settings := filepath.Join(t.TempDir(), "pibootd.toml")
	putText(t, settings, "logs.netconsole = \"eth0\"\n")
	l.serve(t, "--config", settings)
	l.buildTemplate(t)
	l.pibootd(t, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1")
	init := filepath.Join(l.state, "roots/3333347a/sbin/init")
	if err := os.Remove(init); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", init); err != nil {
		t.Fatal(err)
	}
	watch := l.start(t, "watch", "hlspi1", "--logs")
	board := l.start(t, "rehearse", "hlspi1", "--qemu")
	<-board.ended
	watch.waitFor(t, "hlspi1  panic")
	if !containsLine(watch.text(), "hlspi1  console  [") {
		t.Errorf("watch --logs shows no line of the kernel:\n%s", watch.text())
	}
	panicIsKept(t, l)
	if err := watch.end(t, syscall.SIGINT); err != nil {
		t.Errorf("watch ends with %v; want nil", err)
	}
}

func panicIsKept(t *testing.T, l *lab) {
	t.Helper()
	panics := 0
	for event, err := range l.client.Events(t.Context(), "hlspi1") {
		if err != nil {
			t.Fatal(err)
		}
		if event.Kind == timeline.Panic && strings.Contains(event.Detail, "Kernel panic - not syncing: Attempted to kill init!") {
			panics++
		}
	}
	if panics != 1 {
		t.Errorf("%d panics are on the timeline; want one", panics)
	}
	for _, text := range []string{"Booting Linux on physical CPU", "pibootd-initramfs: starting /sbin/init", "Kernel panic - not syncing"} {
		l.waitForLog(t, text)
	}
}

// waitForLog waits until the log has a line with a text: an event is there before its line is written.
func (l *lab) waitForLog(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(labTimeout); ; <-time.After(100 * time.Millisecond) {
		lines, err := l.client.Logs(t.Context(), boardlog.Query{Board: "hlspi1", Contains: text})
		if err == nil && len(lines) > 0 {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the log has no %q (%v)", text, err)
		}
	}
}
