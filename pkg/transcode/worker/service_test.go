package worker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// waitHello waits for a Hello that is as wanted.
func waitHello(t *testing.T, q *testQueue, what string, wanted func(transcode.Hello) bool) transcode.Hello {
	t.Helper()
	for {
		if h := wait(t, "hello that is "+what, q.hellos); wanted(h) {
			return h
		}
	}
}

func noWork(t *testing.T, q *testQueue) {
	t.Helper()
	select {
	case c := <-q.claims:
		t.Errorf("claim = %+v; want none", c)
	default:
	}
}

// A board whose lock file is there refuses work, says so, and resumes when it
// is gone.
func TestWorkerLocked(t *testing.T) {
	t.Parallel()
	lock := written(t, "hlsmux.lock", "")
	q := newTestQueue(t)
	q.claim = grant(probeUnit)
	q.start()
	q.announce(transcode.LaneAny, probeUnit)
	runWorker(t, q, makeSource(t, "a.mp4", shortClip), func(w *Worker) { w.Lock, w.pace.locked = lock, 10*time.Millisecond })
	waitHello(t, q, "locked", func(h transcode.Hello) bool { return h.Locked == lock+" is there" && h.FFmpeg != "" })
	noWork(t, q)
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	wait(t, "result", q.dones)
	waitHello(t, q, "in service", func(h transcode.Hello) bool { return h.Locked == "" })
}

// A drained worker finishes what it does and takes no more.
func TestWorkerDrained(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.claim = grant(probeUnit)
	q.drain.Store(true)
	q.start()
	q.announce(transcode.LaneAny, probeUnit)
	runWorker(t, q, makeSource(t, "a.mp4", shortClip), nil)
	waitHello(t, q, "drained", func(h transcode.Hello) bool { return h.Locked == "it is drained" })
	noWork(t, q)
	q.drain.Store(false)
	wait(t, "result", q.dones)
}

// Where ffmpeg cannot do what units need, none is taken and failed.
func TestWorkerOldFFmpeg(t *testing.T) {
	t.Parallel()
	ffmpeg := written(t, "ffmpeg", "#!/bin/sh\necho ffmpeg version 4.3.6 Copyright >&2\necho Unrecognized option >&2\nexit 1\n")
	if err := os.Chmod(ffmpeg, 0o755); err != nil {
		t.Fatal(err)
	}
	q := newTestQueue(t)
	q.start()
	q.announce(transcode.LaneAny, probeUnit)
	runWorker(t, q, "", func(w *Worker) { w.FFmpeg = ffmpeg })
	waitHello(t, q, "out of service", func(h transcode.Hello) bool {
		return h.Locked == "ffmpeg 4.3.6 does not encode by libx264 here; want ffmpeg 5.1 or newer with it"
	})
	noWork(t, q)
}

func TestWorkerNeedsRoom(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.start()
	r := runWorker(t, q, "", func(w *Worker) { w.floor = 1 << 60 })
	h := waitHello(t, q, "out of service", func(h transcode.Hello) bool { return h.Locked != "" })
	if _, err := os.Stat(r.media); err != nil || h.Locked[:19] != "the media share has" {
		t.Errorf("locked = %q, %v; want it to say that there is no room", h.Locked, err)
	}
}

// What was cancelled is stopped, and nothing of it is left.
func TestWorkerRevoked(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u, probeUnit)
	q.start()
	q.announce(transcode.LaneAny, u)
	ffmpeg := stubbornFFmpeg(t)
	r := runWorker(t, q, source, func(w *Worker) { w.FFmpeg = ffmpeg })
	for p := wait(t, "progress", q.progress); p.Frames < 1; p = wait(t, "progress", q.progress) {
	}
	q.revoked.Store(true)
	r.waitLog(t, "unit stopped reason=the attempt no longer counts: the job was cancelled")
	q.revoked.Store(false)
	q.announce(transcode.LaneAny, probeUnit)
	if d := wait(t, "result", q.dones); d.Unit != probeUnit.ID {
		t.Errorf("done = %s; want %s, which comes next", d.Unit, probeUnit.ID)
	}
	if len(q.failures) > 0 {
		t.Errorf("failed = %+v; want nothing said of an attempt that does not count", <-q.failures)
	}
	if _, err := os.Stat(r.attemptDir(u.ID, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the attempt's directory: %v; want it removed", err)
	}
}

// The speed of what was done is reply.
func TestWorkerTellsItsSpeed(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u)
	q.start()
	q.announce(transcode.LaneAny, u)
	runWorker(t, q, source, nil)
	d := wait(t, "result", q.dones)
	h := waitHello(t, q, "measured", func(h transcode.Hello) bool { return len(h.Speeds) > 0 })
	if want := []transcode.Speed{{Encoder: "libx264", Lines: 64, FPS: d.Result.FPS}}; !slices.Equal(h.Speeds, want) {
		t.Errorf("speeds = %v; want %v", h.Speeds, want)
	}
}

// Units that need no more than libx264 are begun while other encoders are
// still being tried.
func TestWorkerBeginsBeforeAllIsTried(t *testing.T) {
	t.Parallel()
	ffmpeg := written(t, "ffmpeg", "#!/bin/sh\ncase \"$*\" in *libx265*) sleep 1000 & wait ;; esac\nexec ffmpeg \"$@\"\n")
	if err := os.Chmod(ffmpeg, 0o755); err != nil {
		t.Fatal(err)
	}
	source := makeSource(t, "a.mp4", shortClip)
	u := units(t, source)[0]
	q := newTestQueue(t)
	q.claim = grant(u)
	q.start()
	q.announce(transcode.LaneAny, u)
	runWorker(t, q, source, func(w *Worker) { w.FFmpeg = ffmpeg })
	wait(t, "result", q.dones)
	h := waitHello(t, q, "in service", func(h transcode.Hello) bool { return len(h.Encoders) > 0 })
	if !slices.Equal(h.Encoders, []string{transcode.EncoderX264}) {
		t.Errorf("encoders = %q; want the one that was tried", h.Encoders)
	}
}

// Other encoders are reported when they have been tried.
func TestWorkerTellsOfMoreEncoders(t *testing.T) {
	t.Parallel()
	q := newTestQueue(t)
	q.start()
	runWorker(t, q, "", nil)
	waitHello(t, q, "complete", func(h transcode.Hello) bool { return slices.Contains(h.Encoders, transcode.EncoderX265) })
}

// What a board decodes with is what has decoded a test clip there, the better
// first; only devices that are there are tried.
func TestDecodersAreTried(t *testing.T) {
	t.Parallel()
	const video10, vchiq = "/dev/video10", "/dev/vchiq"
	tests := map[string]struct {
		hwdec          bool
		devices, works []string
		want           []string
	}{
		"both":            {true, []string{video10, vchiq}, []string{"h264_v4l2m2m", "h264_mmal"}, []string{"h264_v4l2m2m", "h264_mmal"}},
		"the older":       {true, []string{video10, vchiq}, []string{"h264_mmal"}, []string{"h264_mmal"}},
		"none works":      {true, []string{video10, vchiq}, nil, nil},
		"no device of it": {true, []string{video10}, []string{"h264_mmal"}, nil},
		"not asked for":   {false, []string{video10, vchiq}, []string{"h264_v4l2m2m"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &Worker{FFmpeg: decodingFFmpeg(t, test.works), Boot: Boot{HWDecode: test.hwdec}, devices: test.devices}
			found, err := w.capabilities(t.Context())
			if err != nil || !slices.Equal(found.decoders, test.want) {
				t.Fatalf("decoders = %q, %v; want %q", found.decoders, err, test.want)
			}
			w.decoders = found.decoders
			unit := transcode.Unit{Video: &transcode.VideoUnit{SourceCodec: "h264"}}
			if got := w.decoderFor(unit); len(test.want) > 0 && got != test.want[0] || len(test.want) == 0 && got != "" {
				t.Errorf("decoder of a unit = %q; want the first of %q", got, test.want)
			}
		})
	}
}

// decodingFFmpeg is an ffmpeg whose software poses as these decoders.
func decodingFFmpeg(t *testing.T, works []string) string {
	const script = `#!/bin/bash
args=("$@")
for ((i = 0; i + 2 < $#; i++)); do
	[ "${args[i]} ${args[i+2]}" = "-c:v -i" ] || continue
	case " %s " in
	*" ${args[i+1]} "*) args[i+1]=h264 ;;
	*) echo ffmpeg version test >&2; exit 1 ;;
	esac
done
exec ffmpeg "${args[@]}"
`
	ffmpeg := written(t, "ffmpeg", fmt.Sprintf(script, strings.Join(works, " ")))
	if err := os.Chmod(ffmpeg, 0o755); err != nil {
		t.Fatal(err)
	}
	return ffmpeg
}

// liar is an ffmpeg that can all it is asked, but leaves nothing.
const liar = `#!/bin/sh
echo ffmpeg version test >&2
`

// A hardware encoder whose work cannot be proved is no longer reported.
func TestWorkerSetsEncoderAside(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mp4", shortClip)
	first := units(t, source)[0]
	first.Video.Encoder = "h264_omx"
	second := first
	second.ID = "second"
	q := newTestQueue(t)
	q.claim = grant(first, second)
	q.start()
	q.announce(transcode.LaneAny, first)
	ffmpeg := written(t, "ffmpeg", liar)
	if err := os.Chmod(ffmpeg, 0o755); err != nil {
		t.Fatal(err)
	}
	r := runWorker(t, q, source, func(w *Worker) { w.FFmpeg = ffmpeg })
	wait(t, "failure", q.failures)
	q.announce(transcode.LaneAny, second)
	r.waitLog(t, "encoder set aside encoder=h264_omx")
	wait(t, "failure", q.failures)
}
