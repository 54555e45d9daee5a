//go:build e2e

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/operation"
	"pibootd/pkg/web"
)

// A template that is being made when the daemon is killed is made to its end, although what makes
// it has something to say meanwhile, and the next daemon knows.
func TestTemplateOutlivesDaemon(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	tree := t.TempDir()
	putText(t, filepath.Join(tree, "etc/os-release"), "PRETTY_NAME=Tiny\n")
	tool(t, "install", "-D", "/bin/busybox", filepath.Join(tree, "sbin/init"))
	tool(t, "tar", "-C", tree, "-cf", filepath.Join(l.state, "media/tiny.tar"), ".")
	operations := filepath.Join(l.state, "operations")
	if err := os.MkdirAll(operations, 0o700); err != nil {
		t.Fatal(err)
	}
	turn, err := os.Open(operations) // another one's, so that it waits
	if err != nil {
		t.Fatal(err)
	}
	defer turn.Close()
	if err := unix.Flock(int(turn.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	op, err := l.client.MakeTemplate(t.Context(), web.NewTemplate{Name: "tiny", Recipe: operation.Import, Path: "tiny.tar", AllowMismatch: true})
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(operations, "1", "status.json") // its process has written it
	for _, err := os.Stat(status); err != nil && pause.For(t.Context(), 20*time.Millisecond); _, err = os.Stat(status) {
	}
	_ = l.daemon.end(t, syscall.SIGKILL)
	l.serve(t)
	if err := turn.Close(); err != nil { // its turn
		t.Fatal(err)
	}
	for err == nil && !op.State.Ended() && pause.For(t.Context(), 50*time.Millisecond) {
		op, err = l.client.Operation(t.Context(), op.ID)
	}
	if err != nil || op.Template != "tiny@1" {
		t.Errorf("the import is %+v, %v; want tiny@1", op, err)
	}
}
