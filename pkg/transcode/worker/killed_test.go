package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// stderrLog is the log of a process, under its name.
func stderrLog(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With("process", name)
}

// The daemon with its broker, the workers and their ffmpeg are killed at random
// points. What is published then is the same, byte by byte, as where nobody was. What a
// progressive stream has announced meanwhile stays.
func TestKilled(t *testing.T) {
	t.Parallel()
	// Short enough to be cut alike, however many workers are known then.
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=320x180:r=25:d=16 -f lavfi -i sine=440:d=16 "+x264+"-c:a aac")
	want := map[wish]map[string]string{}
	for seed := range min(killSeeds, 4) {
		wish := wishOf(seed)
		want[wish] = newHistory(t, source, 0, wish).finish()
		if n := len(want[wish]); n < 40 {
			t.Fatalf("%d files are published; want segments of two renditions and of audio", n)
		}
	}
	for seed := range killSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, source, uint64(seed), wishOf(seed))
			if seed%2 == 0 { // else already while the workers try their ffmpeg
				h.await(func() bool { return exists(filepath.Join(h.dir, "media", transcode.JobDir(1))) })
			}
			for range kills {
				h.killOne()
			}
			if got := h.finish(); !maps.Equal(got, want[wishOf(seed)]) {
				t.Errorf("published: %v; want, as where nobody was killed, %v", got, want[wishOf(seed)])
			}
			t.Logf("killed: %v", h.killed)
		})
	}
}

// A wish is what a job is asked for whose processes are killed.
type wish struct{ progressive, quality bool }

func wishOf(seed int) wish { return wish{seed%4 == 1 || seed%4 == 2, seed%4 >= 2} }

// maxFailed attempts of one unit are less than what it takes to fail a job.
const maxFailed = 4

// A history is one of a job whose processes are killed.
type history struct {
	*testing.T
	dir     string
	random  *rand.Rand
	network *network
	daemon  *process
	workers []*process
	killed  map[string]int
	before  map[string]string // what the job has nothing to do with, and its source
}

func newHistory(t *testing.T, source string, seed uint64, wish wish) *history {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(source)
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "media"), 0o755)
	}
	if err == nil {
		err = errors.Join(os.WriteFile(filepath.Join(dir, "media/a.mp4"), data, 0o644),
			os.MkdirAll(filepath.Join(dir, "media/hls/other"), 0o755),
			os.WriteFile(filepath.Join(dir, "media/hls/other/master.m3u8"), []byte("published before"), 0o644))
	}
	for mark, wanted := range map[string]bool{progressiveMark: wish.progressive, qualityMark: wish.quality} {
		if wanted && err == nil {
			err = os.WriteFile(filepath.Join(dir, mark), nil, 0o644)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &history{T: t, dir: dir, random: rand.New(rand.NewPCG(seed, 3)), killed: map[string]int{}}
	h.before = h.others()
	if wish.progressive {
		h.follow()
	}
	h.daemon = startProcess(t, dir, daemonDir, dir)
	// Workers know one address, and each daemon has another.
	h.network = newNetwork(t, h.daemon.says, h.random)
	for i := range 2 {
		h.workers = append(h.workers, h.startWorker(i))
	}
	return h
}

func (h *history) startWorker(i int) *process {
	h.Helper()
	config, err := json.Marshal(Config{
		Name: fmt.Sprintf("worker%d", i), Token: queuetest.Token, QueueURL: "nats://" + h.network.addr().String(), MediaDir: filepath.Join(h.dir, "media"),
	})
	if err != nil {
		h.Fatal(err)
	}
	return startProcess(h.T, h.dir, workerConfig, string(config))
}

// killOne kills somebody after a while, if there is still something to be done.
func (h *history) killOne() {
	h.Helper()
	if !pause.For(h.Context(), time.Duration(h.random.IntN(700))*time.Millisecond) || h.published() {
		return
	}
	i := h.random.IntN(len(h.workers))
	spare := h.killed["worker"]+h.killed["ffmpeg"] >= maxFailed
	switch n := h.random.IntN(10); {
	case n < 4 || spare:
		h.killed["daemon"]++
		h.daemon.kill()
		h.daemon = startProcess(h.T, h.dir, daemonDir, h.dir)
		h.network.lead(h.daemon.says)
	case n < 6:
		h.killed["worker"]++
		h.workers[i].kill()
		h.workers[i] = h.startWorker(i)
	default:
		if h.workers[i].killFFmpeg() {
			h.killed["ffmpeg"]++
		}
	}
}

// await waits for what a process makes.
func (h *history) await(there func() bool) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 3*patience)
	defer cancel()
	for !there() {
		if !pause.For(ctx, 10*time.Millisecond) {
			h.Fatalf("still nothing after %v; killed: %v", 3*patience, h.killed)
		}
	}
}

// published reports whether the stream is whole: a progressive one has its average then.
func (h *history) published() bool {
	master, err := os.ReadFile(filepath.Join(h.dir, "media/hls/a/master.m3u8"))
	return err == nil && bytes.Contains(master, []byte("AVERAGE-BANDWIDTH"))
}

// follow reads the playlists again and again, until the test ends, and complains where one
// has changed but for what was appended.
func (h *history) follow() {
	done, ended := make(chan struct{}), make(chan struct{})
	h.Cleanup(func() { close(done); <-ended })
	go func() {
		defer close(ended)
		again, seen := time.NewTicker(10*time.Millisecond), map[string]string{}
		defer again.Stop()
		for {
			h.followOnce(seen)
			select {
			case <-done:
				return
			case <-again.C:
			}
		}
	}()
}

func (h *history) followOnce(seen map[string]string) {
	lists, err := filepath.Glob(filepath.Join(h.dir, "media/hls/a/*/index.m3u8"))
	if err != nil {
		h.Error(err)
	}
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the test ends
		}
		if now := string(text); err != nil || !strings.HasPrefix(now, seen[name]) {
			h.Errorf("%s, %v:\n%s\nwant what was announced, and more:\n%s", name, err, now, seen[name])
		} else {
			seen[name] = now
		}
	}
}

// finish waits for the end of the job and returns what was published, with the
// hash of each file.
func (h *history) finish() map[string]string {
	h.Helper()
	h.await(h.published)
	h.daemon.kill()
	for _, w := range h.workers {
		w.kill()
	}
	q := queuetest.Start(h.T, h.dir, nil)
	c := &cluster{T: h.T, queue: q.Queue, media: q.MediaDir}
	job, err := q.Job(h.Context(), 1)
	if err != nil {
		h.Fatal(err)
	}
	if job = c.waitEnd(job); job.State != queue.Done || job.Output != "hls/a/master.m3u8" {
		h.Errorf("job is %s at %q: %s; want it done at hls/a/master.m3u8", job.State, job.Output, job.Reason)
	}
	if all, err := q.Jobs(h.Context()); err != nil || len(all) != 1 {
		h.Errorf("%d jobs, %v; want one", len(all), err)
	}
	q.Close()
	c.checkSwept()
	if now := h.others(); !maps.Equal(now, h.before) {
		h.Errorf("besides what was published there is %v; want %v", now, h.before)
	}
	return hashes(h.T, filepath.Join(q.MediaDir, "hls/a"))
}

// others returns the files of the media share but those of the job, with the
// hash of each.
func (h *history) others() map[string]string {
	h.Helper()
	list := hashes(h.T, filepath.Join(h.dir, "media"))
	maps.DeleteFunc(list, func(name, _ string) bool { return strings.HasPrefix(name, "hls/a/") || strings.HasPrefix(name, ".") })
	return list
}

// hashes returns the files in a directory, with the hash of each.
func hashes(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := os.DirFS(dir)
	list := map[string]string{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		sum := sha256.Sum256(data)
		list[name] = hex.EncodeToString(sum[:4])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
