//go:build e2e

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/skew"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/worker"
)

// A board has no clock of its own: until somebody tells it, it may be any time
// there. A worker does its work all the same, and so it does while the clock is
// being set.
func TestOtherClock(t *testing.T) {
	program := skew.Build(t)
	for name, clock := range map[string][2]string{
		"a day ahead":             {"+86400", "+86400"},
		"a day behind":            {"-86400", "-86400"},
		"set while a unit is run": {"-1728000000", "+86400"}, // from 1972
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			q := queuetest.Start(t, dir, nil)
			makeClip(t, filepath.Join(q.MediaDir, "clip.mp4"))
			requests := []transcode.Request{
				{Source: "clip.mp4", Name: "stream", SegmentSeconds: 1},
				{Source: "clip.mp4", Name: "file", SegmentSeconds: 1, Output: transcode.Output{Format: transcode.FormatMP4}},
			}
			var jobs []int64
			for _, r := range requests {
				job, _, err := q.Submit(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				jobs = append(jobs, job.ID)
			}
			w := &skewed{t: t, clock: filepath.Join(dir, "clock"), then: clock[1]}
			w.set(clock[0])
			w.start(program, configFor(t, q, dir))
			for _, id := range jobs {
				waitDone(t, q, id)
			}
			w.check(clock[0])
		})
	}
}

func makeClip(t *testing.T, file string) {
	args := strings.Fields("-v error -nostdin -f lavfi -i testsrc2=s=160x128:r=10:d=6 -f lavfi -i sine=440:d=6 -pix_fmt yuv420p -c:v libx264 -preset ultrafast -c:a aac")
	if out, err := exec.Command("ffmpeg", append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("making a clip: %v\n%s", err, out)
	}
}

func configFor(t *testing.T, q *queuetest.Queue, dir string) string {
	config, err := json.Marshal(worker.Config{
		Name: "pi1", Token: queuetest.Token, QueueURL: "nats://" + q.Broker.Addr().String(), MediaDir: q.MediaDir,
	})
	file := filepath.Join(dir, "worker.json")
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// waitDone waits until a job has ended, which has to be well.
func waitDone(t *testing.T, q *queuetest.Queue, id int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var job queue.Job
	for now, err := range q.Watch(ctx, id) {
		if err != nil {
			t.Fatal(err)
		}
		job = now
	}
	if job.State != queue.Done {
		t.Errorf("job %d is %s: %s, %q; want it done", id, job.State, job.Reason, job.Stderr)
	}
	for _, u := range job.Units {
		if u.Attempt != 1 {
			t.Errorf("job %d: %s took %d attempts; want one", id, u.ID, u.Attempt)
		}
	}
}

// A skewed is a worker whose clock, and that of its ffmpeg, is another.
type skewed struct {
	t     *testing.T
	clock string // a file that says by how many seconds it is off; so does, in binary, the one of this name and .bin
	then  string // what is to be in it once a unit has begun

	mu   sync.Mutex
	told []time.Time // of the lines that the worker has logged
}

// set sets the clock of the worker, and of programs that it starts. libfaketime
// reads its file again and again, so that it is replaced at once.
func (w *skewed) set(offset string) {
	seconds, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		w.t.Error(err)
	}
	next := w.clock + ".next"
	err = errors.Join(os.WriteFile(next, []byte(offset+"\n"), 0o644), os.Rename(next, w.clock))
	if err := errors.Join(err, skew.Set(w.clock+".bin", time.Duration(seconds)*time.Second)); err != nil {
		w.t.Error(err)
	}
}

func (w *skewed) start(program, config string) {
	libraries, err := filepath.Glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
	if err != nil || len(libraries) == 0 {
		w.t.Fatal("there is no libfaketimeMT.so.1; install libfaketime")
	}
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--config", config)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+libraries[0], "FAKETIME_TIMESTAMP_FILE="+w.clock, skew.File+"="+w.clock+".bin",
		"FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=1")
	log, err := cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { w.read(bufio.NewScanner(log)) })
	w.t.Cleanup(func() {
		stop()
		reading.Wait()
		cmd.Wait() // its signal is not what is tested
	})
}

// read notes the times in the worker's log.
func (w *skewed) read(log *bufio.Scanner) {
	for log.Scan() {
		line := log.Text()
		w.t.Log(line)
		text, _, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			continue
		}
		w.mu.Lock()
		w.told = append(w.told, at)
		w.mu.Unlock()
		if took := tookOf(line); took < 0 || took > 10*time.Minute {
			w.t.Errorf("a unit took %v by a clock that was set; want it by one that nobody sets", took)
		}
		if strings.Contains(line, "unit begun") {
			w.set(w.then)
		}
	}
}

// tookOf reads how long a unit took; 0 if the line does not say.
func tookOf(line string) time.Duration {
	_, text, found := strings.Cut(line, " took=")
	text, _, _ = strings.Cut(text, " ")
	took, err := time.ParseDuration(text)
	if found && err != nil {
		return -1
	}
	return took
}

// check makes sure that the worker had the clocks that it was to have.
func (w *skewed) check(first string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line, offset := range map[int]string{0: first, len(w.told) - 1: w.then} {
		want, err := time.ParseDuration(offset + "s")
		if err != nil {
			w.t.Fatal(err)
		}
		if got := time.Until(w.told[line]); got < want-time.Hour || got > want+time.Hour {
			w.t.Errorf("line %d of the log is off by %v; want %v", line, got, want)
		}
	}
}
