package watchfolder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/worker"
)

// A bench is a folder on a real queue. now is what the folder takes for the
// time.
type bench struct {
	*Folder
	t      *testing.T
	dir    string
	broker *broker.Broker
	log    *lines
	now    time.Time
}

// lines is a log that can be read.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func start(t *testing.T, dir string) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, log: &lines{}, now: time.Now()}
	q := queuetest.Start(t, dir, nil)
	b.broker = q.Broker
	b.Folder = &Folder{Store: q.Store, Queue: q.Queue, MediaDir: q.MediaDir, Dir: "inbox", Log: slog.New(slog.NewTextHandler(b.log, nil))}
	b.looks(0)
	return b
}

// looks has the folder look when so much time has passed, and returns the
// sources of all jobs, oldest first.
func (b *bench) looks(after time.Duration) string {
	b.t.Helper()
	b.now = b.now.Add(after)
	if err := b.scan(b.t.Context(), b.now); err != nil {
		b.t.Fatal(err)
	}
	jobs, err := b.Queue.Jobs(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	var sources []string
	for _, j := range jobs {
		sources = append([]string{strings.TrimPrefix(j.Request.Source, "inbox/")}, sources...)
	}
	return strings.Join(sources, " ")
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	file := filepath.Join(b.MediaDir, "inbox", name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rename(from, to string) {
	b.t.Helper()
	dir := filepath.Join(b.MediaDir, "inbox")
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) want(after time.Duration, want string) {
	b.t.Helper()
	if got := b.looks(after); got != want {
		b.t.Errorf("jobs for %q; want %q", got, want)
	}
}

func TestTakesWhatHasStoppedGrowing(t *testing.T) {
	b := start(t, t.TempDir())
	b.write("a.mp4", "aa")
	b.want(0, "")
	b.want(defaultStableFor-time.Second, "")
	b.write("a.mp4", "aaa")
	b.want(time.Second, "")
	b.want(defaultStableFor-time.Second, "")
	b.want(time.Second, "a.mp4")
	b.want(time.Hour, "a.mp4")
	b.write("sub/b.mp4.part", "b")
	b.want(0, "a.mp4")
	b.want(time.Hour, "a.mp4")
	b.rename("sub/b.mp4.part", "sub/b.mp4")
	b.want(time.Second, "a.mp4")
	b.want(time.Hour, "a.mp4 sub/b.mp4")
}

func TestIgnores(t *testing.T) {
	b := start(t, t.TempDir())
	for _, name := range []string{".hidden.mp4", ".dir/a.mp4", "a.part", "A.PART", "deep" + strings.Repeat("/x", maxDepth) + "/a.mp4"} {
		b.write(name, "x")
	}
	b.write("empty.mp4", "")
	inbox := filepath.Join(b.MediaDir, "inbox")
	if err := errors.Join(syscall.Mkfifo(filepath.Join(inbox, "fifo.mp4"), 0o644), os.Symlink("/etc/hostname", filepath.Join(inbox, "link.mp4"))); err != nil {
		t.Fatal(err)
	}
	b.want(0, "")
	b.want(time.Hour, "")
}

// A file is taken once: after a restart too, and where somebody handed it in or
// renames it. Another file of the same name is another file.
func TestTakenOnce(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		b := start(t, dir)
		b.write("a.mp4", "a")
		b.write("b.mp4", "b")
		if _, _, err := b.Queue.Submit(t.Context(), transcode.Request{Source: "inbox/b.mp4", Name: "by hand"}); err != nil {
			t.Fatal(err)
		}
		b.want(0, "b.mp4")
		b.want(time.Hour, "b.mp4 a.mp4")
	})
	b := start(t, dir)
	b.want(time.Hour, "b.mp4 a.mp4")
	b.rename("a.mp4", "c.mp4")
	b.want(0, "b.mp4 a.mp4")
	b.want(time.Hour, "b.mp4 a.mp4")
	b.write("a.mp4", "another one")
	b.want(0, "b.mp4 a.mp4")
	b.cancelAll()
	b.want(time.Hour, "b.mp4 a.mp4 a.mp4")
}

// cancelAll ends all jobs: the same request twice is one job while it runs.
func (b *bench) cancelAll() {
	b.t.Helper()
	jobs, err := b.Queue.Jobs(b.t.Context())
	for _, j := range jobs {
		err = errors.Join(err, b.Queue.Cancel(b.t.Context(), j.ID))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// What the queue refuses is said once.
func TestRefusedFile(t *testing.T) {
	b := start(t, t.TempDir())
	b.write("not UTF-8 \xff.mp4", "x")
	b.want(0, "")
	for range 3 {
		b.want(time.Hour, "")
	}
	if n := b.log.count("not submitted"); n != 1 {
		t.Errorf("the log tells %d times that a file was not submitted; want once: %s", n, b.log.text.String())
	}
}

func TestFullFolder(t *testing.T) {
	b := start(t, t.TempDir())
	for i := range maxFiles + 10 {
		b.write(fmt.Sprintf("%d.part", i), "x")
	}
	b.want(0, "")
	b.want(time.Second, "")
	if n := b.log.count("too many files"); n != 1 {
		t.Errorf("the log tells %d times that there are too many files; want once", n)
	}
}

// A video becomes a stream; what is none is said once and stays.
func TestVideoIsTranscoded(t *testing.T) {
	b := start(t, t.TempDir())
	b.write("notes.txt", "not a video")
	clip := filepath.Join(b.MediaDir, "inbox", "clip.mp4")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=10:duration=2",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", clip).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	b.looks(0)
	b.looks(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker.Worker{Config: worker.Config{Name: "pi1", Token: queuetest.Token, QueueURL: "nats://" + b.broker.Addr().String(), MediaDir: b.MediaDir}, Lock: filepath.Join(b.dir, "lock")}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	patience, done := context.WithTimeout(t.Context(), 2*time.Minute)
	defer done()
	states := map[string]queue.State{}
	for id := range int64(2) {
		for job, err := range b.Queue.Watch(patience, id+1) {
			if err != nil {
				t.Fatal(err)
			}
			states[job.Request.Name] = job.State
		}
	}
	if states["clip"] != queue.Done || states["notes"] != queue.Failed {
		t.Errorf("jobs ended %v; want the clip done, the notes failed", states)
	}
	b.looks(time.Second)
	b.looks(time.Hour)
	if n := b.log.count("file in the watch folder not transcoded"); n != 1 || b.log.count("inbox/notes.txt") < 1 {
		t.Errorf("the log tells %d times of a file that is no video; want once: %s", n, b.log.text.String())
	}
	if _, err := os.Stat(filepath.Join(b.MediaDir, "inbox/notes.txt")); err != nil {
		t.Error(err)
	}
}
