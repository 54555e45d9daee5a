package queue

import (
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// A worker that says that it is stopped is offline at once, and is back with its next Hello.
func TestWorkerLeaves(t *testing.T) {
	ws, now := newWorkers(nil), time.Now()
	hello := transcode.Hello{Protocol: transcode.Protocol}
	leaving := hello
	leaving.Leaving = true
	for i, step := range []struct {
		hello         transcode.Hello
		changes, here bool
	}{{hello, true, true}, {hello, false, true}, {leaving, true, false}, {leaving, false, false}, {hello, true, true}} {
		changed := ws.hello("3333347a", step.hello, now)
		if w, _ := ws.get("3333347a"); changed != step.changes || w.Online != step.here {
			t.Errorf("hello %d: changed %v, online %v; want %v, %v", i, changed, w.Online, step.changes, step.here)
		}
	}
}

// A worker without ffmpeg ends and is started again and again; it lacks ffmpeg until it has found
// one.
func TestWorkerWithoutFFmpeg(t *testing.T) {
	ws, now := newWorkers(nil), time.Now()
	for i, step := range []struct {
		ffmpeg, no, want string
	}{{"", "", ""}, {"", "not found", "not found"}, {"", "", "not found"}, {"", "no such file", "no such file"}, {"7.1", "", ""}} {
		ws.hello("3333347a", transcode.Hello{FFmpeg: step.ffmpeg, NoFFmpeg: step.no}, now)
		if w, _ := ws.get("3333347a"); w.Hello.NoFFmpeg != step.want {
			t.Errorf("hello %d: no ffmpeg because %q; want %q", i, w.Hello.NoFFmpeg, step.want)
		}
	}
}

// How far a worker's clock is off is known of workers that report the time.
func TestWorkersClock(t *testing.T) {
	ws, now := newWorkers(nil), time.Now()
	for ahead, hello := range map[time.Duration]transcode.Hello{
		0:            {},
		time.Hour:    {Machine: transcode.Machine{Time: now.Add(time.Hour)}},
		-time.Minute: {Machine: transcode.Machine{Time: now.Add(-time.Minute)}},
	} {
		ws.hello("3333347a", hello, now)
		if w, _ := ws.get("3333347a"); w.Ahead != ahead {
			t.Errorf("Ahead = %v; want %v", w.Ahead, ahead)
		}
	}
}
