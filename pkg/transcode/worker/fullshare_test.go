//go:build chaos

package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// The share is full in the middle of a job: that fails and says why, leaves
// nothing, and is done when there is room again. (root: it mounts a small share)
func TestFullShare(t *testing.T) {
	t.Parallel()
	media := t.TempDir()
	if err := unix.Mount("tmpfs", media, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(media, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := newQueueOn(t, testLog(t), media)
	for i := range 2 {
		w := &Worker{Config: c.config(fmt.Sprintf("worker%d", i)), floor: 1}
		startWorker(t, w)
	}
	c.provide("a.mp4", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=320x180:r=10:d=24,noise=alls=40:allf=t "+x264+"-b:v 400k "))
	filler := filepath.Join(media, "filler")
	free, err := freeBytes(media)
	if err == nil {
		err = os.WriteFile(filler, make([]byte, free-200<<10), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	request := transcode.Request{Source: "a.mp4"}
	job := c.do(request)
	if job.State != queue.Failed || !strings.Contains(job.Reason, "the media share is full") {
		t.Errorf("job is %s: %s; want it failed for want of space", job.State, job.Reason)
	}
	c.checkSwept()
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if job := c.do(request); job.State != queue.Done {
		t.Errorf("job is %s: %s; want it done now that there is room", job.State, job.Reason)
	}
	c.checkSwept()
}
