package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// Whatever lies in the share: its job says what is wrong with it, the jobs
// beside it continue, and nothing is left behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	clip := "-f lavfi -i testsrc2=s=64x64:r=10:d=3 " + x264
	bad := []struct{ name, source, want string }{
		{"truncated.mp4", spoiled(t, 0.5, "a.mp4", clip), "not a video that ffmpeg can read"},
		{"truncated.mkv", spoiled(t, 0.3, "a.mkv", clip+"-b:v 2M -minrate 2M "), "it is truncated"},
		{"empty.mp4", written(t, "a.mp4", ""), "it is empty"},
		{"text.mp4", written(t, "a.mp4", strings.Repeat("this is not a video\n", 1000)), "not a video that ffmpeg can read"},
		{"encrypted.mp4", makeSource(t, "a.mp4", clip+encryption), "it is encrypted"},
		{"huge.mkv", makeSource(t, "a.mkv", "-f lavfi -i color=s=8300x64:d=0.1 -c:v ffv1"), "its picture is 8300x64"},
		{"no-time.mkv", makeSource(t, "a.mkv", clip+"-frames:v 0"), "not a video that ffmpeg can read"},
		{"subtitles.srt", written(t, "a.srt", someCues), "it has neither video nor sound"},
	}
	good := []struct{ name, source string }{
		{"one-frame.mp4", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=25 -frames:v 1 "+x264)},
		{"wrong-extension.avi", makeSource(t, "a.mkv", clip)},
	}
	c := newCluster(t)
	jobs := map[string]queue.Job{}
	for _, b := range bad {
		c.provide(b.name, b.source)
		jobs[b.name] = c.submit(transcode.Request{Source: b.name})
	}
	for _, g := range good {
		c.provide(g.name, g.source)
		jobs[g.name] = c.submit(transcode.Request{Source: g.name})
	}
	for _, b := range bad {
		if job := c.waitEnd(jobs[b.name]); job.State != queue.Failed || !strings.Contains(job.Reason, b.want) || job.Output != "" {
			t.Errorf("%s: job is %s: %q, %q; want it failed because %s", b.name, job.State, job.Reason, job.Output, b.want)
		}
	}
	for _, g := range good {
		if job := c.waitEnd(jobs[g.name]); job.State != queue.Done {
			t.Errorf("%s: job is %s: %s; want it done", g.name, job.State, job.Reason)
		}
	}
	c.checkSwept()
}

const encryption = "-encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff -encryption_kid 00112233445566778899aabbccddeeff "

// A scratch that workers cannot write to is said to be so, after every other
// worker had its try.
func TestUnwritableScratch(t *testing.T) {
	t.Parallel()
	c := newQueue(t, testLog(t))
	c.provide("a.mp4", makeSource(t, "a.mp4", shortClip))
	// Even root cannot make a directory in /proc.
	for i := range 2 {
		name := fmt.Sprintf("worker%d", i)
		if err := os.Symlink("/proc", filepath.Join(c.media, transcode.ScratchOf(name))); err != nil {
			t.Fatal(err)
		}
		startWorker(t, &Worker{Config: c.config(name)})
	}
	job := c.do(transcode.Request{Source: "a.mp4"})
	if job.State != queue.Failed || !strings.Contains(job.Reason, "the attempt's directory") {
		t.Errorf("job is %s: %q; want it failed, and why", job.State, job.Reason)
	}
}
