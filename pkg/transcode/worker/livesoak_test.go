//go:build bench

package worker

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
)

// TestLiveSoak streams for LIVE_SOAK (default 5m), and makes sure that the playlist, the
// disk and the database have no more of it at the end than when the first parts were removed.
func TestLiveSoak(t *testing.T) {
	length, err := time.ParseDuration(cmp.Or(os.Getenv("LIVE_SOAK"), "5m"))
	if err != nil {
		t.Fatal(err)
	}
	l := newLiveSourceTest(t)
	pipe := filepath.Join(l.queue.MediaDir, "camera")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	l.send("-f", "mpegts", pipe)
	if _, err := l.queue.AddLive(t.Context(), transcode.Request{Source: "camera", Name: "show", Output: liveRungs}); err != nil {
		t.Fatal(err)
	}
	f := &liveFollower{rendition: "90p"}
	l.next(f)
	first := f.list.Segments[0].Number
	for f.list.Segments[0].Number == first { // the window is full
		l.next(f)
	}
	// What is removed has left the window a minute before; another half for a slow machine.
	l.followFor(f, 90*time.Second)
	before := l.used()
	l.followFor(f, length)
	after := l.used()
	listed, gaps := inPlaylist(f.list)
	t.Logf("units, files and bytes: %v, and after %v more %v; %.0f s are listed, %d gaps", before, length, after, listed, gaps)
	for i, limit := range before {
		if after[i] > limit*5/4 {
			t.Errorf("%v became %v (units, files, bytes); want no more", before, after)
		}
	}
	if listed > 45 {
		t.Errorf("%.0f s are listed; want a window of 30", listed)
	}
}

// followFor follows a playlist for some time.
func (l *liveTest) followFor(f *liveFollower, d time.Duration) {
	l.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		l.next(f)
	}
}

// used returns how many units a stream has, and its files and their bytes.
func (l *liveTest) used() [3]int64 {
	l.Helper()
	job, err := l.queue.Job(l.Context(), 1)
	if err != nil {
		l.Fatal(err)
	}
	used := [3]int64{int64(len(job.Units))}
	err = filepath.WalkDir(filepath.Join(l.queue.MediaDir, transcode.JobDir(1)), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // it may just be removed
		}
		if info, err := entry.Info(); err == nil {
			used[1], used[2] = used[1]+1, used[2]+info.Size()
		}
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	return used
}
