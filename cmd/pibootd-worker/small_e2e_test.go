//go:build e2e

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue/queuetest"
)

// What a worker may take beside ffmpeg: a Raspberry Pi 3 has 1 GB of memory, and
// every root has a worker in it.
const (
	maxBinary = 10_000_000 // bytes
	maxMemory = 30_000_000 // bytes, at any time
)

func TestWorkerIsSmall(t *testing.T) {
	for _, arch := range []pi.Arch{pi.ARM64, pi.ARMv7, pi.ARMv6, pi.AMD64} {
		binary, err := images.Worker(arch)
		if err != nil {
			t.Fatal(err)
		}
		if len(binary) > maxBinary {
			t.Errorf("the worker for %s has %d bytes; want %d at most", arch, len(binary), maxBinary)
		}
	}
}

func TestWorkerNeedsLittleMemory(t *testing.T) {
	dir := t.TempDir()
	binary, err := images.Worker(pi.Arch(runtime.GOARCH))
	program := filepath.Join(dir, "pibootd-worker")
	if err == nil {
		err = os.WriteFile(program, binary, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	q := queuetest.Start(t, dir, nil)
	makeClip(t, filepath.Join(q.MediaDir, "clip.mp4"))
	cmd := exec.CommandContext(t.Context(), program, "--config", configFor(t, q, dir))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Wait() }) // it is killed with the test's context
	for _, output := range []transcode.Output{{}, {Container: transcode.ContainerCMAF}, {Format: transcode.FormatMP4}} {
		job, _, err := q.Submit(t.Context(), transcode.Request{Source: "clip.mp4", SegmentSeconds: 1, Output: output})
		if err != nil {
			t.Fatal(err)
		}
		waitDone(t, q, job.ID)
	}
	most := mostMemory(t, cmd.Process.Pid)
	t.Logf("the worker took %d bytes of memory at most", most)
	if most == 0 || most > maxMemory {
		t.Errorf("the worker took %d bytes of memory; want %d at most", most, maxMemory)
	}
}

// mostMemory returns the most that a process has had in memory so far.
func mostMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	if _, err := fmt.Sscanf(text, "%d kB", &kilobytes); err != nil {
		t.Fatalf("reading what process %d takes: %v", pid, err)
	}
	return kilobytes << 10
}
