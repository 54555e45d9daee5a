package queue

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/transcode"

	"golang.org/x/sys/unix"
)

// A canary is what is in the media share besides what workers may touch.
type canary map[string]string

// newCanary makes a published stream, videos of others and a file beside the share.
func newCanary(t *testing.T, dir string) canary {
	t.Helper()
	for name, text := range map[string]string{
		"media/hls/a/master.m3u8": "#EXTM3U\n", "media/hls/a/720p/00000.ts": "published",
		"media/family-videos/1.mp4": "ours", "media/videos/x.mp4": "an original", "beside": "not in the share",
	} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return snapshot(t, dir)
}

// snapshot returns all that is in dir but scratches, accepted work and state.
func snapshot(t *testing.T, dir string) canary {
	t.Helper()
	seen := canary{}
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		if base := entry.Name(); base == transcode.ScratchDir || base == transcode.WorkDir || rel == "js" {
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(rel, "pibootd.db") {
			return nil
		}
		if entry.IsDir() {
			seen[rel] = info.Mode().String()
			return nil
		}
		text, err := os.ReadFile(name)
		seen[rel] = fmt.Sprint(info.Mode(), info.ModTime(), crc32.ChecksumIEEE(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// check makes sure that all is as it was, and that nothing came but to published.
func (c canary) check(t *testing.T, dir string, published ...string) {
	t.Helper()
	now := snapshot(t, dir)
	for _, output := range published {
		maps.DeleteFunc(now, func(name, _ string) bool { return strings.HasPrefix(name, "media/"+output) })
	}
	for name := range now {
		if _, ok := c[name]; !ok {
			t.Errorf("%s has come to be outside of the scratches", name)
		}
	}
	for name, want := range c {
		if now[name] != want {
			t.Errorf("%s is %q; want %q", name, now[name], want)
		}
	}
}

// misuses collects what workers are reported for.
type misuses struct {
	mu   sync.Mutex
	seen []string
}

func (m *misuses) add(worker, what string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = append(m.seen, worker+": "+what)
}

func (m *misuses) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.seen, "\n")
}

// What a board can make of its scratch reaches nothing beyond it.
func TestHostileScratch(t *testing.T) {
	long := strings.Repeat("n", 255)
	for name, c := range map[string]struct {
		make func(scratch string) error
		said string // of the board; "" where an honest one could have left it
	}{
		"link beside the share": {func(s string) error { return os.Symlink("../../hls", s+"/1.v-128p-0000.1") }, "symbolic link"},
		"link to others":        {func(s string) error { return os.Symlink("../../family-videos", s+"/64") }, "symbolic link"},
		"link to the share":     {func(s string) error { return os.Symlink("../..", s+"/50") }, "symbolic link"},
		"link out of the share": {func(s string) error { return os.Symlink("../../../..", s+"/3") }, "symbolic link"},
		"absolute link":         {func(s string) error { return os.Symlink(filepath.Join(s, "../../hls"), s+"/5") }, "symbolic link"},
		"links in a directory": {func(s string) error {
			return errors.Join(os.Mkdir(s+"/7.audio.1", 0o777), os.Symlink("../../../hls", s+"/7.audio.1/hls"), os.Symlink("../../../hls/a/master.m3u8", s+"/7.audio.1/00000.ts"))
		}, ""},
		"odd files": {func(s string) error {
			return errors.Join(unix.Mkfifo(s+"/fifo", 0o666), unix.Mknod(s+"/socket", unix.S_IFSOCK|0o666, 0), os.WriteFile(s+"/file", nil, 0o666))
		}, "FIFO"},
		"long names": {func(s string) error { return os.MkdirAll(filepath.Join(s, long, long, long), 0o777) }, ""},
		"no rights":  {func(s string) error { return errors.Join(os.MkdirAll(s+"/8.x.1/y", 0o777), os.Chmod(s+"/8.x.1", 0)) }, ""},
		"many names": {func(s string) error {
			for i := range 3 * sweepBatch {
				if err := os.WriteFile(fmt.Sprintf("%s/%d", s, i), nil, 0o666); err != nil {
					return err
				}
			}
			return nil
		}, "regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said misuses
			b := open(t, newDirs(t), func(o *Options) { o.OnMisuse = said.add })
			others := newCanary(t, b.dir)
			scratch := b.media(transcode.ScratchOf("pi1"))
			if err := errors.Join(os.Mkdir(scratch, 0o777), c.make(scratch)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // names may be passed over where others are removed
				if err := errors.Join(b.sweep(t.Context()), b.sweepScratches(t.Context())); err != nil {
					t.Error(err)
				}
			}
			others.check(t, b.dir)
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("%d entries are left, %v; want none", len(left), err)
			}
			if got := said.String(); (got == "") != (c.said == "") || !strings.Contains(got, c.said) {
				t.Errorf("said of the board: %q; want %q in it", got, c.said)
			}
		})
	}
}

// A scratch that is no directory, or a link, keeps no other from being swept.
func TestOneBadScratch(t *testing.T) {
	t.Parallel()
	var said misuses
	b := open(t, newDirs(t), func(o *Options) { o.OnMisuse = said.add })
	others := newCanary(t, b.dir)
	left := b.media(transcode.ScratchOf("pi2") + "/9.audio.1")
	err := errors.Join(os.Symlink("../hls", b.media(transcode.ScratchOf("pi0"))), os.WriteFile(b.media(transcode.ScratchOf("pi1")), nil, 0o666), os.MkdirAll(left, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.sweepScratches(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v; want it removed", left, err)
	}
	others.check(t, b.dir)
	for _, worker := range []string{"pi0", "pi1"} {
		if !strings.Contains(said.String(), worker+": its scratch cannot be swept") {
			t.Errorf("said: %q; want that the scratch of %s cannot be swept", said.String(), worker)
		}
	}
}

// A board cannot have its stream published over another's, nor change what was
// accepted.
func TestPublishingIsOutOfReach(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	others := newCanary(t, b.dir)
	job := b.encoded()
	// All that a board can write is its scratch.
	scratch := b.media(transcode.ScratchOf("pi1"))
	err := errors.Join(os.MkdirAll(fmt.Sprintf("%s/%d", scratch, job.ID), 0o777), os.Symlink("../../../hls/a", fmt.Sprintf("%s/%d/%s", scratch, job.ID, publishName)))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.sweepScratches(t.Context()), b.publishReady(t.Context())); err != nil {
		t.Error(err)
	}
	got, err := b.Job(t.Context(), job.ID)
	if err != nil || got.State != Done || !strings.HasPrefix(got.Output, "hls/clip/") {
		t.Errorf("job = %+v, %v; want it published as hls/clip", got, err)
	}
	others.check(t, b.dir, "hls/clip")
}

// Whatever was accepted cannot be written any more by who has it open.
func TestAcceptedIsACopyWhereNothingIsRevoked(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), func(o *Options) { o.Revoke = nil })
	job := b.submit(fixtureRequest)
	b.encode(transcode.Work{Job: job.ID, Unit: "probe"})
	reply, err := b.claim(t.Context(), "pi1", "")
	if err != nil {
		t.Fatal(err)
	}
	work := transcode.Work{Job: job.ID, Unit: reply.Unit.ID}
	writeAttempt(t, b.media(""), "pi1", work, reply.Attempt)
	name := theFixture(t).results[work.Unit].Segments[0].Name
	held, err := os.OpenFile(filepath.Join(scratchDir(b.media(""), "pi1", work.Job, work.Unit, reply.Attempt), name), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	verdict, err := b.accept(t.Context(), "pi1", transcode.Done{Job: work.Job, Unit: work.Unit, Attempt: reply.Attempt, Result: theFixture(t).results[work.Unit]})
	if err != nil || !verdict.Accepted {
		t.Fatalf("verdict = %+v, %v", verdict, err)
	}
	if _, err := held.WriteAt([]byte("swapped"), 0); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(b.media(transcode.AttemptDir(work.Job, work.Unit, reply.Attempt) + "/" + name))
	if err != nil || string(got) != string(theFixture(t).files[work.Unit][name]) {
		t.Errorf("what was accepted has changed: %v", err)
	}
}

// What a proof of the scratch's export writes is there until the proof has removed it. What has its
// name and is not that is swept.
func TestProofInAScratch(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	scratch := filepath.Join(b.media(transcode.ScratchDir), "pi1")
	old := time.Now().Add(-time.Hour)
	for name, size := range map[string]int{"now": probe.Size, "old": 1, "big": probe.Size + 1} {
		file := filepath.Join(scratch, probe.TracePrefix+name)
		if err := errors.Join(os.MkdirAll(scratch, 0o777), os.WriteFile(file, make([]byte, size), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(scratch, probe.TracePrefix+"old"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := b.sweepScratches(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(scratch, "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != probe.TracePrefix+"now" {
		t.Errorf("%q, %v; want what a proof writes now, and no more", left, err)
	}
}
