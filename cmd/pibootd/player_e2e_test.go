//go:build e2e

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pibootd/images"
	"pibootd/pkg/fleet"
	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

// published is what is made of one video, and what a browser has to make of it.
var published = []struct {
	name    string
	options []string
	levels  int
	refused string // is right, too, of a browser that has no decoder for it
}{
	{"ts", nil, 2, ""},
	{"cmaf", []string{"--segments", "cmaf"}, 2, ""},
	{"ts-encrypted", []string{"--encrypt"}, 2, ""},
	{"cmaf-encrypted", []string{"--segments", "cmaf", "--encrypt"}, 2, ""},
	{"hevc", []string{"--codec", "h265"}, 2, "manifestIncompatibleCodecsError: "},
	{"av1", []string{"--codec", "av1"}, 2, ""},
	{"rotated", []string{"--encrypt", "--key-every", "1"}, 2, ""},
	{"cmaf-rotated", []string{"--segments", "cmaf", "--encrypt", "--key-every", "2"}, 2, ""},
	{"two-pass", []string{"--segments", "cmaf", "--two-pass"}, 2, ""},
	{"h264-av1", []string{"--codec", "h264,av1"}, 4, ""},
	{"surround", nil, 4, ""},
	{"file", []string{"--mp4"}, 1, ""},
	{"tracks", nil, 2, ""},
	{"tracks-cmaf", []string{"--segments", "cmaf"}, 2, ""},
	{"sound", nil, 1, ""},
	{"0.04", []string{"--rung", "180"}, 1, ""},
	{"0.04-cmaf", []string{"--rung", "180", "--segments", "cmaf"}, 1, ""},
	{"0.2", []string{"--rung", "180"}, 1, ""},
	{"0.2-cmaf", []string{"--rung", "180", "--segments", "cmaf"}, 1, ""},
	{"slow", []string{"--rung", "180"}, 1, ""},
}

// makeTracks makes a video with two audio tracks and subtitles, and one of only sound.
func makeTracks(t *testing.T, video, sound, seconds string) {
	t.Helper()
	cues := filepath.Join(t.TempDir(), "cues.srt")
	putText(t, cues, "1\n00:00:01,000 --> 00:00:02,000\nfirst\n\n2\n00:00:05,000 --> 00:00:06,500\nlast\n")
	tone := []string{"-f", "lavfi", "-i", "sine=440:duration=" + seconds}
	args := append([]string{"-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=" + seconds}, append(tone, tone...)...)
	tool(t, "ffmpeg", append(args, "-i", cues, "-map", "0", "-map", "1", "-map", "2", "-map", "3", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac",
		"-c:s", "mov_text", "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=ger", "-metadata:s:s:0", "language=eng", video)...)
	tool(t, "ffmpeg", append(append([]string{"-v", "error", "-y"}, tone...), sound)...)
}

// hls.js in a browser plays every level of every kind of stream to its end, as
// the daemon serves it to a page of another origin.
func TestStreamsArePlayed(t *testing.T) {
	const seconds = 7
	l := newLab(t)
	l.serve(t)
	l.startWorker(t)
	video := filepath.Join(t.TempDir(), "a.mp4")
	makeVideo(t, video, strconv.Itoa(seconds))
	tracks, sound := filepath.Join(t.TempDir(), "tracks.mp4"), filepath.Join(t.TempDir(), "sound.mp3")
	makeTracks(t, tracks, sound, strconv.Itoa(seconds))
	surround := filepath.Join(t.TempDir(), "surround.mkv")
	tool(t, "ffmpeg", "-v", "error", "-y", "-i", video, "-filter_complex", "[0:a]pan=5.1|FL=c0|FR=c0|FC=c0|LFE=c0|BL=c0|BR=c0[a]",
		"-map", "0:v", "-map", "[a]", "-c:v", "copy", "-c:a", "ac3", surround)

	short := map[string]string{}
	for name, picture := range map[string]string{"0.04": "rate=25:duration=0.04", "0.2": "rate=25:duration=0.2", "slow": "rate=1:duration=3"} {
		short[name] = filepath.Join(t.TempDir(), name+".mp4")
		_, length, _ := strings.Cut(picture, "duration=")
		tool(t, "ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=320x180:"+picture, "-f", "lavfi", "-i", "sine=440:duration="+length,
			"-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", short[name])
	}

	var urls []string
	for _, p := range published {
		source := video
		switch {
		case strings.HasPrefix(p.name, "tracks"):
			source = tracks
		case p.name == "sound":
			source = sound
		case p.name == "surround":
			source = surround
		case short[strings.TrimSuffix(p.name, "-cmaf")] != "":
			source = short[strings.TrimSuffix(p.name, "-cmaf")]
		}
		args := append([]string{"transcode", source, "--name", p.name, "--segment-length", "2"}, p.options...)
		if p.levels > 1 {
			args = append(args, "--rung", "180", "--rung", "90")
		}
		job := l.waitFor(t, decode[web.Submitted](t, l, args...).Job)
		urls = append(urls, "http://10.77.0.1:8080/media/"+job.Output)
	}
	// The page is of another origin than the streams.
	page := l.openPage(t, l.servePage(t, playerPage(t)))
	page.WaitFor("window.Hls")
	for i, p := range published {
		var levels []playedLevel
		if err := json.Unmarshal([]byte(page.Text(fmt.Sprintf("play(%q)", urls[i]))), &levels); err != nil {
			t.Fatal(err)
		}
		if p.refused != "" && len(levels) == 1 && strings.HasPrefix(levels[0].Error, p.refused) {
			continue
		}
		if len(levels) != p.levels {
			t.Errorf("%s: %d levels were played; want %d", p.name, len(levels), p.levels)
		}
		length := float64(seconds)
		switch {
		case p.name == "slow":
			length = 3 + 2./3 // hls.js counts from the first decoding time, two frames earlier
		case strings.HasPrefix(p.name, "0."):
			length = 0.4 // as long as browsers need
		}
		for _, level := range levels {
			level.check(t, p.name, length)
		}
	}
}

// importTiny imports a template that nothing boots from, but for the boot files that
// are added to it.
func (l *lab) importTiny(t *testing.T, bootFiles ...string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/os-release": "PRETTY_NAME=Tiny\n", "boot/firmware/config.txt": "kernel=kernel8.img\n",
	} {
		putText(t, filepath.Join(root, name), text)
	}
	for _, name := range bootFiles {
		putText(t, filepath.Join(root, "boot/firmware", name), strings.Repeat(name, 1000))
	}
	tool(t, "install", "-D", "/bin/busybox", filepath.Join(root, "sbin/init"))
	tool(t, "install", "-D", "/bin/busybox", filepath.Join(root, "bin/sh"))
	l.pibootd(t, "template", "import", "tiny", root)
}

// startWorker makes this machine the worker of a board that is registered and off.
func (l *lab) startWorker(t *testing.T, bootFiles ...string) {
	t.Helper()
	l.importTiny(t, bootFiles...)
	added := decode[fleet.Added](t, l, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1")
	l.workAs(t, l.net, added.Pi.Serial)
}

// workAs starts the worker of a board in a network namespace. The media share is its
// own directory.
func (l *lab) workAs(t *testing.T, where *netlab.Namespace, board pi.Serial) *process {
	t.Helper()
	worker := l.workerOf(t, board)
	return l.startIn(t, where, worker[0], worker[1:]...)
}

// workerOf returns the program that is the worker of a board on this machine, and its arguments.
func (l *lab) workerOf(t *testing.T, board pi.Serial) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.state, "roots", board.String(), "etc/pibootd/worker.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config["media_dir"] = filepath.Join(l.state, "media")
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	arch := map[string]pi.Arch{"amd64": pi.AMD64, "arm64": pi.ARM64}[runtime.GOARCH]
	worker, err := images.Worker(arch)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, program := filepath.Join(dir, "worker.json"), filepath.Join(dir, "pibootd-worker")
	if err := errors.Join(os.WriteFile(file, text, 0o600), os.WriteFile(program, worker, 0o755)); err != nil {
		t.Fatal(err)
	}
	return []string{program, "-config", file}
}

// waitFor returns a job that is done.
func (l *lab) waitFor(t *testing.T, job queue.Job) queue.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labTimeout)
	defer cancel()
	for update, err := range l.client.WatchJob(ctx, job.ID) {
		if err != nil {
			t.Fatal(err)
		}
		job = update
	}
	if job.State != queue.Done {
		t.Fatalf("job %d is %s: %s %q; want it done", job.ID, job.State, job.Reason, job.Stderr)
	}
	return job
}

// A playedLevel is what a browser says of one level that it played.
type playedLevel struct {
	Error      string  `json:"error"`
	Ended      bool    `json:"ended"`
	At         float64 `json:"at"`
	Duration   float64 `json:"duration"`
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Frames     int     `json:"frames"`
	AudioBytes int     `json:"audioBytes"`

	// Of streams only.
	AudioTracks []string `json:"audioTracks"`
	AudioTrack  int      `json:"audioTrack"` // that was played last
	Cues        []string `json:"cues"`       // that were shown

	Level      int   `json:"level"`
	Played     []int `json:"played"`
	WantWidth  int   `json:"wantWidth"` // as the master playlist has it
	WantHeight int   `json:"wantHeight"`
}

func (p playedLevel) check(t *testing.T, name string, seconds float64) {
	t.Helper()
	if p.Error != "" || !p.Ended {
		t.Errorf("%s, level %d: %q at %.2f s; want it played to the end", name, p.Level, p.Error, p.At)
	}
	if math.Abs(p.Duration-seconds) > 0.2 || p.At < p.Duration-0.2 {
		t.Errorf("%s, level %d: ends at %.2f of %.2f s; want %.0f", name, p.Level, p.At, p.Duration, seconds)
	}
	if strings.HasPrefix(name, "tracks") {
		p.checkTracks(t, name)
	}
	if p.Frames == 0 && name != "sound" || p.AudioBytes == 0 {
		t.Errorf("%s, level %d: %d frames and %d bytes of audio were decoded; want both", name, p.Level, p.Frames, p.AudioBytes)
	}
	for _, level := range p.Played {
		if level != p.Level {
			t.Errorf("%s: level %d was played; want %d alone", name, level, p.Level)
		}
	}
	if p.WantWidth != 0 && len(p.Played) == 0 {
		t.Errorf("%s, level %d: no segment of it was played", name, p.Level)
	}
	if p.WantWidth != 0 && (p.Width != p.WantWidth || p.Height != p.WantHeight) {
		t.Errorf("%s, level %d is %dx%d; want the master playlist's %dx%d", name, p.Level, p.Width, p.Height, p.WantWidth, p.WantHeight)
	}
}

// checkTracks makes sure that the audio was switched, and that subtitles were shown.
func (p playedLevel) checkTracks(t *testing.T, name string) {
	t.Helper()
	if want := []string{"English", "Deutsch"}; !slices.Equal(p.AudioTracks, want) || p.AudioTrack != 1 {
		t.Errorf("%s, level %d: audio tracks %q, %d was played last; want %q, and the second one", name, p.Level, p.AudioTracks, p.AudioTrack, want)
	}
	if want := []string{"first", "last"}; !slices.Equal(p.Cues, want) {
		t.Errorf("%s, level %d: subtitles %q were shown; want %q", name, p.Level, p.Cues, want)
	}
}

// playerPage serves the page and hls.js, as the dashboard has it.
func playerPage(t *testing.T) http.Handler {
	t.Helper()
	const hlsJS = "../../pkg/web/ui/node_modules/hls.js/dist/hls.min.js"
	if _, err := os.Stat(hlsJS); err != nil {
		t.Fatalf("no hls.js to play with, run make ui first: %v", err)
	}
	mux := http.NewServeMux()
	for path, file := range map[string]string{"GET /{$}": "testdata/player.html", "GET /hls.js": hlsJS} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	}
	return mux
}

// servePage serves HTTP in the lab's network until the test ends.
func (l *lab) servePage(t *testing.T, handler http.Handler) (url string) {
	t.Helper()
	var listener net.Listener
	err := l.net.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "10.77.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: labTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String() + "/"
}
