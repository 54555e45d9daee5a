package main

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
	"pibootd/pkg/transcode/worker"
)

// A creatorOutput is what a row of docs/from-hls-stream-creator.md has made.
type creatorOutput struct {
	*testing.T
	dir   string // the media share
	entry string // what a player opens, in it
	note  string
}

// pieces is the number of frames and seconds of the video of each row.
const (
	creatorFrames  = 75
	creatorSeconds = 3
)

// TestFromHLSStreamCreator does what each row of docs/from-hls-stream-creator.md says,
// and looks at what comes out.
func TestFromHLSStreamCreator(t *testing.T) {
	t.Parallel()
	media := t.TempDir()
	source := "-f lavfi -i testsrc2=s=192x128:r=25:d=3 -f lavfi -i sine=440:d=3 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac"
	creatorRun(t, media, "ffmpeg", append(strings.Fields("-v error "+source), "a.mp4")...)
	log := slog.New(slog.DiscardHandler)
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.MediaDir, o.Log = media, log })
	startWorkers(t, q, media, log)
	tried := map[string]queue.Job{} // all are handed in at once, so that the workers never wait
	for _, flags := range creatorRows(t) {
		request := creatorRequest(t, flags)
		request.Name = fmt.Sprintf("row-%d", len(tried)+1)
		job, _, err := q.Queue.Submit(t.Context(), request)
		if err != nil {
			t.Fatalf("%s: %v", flags, err)
		}
		tried[flags] = job
	}
	for flags, job := range tried {
		look := creatorChecks()[flags]
		if look == nil {
			t.Errorf("%s: nothing looks at what it makes", flags)
			continue
		}
		t.Run(flags, func(t *testing.T) { look(creatorOutput{t, media, "", ""}.of(q, job)) })
	}
	for flags := range creatorChecks() {
		if _, ok := tried[flags]; !ok {
			t.Errorf("%s is in no row of the page", flags)
		}
	}
}

// creatorRows returns the flags of each row of the page, without their quotes.
func creatorRows(t *testing.T) []string {
	text, err := os.ReadFile("../../docs/from-hls-stream-creator.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(cells[0], "---") || strings.TrimSpace(cells[len(cells)-1]) == "pibootd" {
			continue
		}
		rows = append(rows, strings.Trim(strings.TrimSpace(cells[len(cells)-1]), "`"))
	}
	if len(rows) < 20 {
		t.Fatalf("%d rows; want those of the page", len(rows))
	}
	return rows
}

// creatorRequest reads a command line as the command does.
func creatorRequest(t *testing.T, flags string) (request transcode.Request) {
	command := transcodeCommand(streams{})
	command.Action = func(c *cli.Context) (err error) {
		videos, options := videosAndOptions(c.Args().Slice())
		request, err = requestOf(c, videos, options)
		return err
	}
	app := newApp(streams{})
	app.Commands = []*cli.Command{command}
	if err := app.Run(flagsFirst(app, strings.Fields("pibootd transcode a.mp4 "+flags))); err != nil {
		t.Fatal(err)
	}
	request.Source = "a.mp4"
	return request
}

// startWorkers has two workers do the work until the test ends.
func startWorkers(t *testing.T, q *queuetest.Queue, media string, log *slog.Logger) {
	for i := range 2 {
		w := &worker.Worker{Log: log, Config: worker.Config{
			Name: fmt.Sprintf("worker%d", i), Token: queuetest.Token, QueueURL: "nats://" + q.Broker.Addr().String(), MediaDir: media,
		}}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// of waits for the end of a job.
func (p creatorOutput) of(q *queuetest.Queue, job queue.Job) creatorOutput {
	p.Helper()
	for update, err := range q.Queue.Watch(p.Context(), job.ID) {
		if err != nil {
			p.Fatal(err)
		}
		job = update
	}
	if job.State != queue.Done {
		p.Fatalf("the job is %s: %s %q", job.State, job.Reason, job.Stderr)
	}
	p.entry, p.note = job.Output, job.Note
	return p
}

// probe returns what ffprobe says of the entry, or of a file beside it.
func (p creatorOutput) probe(args ...string) string {
	p.Helper()
	return strings.TrimSpace(creatorRun(p.T, p.dir, "ffprobe", append(append([]string{"-v", "error", "-allowed_extensions", "ALL"}, args...), p.entry)...))
}

// plays makes sure that a player decodes every frame.
func (p creatorOutput) plays() {
	p.Helper()
	args := []string{"-v", "error"}
	if strings.HasSuffix(p.entry, ".m3u8") {
		args = append(args, "-allowed_extensions", "ALL")
	}
	args = append(args, "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", p.entry)
	if out := creatorRun(p.T, p.dir, "ffprobe", args...); !strings.HasPrefix(strings.Trim(out, ",\n"), strconv.Itoa(creatorFrames)) {
		p.Errorf("a player decodes %q frames; want %d", out, creatorFrames)
	}
}

// has makes sure that files of the stream match each pattern.
func (p creatorOutput) has(patterns ...string) {
	p.Helper()
	for _, pattern := range patterns {
		if found, err := filepath.Glob(filepath.Join(p.dir, filepath.Dir(p.entry), pattern)); err != nil || len(found) == 0 {
			p.Errorf("no %s (%v) beside %s: %q", pattern, err, p.entry, p.files())
		}
	}
}

// files returns the files of the stream.
func (p creatorOutput) files() []string {
	var files []string
	dir := os.DirFS(filepath.Join(p.dir, filepath.Dir(p.entry)))
	err := fs.WalkDir(dir, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		p.Error(err)
	}
	return files
}

// text returns a playlist of the stream.
func (p creatorOutput) text(name string) string {
	p.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, filepath.Dir(p.entry), name))
	if err != nil {
		p.Fatal(err)
	}
	return string(text)
}

// kbps returns the bitrates of the first rendition's segments.
func (p creatorOutput) kbps(pattern string) []float64 {
	p.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, filepath.Dir(p.entry), pattern))
	if err != nil {
		p.Fatal(err)
	}
	var rates []float64
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			p.Fatal(err)
		}
		rates = append(rates, float64(info.Size())*8/1000/creatorSeconds)
	}
	return rates
}

func creatorRun(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// corner returns the greatest brightness near the upper edge: 16 is black.
func (p creatorOutput) corner() int {
	p.Helper()
	cmd := exec.CommandContext(p.Context(), "ffmpeg", "-v", "error", "-i", p.entry, "-frames:v", "1", "-vf", "crop=160:10:0:2", "-pix_fmt", "gray", "-f", "rawvideo", "-")
	cmd.Dir = p.dir
	out, err := cmd.Output()
	if err != nil || len(out) == 0 {
		p.Fatal(err)
	}
	return int(slices.Max(out))
}

// rates checks that all bitrates lie in these bounds.
func (p creatorOutput) rates(pattern string, least, most float64) {
	p.Helper()
	rates := p.kbps(pattern)
	for _, kbps := range rates {
		if kbps < least || kbps > most {
			p.Errorf("%s: %.0f kb/s; want %.0f to %.0f", pattern, kbps, least, most)
		}
	}
	if len(rates) == 0 {
		p.Errorf("no %s: %q", pattern, p.files())
	}
}

// audio makes sure of the codec of the audio.
func (p creatorOutput) audio(want string) {
	p.Helper()
	p.plays()
	if got := p.probe("-select_streams", "a:0", "-show_entries", "stream=codec_name", "-of", "csv=p=0"); !strings.HasPrefix(got, want) || want == "" && got != "" {
		p.Errorf("audio by %q; want %q", got, want)
	}
}

// creatorChecks look at what the flags of each row have made.
func creatorChecks() map[string]func(creatorOutput) {
	return map[string]func(creatorOutput){
		"":                   func(p creatorOutput) { p.plays() },
		"--segment-length 1": func(p creatorOutput) { p.plays(); p.has("*/00002.ts") },
		"--output-dir films": func(p creatorOutput) {
			p.plays()
			if !strings.HasPrefix(p.entry, "films/row-") {
				p.Errorf("published at %s; want it in films", p.entry)
			}
		},
		"--rung source:128k --rung source:256k": func(p creatorOutput) {
			p.plays()
			p.has("128p-128000/00000.ts", "128p-256000/00000.ts")
		},
		"--rung source:28k": func(p creatorOutput) { p.plays(); p.rates("128p/*.ts", 10, 60) },
		"--rung 160x160:128k": func(p creatorOutput) {
			p.plays()
			if got := p.corner(); got > 30 || !strings.Contains(p.text("master.m3u8"), "RESOLUTION=160x160") {
				p.Errorf("a bar of brightness %d: %s", got, p.text("master.m3u8"))
			}
		},
		"--rung 160x160:128k --stretch": func(p creatorOutput) {
			p.plays()
			if got := p.corner(); got < 40 {
				p.Errorf("the picture's edge has the brightness %d; want no bar", got)
			}
		},
		"--playlist-name film_master": func(p creatorOutput) { p.plays(); p.has("film_master.m3u8") },
		"--segment-name part":         func(p creatorOutput) { p.plays(); p.has("128p/part_00000.ts", "audio/part_00000.ts") },
		"--segment-dir pieces":        func(p creatorOutput) { p.plays(); p.has("pieces/128p/index.m3u8", "pieces/128p/00000.ts") },
		"--encrypt":                   func(p creatorOutput) { p.plays(); p.has("stream.key") },
		"--encrypt --key-name film.key": func(p creatorOutput) {
			p.plays()
			p.has("film.key")
		},
		"--two-pass --rung source:200k": func(p creatorOutput) { p.plays(); p.rates("128p/*.ts", 130, 260) },
		"--crf 28 --rung source:200k":   func(p creatorOutput) { p.plays(); p.rates("128p/*.ts", 20, 330) },
		"--constant --rung source:300k": func(p creatorOutput) { p.plays(); p.rates("128p/*.ts", 260, 360) },
		"--codec h265":                  func(p creatorOutput) { p.plays(); p.has("128p/init.mp4") },
		"--audio mp3:128k":              func(p creatorOutput) { p.audio("mp3") },
		"--audio ac3":                   func(p creatorOutput) { p.audio("ac3") },
		"--audio eac3":                  func(p creatorOutput) { p.audio("eac3") },
		"--audio opus:64k":              func(p creatorOutput) { p.audio("opus") },
		"--audio none":                  func(p creatorOutput) { p.audio("") },
		"-- -vf hflip -g 13 -af volume=2": func(p creatorOutput) {
			p.plays()
			keys := strings.Count(p.probe("-select_streams", "v:0", "-show_entries", "packet=flags", "-of", "csv=p=0"), "K")
			if keys < creatorFrames/13 {
				p.Errorf("%d key frames; want one every 13 frames", keys)
			}
		},
		"-- -preset ultrafast -r 50": func(p creatorOutput) {
			if text := p.text("master.m3u8"); !strings.Contains(text, "FRAME-RATE=50.000") {
				p.Errorf("master playlist: %s", text)
			}
		},
		"-- -ss 1 -t 1 -i": func(p creatorOutput) {
			if text := p.text("128p/index.m3u8"); strings.Count(text, "#EXTINF:1.000000,") != 1 || strings.Count(text, "#EXTINF") != 1 {
				p.Errorf("media playlist: %s", text)
			}
		},
		"-- -threads 2": func(p creatorOutput) { p.plays() },
		"--url-prefix https://cdn.example/a/": func(p creatorOutput) {
			if text := p.text("master.m3u8"); !strings.Contains(text, "\nhttps://cdn.example/a/128p/index.m3u8\n") {
				p.Errorf("master playlist: %s", text)
			}
			if text := p.text("128p/index.m3u8"); !strings.Contains(text, "\nhttps://cdn.example/a/128p/00000.ts\n") {
				p.Errorf("media playlist: %s", text)
			}
		},
		"--encrypt --key-every 2 --segment-length 0.5": func(p creatorOutput) {
			p.plays()
			p.has("stream-0.key", "stream-2.key", "*/00005.ts")
		},
		"--sample-aes": func(p creatorOutput) {
			p.plays()
			if text := p.text("128p/index.m3u8"); !strings.Contains(text, "\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"../stream.key\",IV=0x") {
				p.Errorf("media playlist: %s", text)
			}
		},
		"--encrypt --key-uri https://keys.example/1": func(p creatorOutput) {
			if text := p.text("128p/index.m3u8"); !regexp.MustCompile(`KEY:METHOD=AES-128,URI="https://keys.example/1"`).MatchString(text) {
				p.Errorf("media playlist: %s", text)
			}
		},
	}
}
