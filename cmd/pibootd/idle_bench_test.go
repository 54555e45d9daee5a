//go:build bench

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/roottest"
)

const (
	idleBoards = 50
	idleTime   = 30 * time.Second

	// What the daemon takes when nothing happens.
	idleMemory = 60  // MB, without the pages of the program's file, which the kernel drops when it needs them
	idleCPU    = 0.5 // per cent of a core
)

// TestIdleDaemon prints what the daemon takes with fifty boards that do nothing, and fails if that is too
// much.
func TestIdleDaemon(t *testing.T) {
	l := newLab(t)
	root := filepath.Join(t.TempDir(), "root")
	roottest.Small().Make(t, root)
	l.pibootd(t, "template", "import", "tiny", root)
	l.serve(t)
	for i := range idleBoards {
		l.pibootd(t, "add-pi", "--mac", fmt.Sprintf("b8:27:eb:00:10:%02x", i), "--serial", fmt.Sprintf("%08x", 0x1000+i))
	}
	if err := l.daemon.end(t, syscall.SIGTERM); err != nil { // adding boards took memory that idling does not
		t.Fatal(err)
	}
	l.serve(t)
	pid := l.daemon.cmd.Process.Pid
	<-time.After(idleTime) // it has just started
	before := processorTime(t, pid)
	<-time.After(idleTime)
	percent := 100 * (processorTime(t, pid) - before).Seconds() / idleTime.Seconds()
	memory, own := residentMB(t, pid, "VmRSS:"), residentMB(t, pid, "RssAnon:")
	fmt.Printf("daemon with %d boards that do nothing for %v: %d MB of memory, %d without the program itself, %.2f %% of a core\n",
		idleBoards, idleTime, memory, own, percent)
	if own >= idleMemory || percent >= idleCPU {
		t.Errorf("want less than %d MB and %v %%", idleMemory, idleCPU)
	}
}

func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	const schedClock = 2 // clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func residentMB(t *testing.T, pid int, field string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rss, _ := strings.Cut(string(status), field)
	kb, err := strconv.Atoi(strings.Fields(rss)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb >> 10
}
