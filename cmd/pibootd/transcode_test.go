package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pibootd/pkg/access"
	"pibootd/pkg/boot"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/nfs"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/web"
)

// serveQueue answers the control socket for a queue without workers. It returns
// the flag that names the socket.
func serveQueue(t *testing.T, dir string) (q *queuetest.Queue, socketFlag string) {
	t.Helper()
	q, socketFlag, _ = serveQueueOverTCP(t, dir)
	return q, socketFlag
}

// serveQueueOverTCP is serveQueue, and also answers at an address, without TLS.
func serveQueueOverTCP(t *testing.T, dir string) (q *queuetest.Queue, socketFlag, addr string) {
	t.Helper()
	q = queuetest.Start(t, dir, nil)
	known, err := registry.Open(t.Context(), q.Store)
	if err != nil {
		t.Fatal(err)
	}
	events, err := timeline.Open(t.Context(), q.Store)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	roots := &rootfs.Roots{Dir: filepath.Join(dir, "roots")}
	server := &web.Server{
		Registry: known, Roots: roots,
		Fleet: fleet.New(fleet.Fleet{
			Registry: known, Timeline: events, Log: log, Roots: roots, NFS: &nfs.Server{Key: make([]byte, 32)}, Disconnect: q.Broker.Disconnect,
			Templates: &rootfs.Templates{Dir: filepath.Join(dir, "templates")},
			Policy:    &boot.Policy{Registry: known, Timeline: events, Roots: roots, Log: log},
		}),
		Access: access.New(q.Store, time.Hour), Queue: q.Queue, Timeline: events, Diagnoses: &diagnosis.Tracker{Timeline: events}, Log: log, MaxUpload: 1 << 20, Info: web.Info{MediaDir: q.MediaDir, Network: "10.0.0.1/24", HTTPPort: 8080},
	}
	socket := filepath.Join(dir, "s")
	control, controlErr := net.Listen("unix", socket)
	public, publicErr := net.Listen("tcp4", "127.0.0.1:0")
	if err := errors.Join(controlErr, publicErr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, web.Listeners{Public: public, Control: control}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return q, "--socket=" + socket, public.Addr().String()
}

// Each of several videos becomes a job, and a failure of one does not stop the
// others.
func TestTranscodeSeveral(t *testing.T) {
	dir := t.TempDir()
	q, socket := serveQueue(t, dir)
	var args []string
	for _, name := range []string{"a.mp4", "none.mp4", "b.mp4"} {
		args = append(args, filepath.Join(dir, name))
		if name == "none.mp4" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("the video "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := append([]string{"pibootd", "transcode", socket, "--mp4"}, args...)
	command = append(command, "--", "-c:v", "mpeg4")

	var out, errs bytes.Buffer
	code := run(command, streams{in: strings.NewReader(""), out: &out, err: &errs})
	const submitted = "job 1; see pibootd jobs show 1\njob 2; see pibootd jobs show 2\n"
	if code != exitFailed || out.String() != submitted {
		t.Errorf("exit %d, %q; want %d and %q", code, out.String(), exitFailed, submitted)
	}
	if text := errs.String(); strings.Count(text, "no Pi is online yet") != 1 || strings.Count(text, "none.mp4: no such file") != 1 {
		t.Errorf("errors: %q; want one that nobody is there and one of none.mp4", text)
	}
	jobs, err := q.Jobs(t.Context())
	if err != nil || len(jobs) != 2 || jobs[0].Request.Source != "inbox/b.mp4" || jobs[1].Request.Source != "inbox/a.mp4" {
		t.Fatalf("jobs %+v, %v; want b.mp4 and a.mp4", jobs, err)
	}
	if got := jobs[0].Request.Output.Options; !slices.Equal(got, []string{"-c:v", "mpeg4"}) {
		t.Errorf("options %q; want those behind --", got)
	}
}

// A video of any name is copied into the share, under a name that JSON can hold.
func TestTranscodeOddNames(t *testing.T) {
	dir := t.TempDir()
	q, socket := serveQueue(t, dir)
	for name, want := range map[string]string{"bad\xff.mp4": "inbox/bad_.mp4", "new\nline.mp4": "inbox/new\nline.mp4"} {
		video := filepath.Join(dir, name)
		if err := os.WriteFile(video, []byte("the video "+name), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, errs := pibootd(t, "", "transcode", socket, video); code != exitDone {
			t.Errorf("%q: exit %d, %q, %q; want a job", name, code, out, errs)
		}
		jobs, err := q.Jobs(t.Context())
		if err != nil || len(jobs) == 0 || jobs[0].Request.Source != want {
			t.Errorf("%q: jobs %+v, %v; want one of %q", name, jobs, err, want)
		}
	}
	inside := filepath.Join(q.MediaDir, "inside\xff.mp4")
	if err := os.WriteFile(inside, []byte("a video"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := pibootd(t, "", "transcode", socket, inside); code != exitFailed || !strings.Contains(errs, `inside\xff.mp4" is not UTF-8`) {
		t.Errorf("in the share: exit %d, %q; want a refusal that names it", code, errs)
	}
}

// Waiting for several videos ends with the last, and prints the result of each.
func TestTranscodeSeveralWaits(t *testing.T) {
	dir := t.TempDir()
	q, socket := serveQueue(t, dir)
	for _, name := range []string{"a.mp4", "b.mp4"} {
		if err := os.WriteFile(filepath.Join(q.MediaDir, name), []byte("the video "+name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var errs bytes.Buffer
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run([]string{"pibootd", "transcode", socket, "--json", "--wait", "a.mp4", "b.mp4"}, streams{in: strings.NewReader(""), out: in, err: &errs})
		in.Close()
	}()
	stdout := json.NewDecoder(out)
	for _, id := range []int64{1, 2} {
		cancelWhenThere(t, q, id)
		var job queue.Job
		if err := stdout.Decode(&job); err != nil || job.ID != id || job.State != queue.Cancelled {
			t.Fatalf("got job %+v, %v; want job %d, cancelled", job, err, id)
		}
	}
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	if code := <-ended; code != exitFailed || !strings.Contains(errs.String(), "job 1 cancelled") || !strings.Contains(errs.String(), "job 2 cancelled") {
		t.Errorf("exit %d, %q; want %d and both jobs", code, errs.String(), exitFailed)
	}
}

// cancelWhenThere cancels a job as soon as it was submitted.
func cancelWhenThere(t *testing.T, q *queuetest.Queue, id int64) {
	t.Helper()
	for t.Context().Err() == nil {
		jobs, err := q.Jobs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(jobs, func(j queue.Job) bool { return j.ID == id }) {
			break
		}
	}
	if err := q.Cancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// A waiting command, too, reports that the job existed before.
func TestTranscodeTwiceWaits(t *testing.T) {
	q, socket := serveQueue(t, t.TempDir())
	if err := os.WriteFile(filepath.Join(q.MediaDir, "a.mp4"), []byte("the video"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := []string{"pibootd", "transcode", socket, "a.mp4"}
	if code := run(command, streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}); code != 0 {
		t.Fatalf("exit %d; want 0", code)
	}
	cancelWhenThere(t, q, 1)
	if code := run(command, streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}); code != 0 {
		t.Fatalf("exit %d; want 0", code)
	}
	errs := &lineReader{lines: make(chan string, 100)}
	ended := make(chan int, 1)
	go func() {
		ended <- run(append(command, "--wait"), streams{in: strings.NewReader(""), out: io.Discard, err: errs})
	}()
	for line := ""; line != "job 2 (the same was submitted before and has not ended)"; {
		select {
		case line = <-errs.lines:
		case code := <-ended:
			t.Fatalf("exit %d without a word of the job from before", code)
		}
	}
	cancelWhenThere(t, q, 2)
	if code := <-ended; code != exitFailed {
		t.Errorf("exit %d; want %d", code, exitFailed)
	}
}

// A lineReader is a writer that sends what is written to a channel, by lines.
type lineReader struct{ lines chan string }

func (r *lineReader) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		r.lines <- strings.TrimSpace(line)
	}
	return len(text), nil
}

// The note of a job, why its video is not cut, is printed once and at once.
func TestWaitTellsTheNote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := jobProgress{meter: newMeter(streams{err: &out}), prefix: "1 of 2: "}
		job := queue.Job{State: queue.Queued}
		p.follow(job)
		job.State, job.Note = queue.Running, "one worker does the whole video: audio filters see the whole of it"
		p.follow(job)
		time.Sleep(lineInterval)
		p.follow(job)
		job.State = queue.Done
		time.Sleep(lineInterval)
		p.follow(job)
		p.clear()
		want := "1 of 2: queued\n1 of 2: one worker does the whole video: audio filters see the whole of it\n1 of 2: running\n1 of 2: done\n"
		if out.String() != want {
			t.Errorf("got %q; want %q", out.String(), want)
		}
	})
}
