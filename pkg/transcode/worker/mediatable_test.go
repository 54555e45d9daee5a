package worker

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A mediaRow is a source of a kind that people have, what is asked for, and what a
// player must get of it. TestMedia has them done by one worker alone, and spread over
// three.
type mediaRow struct {
	name string
	file string // name of the source
	args string // ffmpeg's arguments that make the source, without its name
	// build makes the source where one run of ffmpeg cannot: in the working
	// directory dir.
	build   func(t *testing.T, dir, file string)
	request transcode.Request // without source, name and segment length; with its format, only that is tried
	long    bool              // only in make test-media
	want    mediaWant
}

// A mediaWant is what must come out. What is zero is not looked at, except for fails
// and note.
type mediaWant struct {
	frames, within int      // decoded frames of the first rendition, and how many more or fewer are right too
	rate           string   // of the first rendition, e.g. 25/1
	size           string   // of the first rendition, e.g. 320x180
	colors         string   // pixel format, range, matrix, transfer and primaries, e.g. "yuv420p tv bt709 bt709 bt709"
	tracks         []string // of all the output, e.g. "video h264", "audio aac deu"; any order
	uneven         bool     // frames keep their own times
	seconds        float64  // length of each track, within a tenth of a second
	note           []string // parts of the job's note; nil: there is none
	fails          string   // part of the reason why the job failed; "": it is done
	also           func(t *testing.T, o mediaOutput)
}

// A mediaOutput is what was published.
type mediaOutput struct {
	job    queue.Job
	source string        // path of the source
	entry  string        // path of the file, or of the master playlist
	video  string        // path of what has the first rendition: the file, or its media playlist
	frames []mediaFrame  // of the first rendition, as shown
	tracks []mediaStream // of entry, each once
}

type mediaFrame struct {
	At        string `json:"best_effort_timestamp_time"`
	Width     int    `json:"width"`
	Height    int    `json:"height"`
	Format    string `json:"pix_fmt"`
	Range     string `json:"color_range"`
	Matrix    string `json:"color_space"`
	Transfer  string `json:"color_transfer"`
	Primaries string `json:"color_primaries"`
}

// seconds returns when f is shown.
func (f mediaFrame) seconds() float64 { return number(f.At) }

type mediaStream struct {
	Index int    `json:"index"`
	Kind  string `json:"codec_type"`
	Codec string `json:"codec_name"`
	Rate  string `json:"r_frame_rate"`
	Tags  struct {
		Language string `json:"language"`
		Title    string `json:"title"`
		Comment  string `json:"comment"`
	} `json:"tags"`
	Disposition map[string]int `json:"disposition"`
	from, to    float64        // of its packets, in seconds
}

// String returns kind, codec and language of s, without one that MP4 writes for an
// unknown language.
func (s mediaStream) String() string {
	return strings.TrimSpace(s.Kind + " " + s.Codec + " " + strings.TrimPrefix(s.Tags.Language, "und"))
}

// mediaRows returns the whole table. Rows are in files of their own by subject.
func mediaRows() []mediaRow {
	return slices.Concat(timeRows(), changeRows(), oddRows(), trackRows(), burnRows(), captionRows(), hdrRows(), inputRows(), joinedRows(), editRows())
}

// Every source of the table comes out right: by one worker, and spread over three.
// make test-media tries the long rows too, and each row both ways in every format. The
// short form tries each row once: formats take turns, and so do one worker and three.
func TestMedia(t *testing.T) {
	t.Parallel()
	alone, spread := newShortCluster(t, 1, 1), newShortCluster(t, 3, 1)
	tried := 0
	for _, row := range slices.Concat(mediaRows(), wholeRows()) {
		if row.long && !mediaLong {
			continue
		}
		turn := tried
		tried++
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			source := row.make(t)
			all := row.outputs()
			for j, output := range all {
				once := !mediaLong && j == turn%len(all)
				byOne := turn/len(all)%3 == 2 // of each three, two are spread
				if mediaLong || once && !byOne {
					row.try(t, spread, "spread", source, output)
				}
				if mediaLong && j%2 == 0 || once && byOne {
					row.try(t, alone, "alone", source, output)
				}
			}
		})
	}
}

// newShortCluster runs a queue that divides even a clip of seconds into units of so many at
// least, and workers.
func newShortCluster(t *testing.T, workers int, unitSeconds float64) *cluster {
	t.Helper()
	media := t.TempDir()
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) {
		o.MediaDir, o.Log, o.UnitSeconds = media, testLog(t), unitSeconds
	})
	c := &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: media}
	for i := range workers {
		startWorker(t, &Worker{Config: c.config(fmt.Sprintf("worker%d", i))})
	}
	return c
}

// make makes the source of r in a directory of its own and returns its path.
func (r mediaRow) make(t *testing.T) string {
	t.Helper()
	if r.build == nil {
		return makeSource(t, r.file, r.args)
	}
	dir := t.TempDir()
	r.build(t, dir, r.file)
	return filepath.Join(dir, r.file)
}

// outputs are those that are tried: what the row asks for, in each format unless it
// asks for one.
func (r mediaRow) outputs() []transcode.Output {
	ts, cmaf, mp4, mkv := r.request.Output, r.request.Output, r.request.Output, r.request.Output
	cmaf.Container, mp4.Format, mkv.Format = transcode.ContainerCMAF, transcode.FormatMP4, transcode.FormatMKV
	switch {
	case r.request.Format != "" || r.request.Container != "" || len(r.request.Options) > 0:
		return []transcode.Output{ts}
	case r.request.Codec != "" && r.request.Codec != transcode.CodecH264:
		return []transcode.Output{cmaf, mp4, mkv}
	}
	return []transcode.Output{ts, cmaf, mp4, mkv}
}

// try has an output made by the workers of c and compares it with what is wanted.
func (r mediaRow) try(t *testing.T, c *cluster, how, source string, output transcode.Output) {
	t.Helper()
	own := *c
	own.T = t
	r.request.Output = output
	label := strings.TrimSpace(fmt.Sprintf("%s %s %s%s", r.name, how, output.Format, output.Container))
	r.request.Source = strings.NewReplacer(" ", "_", "/", "_", ",", "").Replace(label) + filepath.Ext(source)
	r.request.Name = transcode.NameOf(r.request.Source)
	r.request.SegmentSeconds = 1
	if err := os.Link(source, filepath.Join(c.media, r.request.Source)); err != nil {
		t.Fatal(err)
	}
	job := own.do(r.request)
	if fails := r.want.fails; (job.State == queue.Failed) != (fails != "") || !strings.Contains(job.Reason, fails) {
		t.Errorf("%s: job is %s: %s, %q; want it done, or failed: %q", label, job.State, job.Reason, job.Stderr, fails)
		return
	}
	r.want.compareNote(t, label, job.Note)
	if job.State == queue.Done {
		r.want.compare(t, label, own.played(job, source))
	}
}

// compareNote makes sure that a note says all that is wanted, and that there is none
// else.
func (w mediaWant) compareNote(t *testing.T, label, note string) {
	t.Helper()
	if len(w.note) == 0 && note != "" {
		t.Errorf("%s: note %q; want none", label, note)
	}
	for _, part := range w.note {
		if !strings.Contains(note, part) {
			t.Errorf("%s: note %q; want %q in it", label, note, part)
		}
	}
}

func (w mediaWant) compare(t *testing.T, label string, o mediaOutput) {
	t.Helper()
	if n := len(o.frames); w.frames > 0 && (n < w.frames-w.within || n > w.frames+w.within) {
		t.Errorf("%s: %d frames; want %d", label, n, w.frames)
	}
	video := slices.ContainsFunc(o.tracks, func(s mediaStream) bool { return s.Kind == "video" })
	if len(o.tracks) == 0 || video && len(o.frames) == 0 {
		t.Errorf("%s: no frame is shown", label)
		return
	}
	if video {
		w.compareFrames(t, label, o.frames)
	}
	w.compareTracks(t, label, o)
}

func (w mediaWant) compareFrames(t *testing.T, label string, frames []mediaFrame) {
	t.Helper()
	for i, f := range frames[1:] {
		if gap, first := f.seconds()-frames[i].seconds(), frames[1].seconds()-frames[0].seconds(); math.Abs(gap-first) > 0.0021 && !w.uneven {
			t.Errorf("%s: %.4f s from frame %d to the next; want %.4f as at the start", label, gap, i, first)
			break
		}
	}
	f := frames[0]
	if size := fmt.Sprintf("%dx%d", f.Width, f.Height); w.size != "" && size != w.size {
		t.Errorf("%s: %s; want %s", label, size, w.size)
	}
	if colors := strings.Join([]string{f.Format, f.Range, f.Matrix, f.Transfer, f.Primaries}, " "); w.colors != "" && colors != w.colors {
		t.Errorf("%s: colors %q; want %q", label, colors, w.colors)
	}
}

func (w mediaWant) compareTracks(t *testing.T, label string, o mediaOutput) {
	t.Helper()
	var tracks []string
	for _, s := range o.tracks {
		tracks = append(tracks, s.String())
		// Matroska's rate is a guess from milliseconds.
		if got, want := rational(s.Rate).Float(), rational(w.rate).Float(); s.Kind == "video" && w.rate != "" && math.Abs(got-want) > want/2000 {
			t.Errorf("%s: rate %s; want %s", label, s.Rate, w.rate)
		}
		if took := s.to - s.from; w.seconds > 0 && s.Kind != "subtitle" && math.Abs(took-w.seconds) > 0.1 {
			t.Errorf("%s: %s lasts %.3f s; want %.3f", label, s, took, w.seconds)
		}
	}
	slices.Sort(tracks)
	if want := slices.Sorted(slices.Values(w.tracks)); len(want) > 0 && !slices.Equal(tracks, want) {
		t.Errorf("%s: tracks %q; want %q", label, tracks, want)
	}
	if w.also != nil {
		w.also(t, o)
	}
}

// played reads what a job has published as a player would.
func (c *cluster) played(job queue.Job, source string) mediaOutput {
	c.Helper()
	o := mediaOutput{job: job, source: source, entry: filepath.Join(c.media, job.Output)}
	o.video = o.entry
	if !job.Request.IsFile() {
		o.video = firstVariant(c.T, o.entry)
	}
	var shown struct {
		Frames []mediaFrame `json:"frames"`
	}
	c.ffprobe(&shown, o.video, "-select_streams", "v:0", "-show_frames")
	o.frames = shown.Frames
	var read struct {
		Streams []mediaStream `json:"streams"`
		Packets []mediaPacket `json:"packets"`
	}
	c.ffprobe(&read, o.entry, "-show_streams", "-show_packets")
	seen := map[string]bool{}
	for _, s := range read.Streams {
		name := s.String()
		if s.Kind == "video" && !job.Request.IsFile() {
			name = s.Kind // every rendition, twice
		}
		if seen[name] && !job.Request.IsFile() {
			continue // of each variant
		}
		seen[name] = true
		s.from, s.to = spanOf(read.Packets, s.Index)
		o.tracks = append(o.tracks, s)
	}
	return o
}

// firstVariant returns the path of the first media playlist that a master playlist
// names as a variant.
func firstVariant(t *testing.T, master string) string {
	t.Helper()
	data, err := os.ReadFile(master)
	if err != nil {
		t.Fatal(err)
	}
	variant := false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if variant && line != "" && line[0] != '#' {
			return filepath.Join(filepath.Dir(master), filepath.FromSlash(line))
		}
		variant = variant || strings.HasPrefix(line, "#EXT-X-STREAM-INF:")
	}
	t.Fatalf("%s names no variant:\n%s", master, data)
	return ""
}

type mediaPacket struct {
	Stream   int    `json:"stream_index"`
	PTS      string `json:"pts_time"`
	Duration string `json:"duration_time"`
}

// spanOf returns when the first packet of a stream begins, and the last ends.
func spanOf(packets []mediaPacket, index int) (from, to float64) {
	from = math.Inf(1)
	for _, p := range packets {
		if at := number(p.PTS); p.Stream == index && p.PTS != "" {
			from, to = min(from, at), max(to, at+number(p.Duration))
		}
	}
	return from, to
}

// ffprobe parses what ffprobe reports of a file.
func (c *cluster) ffprobe(into any, file string, args ...string) {
	c.Helper()
	args = append([]string{"-v", "error", "-allowed_extensions", "ALL", "-of", "json"}, args...)
	if !strings.HasSuffix(file, ".m3u8") {
		args = slices.Delete(args, 2, 4)
	}
	out := ffmpegRun(c.T, c.media, "ffprobe", append(args, file)...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		c.Fatalf("%s: %v", file, err)
	}
}
