package worker

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// The worker that receives what an encoder sends is killed. The encoder stays connected and
// does not wait; another worker receives the stream, behind a discontinuity, and the clock
// of its playlist says when that was sent.
func TestLiveEncoderKeepsItsConnection(t *testing.T) {
	t.Parallel()
	l := newLiveQueue(t)
	l.startWorker("a")
	l.startWorker("b")
	url := l.startRTMP()
	if _, err := l.queue.AddLive(t.Context(), transcode.Request{Name: "show", Live: &transcode.Live{Listen: true}, Output: liveRungs}); err != nil {
		t.Fatal(err)
	}
	key, err := l.queue.LiveKey("show", false)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.send("-f", "flv", url+key)
	f := &liveFollower{rendition: "90p"}
	l.until(f, begun(0))
	before, err := l.queue.Live("show")
	if err != nil {
		t.Fatal(err)
	}
	l.workers[before.Ingest].kill()
	killed := time.Now()
	l.until(f, begun(1))
	for range 3 {
		l.next(f)
	}
	after, err := l.queue.Live("show")
	if err != nil || after.Encoder == "" || after.Encoder != before.Encoder || after.Ingest == before.Ingest {
		t.Errorf("%q sends to %s, %v; want %q still, to another worker than %s", after.Encoder, after.Ingest, err, before.Encoder, before.Ingest)
	}
	l.wantClock(f.list, began, killed)
	if _, err := l.queue.StopLive(t.Context(), "show"); err != nil {
		t.Fatal(err)
	}
	l.until(f, ended)
}

// wantClock makes sure that what was received after a time has later times, and that no
// frame was received before it could be sent, or after now.
func (l *liveTest) wantClock(list hls.LivePlaylist, began, changed time.Time) {
	l.Helper()
	for _, s := range list.Segments {
		end := s.Time.Add(time.Duration(s.Seconds() * float64(time.Second)))
		earliest := began
		if s.Session > 0 {
			earliest = changed
		}
		if s.Time.Before(earliest.Add(-time.Second)) || end.After(time.Now().Add(time.Second)) {
			l.Errorf("segment %d of connection %d is from %v to %v; want it between %v and %v\n%s", s.Number, s.Session, s.Time, end, earliest, time.Now(), list.Text())
		}
	}
}

// What a source has kept and sends at once was received earlier than its first byte.
func TestLiveBeginning(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := beginning{first: now.Add(-3 * time.Second), last: now.Add(-time.Second)}
	for _, tt := range []struct {
		end  float64 // of the last frame that came
		want time.Duration
	}{{0, 3 * time.Second}, {2, 3 * time.Second}, {7.5, 8500 * time.Millisecond}} {
		p := transcode.Probe{Video: &transcode.VideoStream{EndSeconds: tt.end}}
		if got := b.since(now, p); got != tt.want {
			t.Errorf("%v s in 2 s: %v; want %v", tt.end, got, tt.want)
		}
	}
}

// A source that has no sound has a silent track. When sound comes, it is heard, behind a
// discontinuity.
func TestLiveSoundComesLater(t *testing.T) {
	t.Parallel()
	l := newLiveSourceTest(t)
	if err := unix.Mkfifo(filepath.Join(l.queue.MediaDir, "camera"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(l.queue.MediaDir, "camera")
	if _, err := l.queue.AddLive(t.Context(), transcode.Request{Source: "camera", Name: "show", Output: liveRungs}); err != nil {
		t.Fatal(err)
	}
	stop := l.send("-an", "-f", "mpegts", pipe)
	sound := &liveFollower{rendition: transcode.AudioName}
	l.until(sound, begun(0))
	if n := l.partBytes(sound.list); n > 2000 {
		t.Errorf("a part without sound has %d bytes; want silence", n)
	}
	stop()
	l.send("-output_ts_offset", "30", "-f", "mpegts", pipe)
	l.until(sound, begun(1))
	l.next(sound)
	if n := l.partBytes(sound.list); n < 4000 {
		t.Errorf("a part with sound has %d bytes; want more than silence", n)
	}
}

// partBytes returns the size of a playlist's last part.
func (l *liveTest) partBytes(list hls.LivePlaylist) int64 {
	l.Helper()
	s := list.Segments[len(list.Segments)-1]
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	file, err := l.queue.OpenLive(ctx, "show", transcode.AudioName, fmt.Sprintf("%d.%d.m4s", s.Number, len(s.Parts)-1))
	if err != nil {
		l.Fatal(err)
	}
	defer file.Close()
	return file.Bytes
}
