package watchfolder

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
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
	if err := b.look(b.t.Context(), b.now); err != nil {
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

// exec changes the store.
func (b *bench) exec(query string) error {
	return b.Store.Write(b.t.Context(), func(tx *sql.Tx) error {
		_, err := tx.ExecContext(b.t.Context(), query)
		return err
	})
}

func TestIgnores(t *testing.T) {
	b := start(t, t.TempDir())
	for _, name := range []string{".hidden.mp4", ".dir/a.mp4", "a.part", "A.PART"} {
		b.write(name, "x")
	}
	b.write("empty.mp4", "")
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
	b.files = nil // as after a restart
	b.want(0, "b.mp4 a.mp4 a.mp4")
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

// What is never accepted is logged once, and known to whoever asks.
func TestNeverAccepted(t *testing.T) {
	b := start(t, t.TempDir())
	inbox := filepath.Join(b.MediaDir, "inbox")
	b.write("not UTF-8 \xff.mp4", "x")
	b.write("\xfe/a.mp4", "x")
	b.write("deep"+strings.Repeat("/x", maxDepth)+"/a.mp4", "x")
	b.write("a.mp4", "x")
	if err := errors.Join(syscall.Mkfifo(filepath.Join(inbox, "fifo.mp4"), 0o644), os.Symlink("a.mp4", filepath.Join(inbox, "link.mp4")),
		os.Symlink("/etc", filepath.Join(inbox, "links"))); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"inbox/not UTF-8 \xff.mp4": "its name is not UTF-8; rename it",
		"inbox/\xfe":               "its name is not UTF-8; rename it",
		"inbox/fifo.mp4":           "it is a FIFO; want a regular file",
		"inbox/link.mp4":           "it is a symbolic link; want a regular file",
		"inbox/links":              "it is a symbolic link; want a regular file",
		"inbox/deep" + strings.Repeat("/x", maxDepth): "it is too deep in the folder; move it up",
	}
	b.want(0, "")
	for range 3 {
		b.want(time.Hour, "a.mp4")
	}
	if got := b.Refused(); !maps.Equal(got, want) {
		t.Errorf("never accepted: %q; want %q", got, want)
	}
	if n := b.log.count("never accepted"); n != len(want) {
		t.Errorf("the log tells %d times what is never accepted; want each of %d once: %s", n, len(want), b.log.text.String())
	}
	for i := range 2 * maxRefusals {
		if err := os.Symlink("a.mp4", filepath.Join(inbox, fmt.Sprintf("many%d", i))); err != nil {
			t.Fatal(err)
		}
	}
	b.want(0, "a.mp4")
	if n := b.log.count("never accepted"); n != len(want)+maxRefusals+1 {
		t.Errorf("the log tells %d times what is never accepted; want %d", n, len(want)+maxRefusals+1)
	}
}

// originals records files as the originals of jobs that are done.
func (b *bench) originals(n int) {
	b.t.Helper()
	err := b.Store.Write(b.t.Context(), func(tx *sql.Tx) error {
		for i := range n {
			name := fmt.Sprintf("original%d.mp4", i)
			b.write(name, "x")
			info, err := os.Stat(filepath.Join(b.MediaDir, "inbox", name))
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(b.t.Context(), `INSERT INTO inbox (path, inode, size, mtime, job, reported) VALUES (?, ?, ?, ?, ?, 1)`,
				"inbox/"+name, int64(info.Sys().(*syscall.Stat_t).Ino), info.Size(), info.ModTime().UnixNano(), i-n)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.files = nil // as after a restart
}

// A folder takes any number of files, and a look at it examines few of those that it
// knows.
func TestManyFiles(t *testing.T) {
	const many = 10_500
	b := start(t, t.TempDir())
	b.originals(many)
	b.write("late.mp4", "x")
	b.want(0, "")
	b.want(time.Hour, "late.mp4")
	for range 3 {
		stats := &countingFS{FS: os.DirFS(b.MediaDir)}
		if _, err := b.list(t.Context(), stats, b.now); err != nil {
			t.Fatal(err)
		}
		if stats.n > 4*restats {
			t.Errorf("a look examines %d of %d files; want about %d", stats.n, many, restats)
		}
	}
}

// A file that is replaced is noticed in its turn if the kernel does not report it.
func TestReplacedUnreported(t *testing.T) {
	const many = 5 * restats
	b := start(t, t.TempDir())
	b.originals(many)
	b.want(0, "")
	b.want(time.Hour, "")
	b.write("original7.mp4", "another")
	for range many/restats + 1 {
		b.want(time.Second, "")
	}
	b.want(time.Hour, "original7.mp4")
}

// A countingFS counts how often a file is examined.
type countingFS struct {
	fs.FS
	n int
}

func (c *countingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(c.FS, name)
	for i, entry := range entries {
		entries[i] = countingEntry{entry, c}
	}
	return entries, err
}

type countingEntry struct {
	fs.DirEntry
	fs *countingFS
}

func (e countingEntry) Info() (fs.FileInfo, error) {
	e.fs.n++
	return e.DirEntry.Info()
}

// Files wait while the queue has no room for their jobs, which is logged once.
func TestFullQueue(t *testing.T) {
	b := start(t, t.TempDir())
	fill := func(query string) {
		t.Helper()
		if err := b.exec(query); err != nil {
			t.Fatal(err)
		}
	}
	fill(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
		INSERT INTO jobs (state, request, identity, created) SELECT 'queued', '{"source":"x","name":"x"}', 'x' || i, 0 FROM n`)
	b.write("a.mp4", "a")
	b.write("b.mp4", "b")
	b.looks(0)
	for range 3 {
		b.looks(time.Hour)
	}
	if n := b.log.count("waits for the queue"); n != 1 || b.log.count("not submitted") != 0 {
		t.Errorf("the log tells %d times that the queue is full; want once, and nothing of each file: %s", n, b.log.text.String())
	}
	fill(`DELETE FROM jobs`)
	b.want(time.Second, "a.mp4 b.mp4")
}

// What is recorded of files that are gone is bounded.
func TestForgets(t *testing.T) {
	b := start(t, t.TempDir())
	b.write("there.mp4", "x")
	b.looks(0)
	b.looks(time.Hour)
	if err := b.exec(`UPDATE inbox SET reported = 1, job = -1000000`); err != nil {
		t.Fatal(err)
	}
	if err := b.exec(fmt.Sprintf(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		INSERT INTO inbox (path, inode, size, mtime, job, reported) SELECT 'inbox/' || i, i, 1, 1, i, 1 FROM n`, maxGone+5)); err != nil {
		t.Fatal(err)
	}
	b.recorded = forgetEvery
	b.looks(0)
	var left, there, oldest int
	err := b.Store.QueryRow(t.Context(), `SELECT count(*), sum(path = 'inbox/there.mp4'), min(iif(path = 'inbox/there.mp4', 1000000, job)) FROM inbox`).
		Scan(&left, &there, &oldest)
	if err != nil || left != maxGone+1 || there != 1 || oldest != 6 {
		t.Errorf("%d records are left, %d of the file that is there, the oldest of job %d, %v; want %d, 1, 6", left, there, oldest, err, maxGone+1)
	}
}

// The kernel reports what happens in the folder, so that nothing is read while nothing
// happens. What cannot be watched is read at every look.
func TestChanges(t *testing.T) {
	b := start(t, t.TempDir())
	b.changes, b.scanned = watchChanges(b.MediaDir, b.Log), time.Time{}
	defer b.changes.close()
	b.write("sub/a.mp4", "a")
	b.want(0, "")
	b.want(time.Hour, "sub/a.mp4")
	quiet := func() bool { return !b.due(b.now.Add(time.Second)) }
	b.changes.take()
	if !quiet() {
		t.Error("the folder is read although nothing has happened")
	}
	if b.due(b.now.Add(idleEvery)) != true {
		t.Error("the folder is never read while the kernel reports nothing")
	}
	for _, happens := range []func(){
		func() { b.write("sub/a.mp4", "in its place") },
		func() { b.write("c.mp4", "c") },
		func() { b.rename("c.mp4", "sub/d.mp4") },
		func() { b.write("new/e.mp4", "e") },
	} {
		b.changes.take()
		select {
		case <-b.changes.happened:
		default:
		}
		happens()
		for quiet() {
			<-b.changes.happened
		}
	}
	b.cancelAll()
	b.looks(0)
	b.want(time.Hour, "sub/a.mp4 new/e.mp4 sub/a.mp4 sub/d.mp4")
	b.changes.add("nothing/there")
	if quiet() {
		t.Error("the folder is not read although a part of it is not watched")
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

// Subtitles make no jobs of their own. Their video waits until they are complete.
func TestSubtitlesBelongToTheirVideo(t *testing.T) {
	b := start(t, t.TempDir())
	b.write("a.mp4", "a")
	b.write("a.de.srt", "1")
	b.write("lonely.ass", "2")
	b.want(0, "")
	b.write("a.de.srt", "1\n00:00:00,000 --> 00:00:01,000\nmore\n")
	b.want(defaultStableFor, "")
	b.want(defaultStableFor-1, "")
	b.want(1, "a.mp4")
	b.want(time.Hour, "a.mp4")
	jobs, err := b.Queue.Jobs(t.Context())
	if err != nil || len(jobs) != 1 || len(jobs[0].Request.Sidecars) != 1 {
		t.Errorf("jobs %+v, %v; want one with the subtitles", jobs, err)
	}
}
