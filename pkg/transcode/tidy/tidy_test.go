package tidy

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

const after = 24 * time.Hour

var muxer = queue.LegacyMuxer{MuxID: 1, Host: "10.0.0.5"}

// A bench is a tidier beside a real queue.
type bench struct {
	*Tidier
	t     *testing.T
	queue *queue.Queue
}

func open(t *testing.T) *bench {
	t.Helper()
	q := queuetest.Open(t, t.TempDir(), nil)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	return &bench{t: t, queue: q.Queue, Tidier: &Tidier{Store: q.Store, MediaDir: q.MediaDir, After: after, Log: log}}
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	file := filepath.Join(b.MediaDir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		b.t.Fatal(err)
	}
}

// done has a video transcoded and returns its job.
func (b *bench) done(source string) int64 {
	b.t.Helper()
	b.write(source, source)
	job, _, err := b.queue.Submit(b.t.Context(), transcode.Request{Source: source})
	if err == nil {
		_, err = b.queue.ClaimLegacy(b.t.Context(), muxer, func(r transcode.Request) bool { return r.Source == source })
	}
	b.write(queue.LegacyDir(source)+"/m.m3u8", "#EXTM3U")
	if err == nil {
		err = b.queue.CompleteLegacy(b.t.Context(), muxer, job.ID, "m.m3u8")
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return job.ID
}

// tidies has originals put away when so much time has passed.
func (b *bench) tidies(later time.Duration) {
	b.t.Helper()
	if err := b.tidy(b.t.Context(), time.Now().Add(later)); err != nil {
		b.t.Fatal(err)
	}
}

// want makes sure that a file is there with this text; "" means that it is not.
func (b *bench) want(name, text string) {
	b.t.Helper()
	got, err := os.ReadFile(filepath.Join(b.MediaDir, name))
	if string(got) != text || (text == "") != errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("%s is %q, %v; want %q", name, got, err, text)
	}
}

func TestOriginalsArePutAway(t *testing.T) {
	b := open(t)
	b.done("inbox/a.mp4")
	b.done("videos/x/b.mp4")
	b.tidies(after - time.Minute)
	b.want("inbox/a.mp4", "inbox/a.mp4")
	b.tidies(after)
	b.want("inbox/a.mp4", "")
	b.want("originals/inbox/a.mp4", "inbox/a.mp4")
	b.want("videos/x/b.mp4", "")
	b.want("originals/x/b.mp4", "videos/x/b.mp4")
	b.want("videos/x/b.mp4.hls/m.m3u8", "#EXTM3U")
	b.left(0)
}

// left makes sure that so many originals still wait.
func (b *bench) left(want int) {
	b.t.Helper()
	var n int
	if err := b.Store.QueryRow(b.t.Context(), `SELECT count(*) FROM originals`).Scan(&n); err != nil || n != want {
		b.t.Errorf("%d originals wait, %v; want %d", n, err, want)
	}
}

func TestNothingIsReplaced(t *testing.T) {
	b := open(t)
	b.write("originals/a.mp4", "an older one")
	b.write("originals/a-2.mp4", "another")
	b.done("a.mp4")
	b.tidies(after)
	b.want("originals/a.mp4", "an older one")
	b.want("originals/a-2.mp4", "another")
	b.want("originals/a-3.mp4", "a.mp4")
}

// rewrite writes a file until its time of change is after the beginning of the
// job: the kernel's clock of files moves in steps of some milliseconds.
func (b *bench) rewrite(name, text string) {
	b.t.Helper()
	var started int64
	if err := b.Store.QueryRow(b.t.Context(), `SELECT max(started) FROM originals`).Scan(&started); err != nil {
		b.t.Fatal(err)
	}
	for changed := int64(0); changed <= started; {
		b.write(name, text)
		info, err := os.Stat(filepath.Join(b.MediaDir, name))
		if err != nil {
			b.t.Fatal(err)
		}
		changed = info.Sys().(*syscall.Stat_t).Ctim.Nano()
	}
}

// What is not the file that was transcoded, or all there is, stays.
func TestWhatStays(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"rewritten": func(b *bench) { b.rewrite("a.mp4", "another") },
		"replaced": func(b *bench) {
			b.rewrite("new", "another")
			if err := os.Rename(filepath.Join(b.MediaDir, "new"), filepath.Join(b.MediaDir, "a.mp4")); err != nil {
				b.t.Fatal(err)
			}
		},
		"a link": func(b *bench) {
			b.write("elsewhere", "another")
			if err := errors.Join(os.Remove(filepath.Join(b.MediaDir, "a.mp4")), os.Symlink("elsewhere", filepath.Join(b.MediaDir, "a.mp4"))); err != nil {
				b.t.Fatal(err)
			}
		},
		"output gone": func(b *bench) {
			if err := os.RemoveAll(filepath.Join(b.MediaDir, "a.mp4.hls")); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			b.done("a.mp4")
			change(b)
			b.tidies(after)
			if _, err := os.Stat(filepath.Join(b.MediaDir, "a.mp4")); err != nil {
				t.Errorf("the original: %v; want it where it was", err)
			}
			b.want("originals/a.mp4", "")
			b.left(0)
		})
	}
}

func TestNeededOriginalWaits(t *testing.T) {
	b := open(t)
	b.done("a.mp4")
	other, _, err := b.queue.Submit(t.Context(), transcode.Request{Source: "a.mp4", Name: "again"})
	if err != nil {
		t.Fatal(err)
	}
	b.tidies(after)
	b.want("a.mp4", "a.mp4")
	if err := b.queue.Cancel(t.Context(), other.ID); err != nil {
		t.Fatal(err)
	}
	b.tidies(after)
	b.want("originals/a.mp4", "a.mp4")
}

// Nothing is put away of jobs that failed, nor of those that were done while
// originals were to stay.
func TestOnlyWhatIsDue(t *testing.T) {
	b := open(t)
	b.write("failed.mp4", "x")
	job, _, err := b.queue.Submit(t.Context(), transcode.Request{Source: "failed.mp4"})
	if err == nil {
		err = b.queue.Cancel(t.Context(), job.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.done("a.mp4")
	b.After = 0
	b.tidies(0)
	b.After = after
	b.tidies(after)
	b.want("failed.mp4", "x")
	b.want("a.mp4", "a.mp4")
}

// Files with subtitles go with their video, under its name; those of another video
// stay.
func TestSubtitlesArePutAwayWithTheirVideo(t *testing.T) {
	b := open(t)
	for _, name := range []string{"inbox/a.srt", "inbox/a.de.forced.srt", "inbox/ab.srt", "inbox/a.nfo", "inbox/b.srt", "inbox/b.avi"} {
		b.write(name, name)
	}
	b.write("originals/inbox/a.mp4", "another")
	b.done("inbox/a.mp4")
	b.done("inbox/b.mp4")
	b.tidies(after)
	b.want("originals/inbox/a-2.mp4", "inbox/a.mp4")
	b.want("originals/inbox/a-2.srt", "inbox/a.srt")
	b.want("originals/inbox/a-2.de.forced.srt", "inbox/a.de.forced.srt")
	b.want("inbox/a.srt", "")
	b.want("inbox/a.nfo", "inbox/a.nfo")
	b.want("inbox/ab.srt", "inbox/ab.srt")
	b.want("originals/inbox/b.mp4", "inbox/b.mp4")
	b.want("inbox/b.srt", "inbox/b.srt") // b.avi is there
}
