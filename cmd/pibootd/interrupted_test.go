package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A command that waits for a job says what its interruption means, and ends as shells expect it.
func TestWaitingIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	_, socket, _ := serveQueueOverTCP(t, dir)
	video := filepath.Join(dir, "media", "a.mp4")
	if err := os.MkdirAll(filepath.Dir(video), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(video, []byte("a video"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		shown := &onceShown{do: func() {
			if err := syscall.Kill(os.Getpid(), signal); err != nil {
				t.Error(err)
			}
		}}
		code := run([]string{"pibootd", "transcode", "a.mp4", "--wait", "--force", socket}, streams{in: strings.NewReader(""), out: &shown.text, err: shown})
		want := interruption{signal}.Error()
		if text := shown.text.String(); code != 128+int(signal) || !strings.Contains(text, "which goes on: "+want) || !strings.Contains(text, "hint: pibootd jobs show") || strings.Contains(text, "context") {
			t.Errorf("%v: exit %d\n%s\nwant %d, and that the job goes on", signal, code, text, 128+int(signal))
		}
	}
}

// A onceShown does something when a command has shown the progress of a job.
type onceShown struct {
	text strings.Builder
	do   func()
}

func (o *onceShown) Write(text []byte) (int, error) {
	if o.do != nil && strings.Contains(string(text), "queued") {
		o.do()
		o.do = nil
	}
	return o.text.Write(text)
}
