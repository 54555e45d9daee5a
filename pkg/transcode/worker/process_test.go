package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// Names of the variables that make the test binary a daemon or a worker, which
// tests can kill without warning.
const (
	daemonDir    = "PIBOOTD_WORKER_TEST_DAEMON" // what is in it is the directory of a daemon
	workerConfig = "PIBOOTD_WORKER_TEST_CONFIG" // what is in it is the configuration of a worker
)

// progressiveMark is a file in the directory of a daemon that makes a progressive stream.
const progressiveMark = "progressive"

// qualityMark is a file in the directory of a daemon that makes a stream with a quality.
const qualityMark = "quality"

// killedRequest is what a daemon of these tests is to do.
var killedRequest = transcode.Request{Source: "a.mp4", Name: "a", SegmentSeconds: 1}

// TestProcess is no test but the processes of others. They end with the one
// that has started them.
func TestProcess(t *testing.T) {
	switch {
	case os.Getenv(daemonDir) != "":
		q := queuetest.Start(t, os.Getenv(daemonDir), func(o *queue.Options) { o.Log = stderrLog("daemon") })
		request := killedRequest
		request.Progressive = exists(filepath.Join(os.Getenv(daemonDir), progressiveMark))
		if exists(filepath.Join(os.Getenv(daemonDir), qualityMark)) {
			request.Quality = 75
		}
		if _, _, err := q.Submit(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		fmt.Println(q.Broker.Addr())
	case os.Getenv(workerConfig) != "":
		w := &Worker{}
		if err := json.Unmarshal([]byte(os.Getenv(workerConfig)), &w.Config); err != nil {
			t.Fatal(err)
		}
		w.Log = stderrLog(w.Config.Name)
		w.pace = pace{progress: 10 * time.Millisecond, retry: 10 * time.Millisecond, fetch: time.Second, refusal: 10 * time.Millisecond}
		w.FFmpeg = written(t, "ffmpeg", steadyFFmpeg)
		if err := os.Chmod(w.FFmpeg, 0o755); err != nil {
			t.Fatal(err)
		}
		go func() {
			fmt.Fprintln(os.Stderr, w.Run(t.Context()))
			os.Exit(1)
		}()
		fmt.Println("runs")
	default:
		return
	}
	io.Copy(io.Discard, os.Stdin)
}

// steadyFFmpeg encodes the same twice: with several threads libx264 keeps to a
// bitrate by how fast each happens to be.
const steadyFFmpeg = `#!/bin/bash
exec ffmpeg "${@/#open-gop=0/open-gop=0:threads=1}"
`

// A process is one that a test has started.
type process struct {
	cmd  *exec.Cmd
	says string // its first line
}

// startProcess runs the test binary with one more variable until it is killed.
// What it leaves behind then is in dir.
func startProcess(t *testing.T, dir, name, value string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcess$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), name+"="+value, "TMPDIR="+dir)
	cmd.Stderr = t.Output()
	_, err := cmd.StdinPipe() // that Wait closes
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s did not start: %q, %v", name, line, err)
	}
	p.says = strings.TrimSpace(line)
	return p
}

// kill is kill -9. Doing it twice is doing it once. The kernel kills the children, too:
// when kill returns, none of them writes any more.
func (p *process) kill() {
	if p.cmd.ProcessState != nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGSTOP) // starts no more of them
	children := p.children()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	for pid := range children {
		for name, state, _ := processStat(pid); name != "" && state != "Z"; name, state, _ = processStat(pid) {
			runtime.Gosched()
		}
	}
}

// killFFmpeg kills what the process has run ffmpeg for, and reports whether
// there was one.
func (p *process) killFFmpeg() bool {
	for pid, name := range p.children() {
		if name == "(ffmpeg)" && syscall.Kill(pid, syscall.SIGKILL) == nil {
			return true
		}
	}
	return false
}

// children returns the names of the process's children by their numbers.
func (p *process) children() map[int]string {
	list := map[int]string{}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if name, _, parent := processStat(pid); err == nil && parent == p.cmd.Process.Pid {
			list[pid] = name
		}
	}
	return list
}

// processStat returns the name of a process in parentheses, its state and its parent; "" if
// there is none.
func processStat(pid int) (name, state string, parent int) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // 123 (ffmpeg) S 122 …
	fields := strings.Fields(string(stat))
	if err != nil || len(fields) < 4 {
		return "", "", 0
	}
	parent, _ = strconv.Atoi(fields[3])
	return fields[1], fields[2], parent
}
