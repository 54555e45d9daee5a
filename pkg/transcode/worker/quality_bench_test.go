//go:build bench

package worker

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// The clips of the benchmark: long enough for two units of all renditions.
const (
	clipSeconds = 70
	filmSeconds = 600 // of the first of them, for what trials cost of a film
	clipRate    = 25
	clipWidth   = 640
	clipHeight  = 360
)

// realClips are a cartoon and a clip of a camera in a module of Go, repeated and enlarged.
const realClips = "github.com/Eyevinn/mp4ff@v0.49.0"

// A qualityClip is what ffmpeg makes a source of: %[1]s and %[2]s are the real ones.
type qualityClip struct{ name, args string }

var qualityClips = []qualityClip{
	{"cartoon", "-stream_loop 9 -i %[1]s -vf {size}"},
	{"camera", "-stream_loop 9 -i %[2]s -vf {size}"},
	{"film grain", "-stream_loop 9 -i %[1]s -vf {size},noise=alls=10:allf=t:all_seed=1"},
	{"dark", "-stream_loop 9 -i %[2]s -vf {size},eq=brightness=-0.25:contrast=0.5,noise=alls=2:allf=t:all_seed=2"},
	{"fade", "-stream_loop 9 -i %[1]s -vf {size},eq=brightness='-0.4+0.4*abs(sin(t/2))':eval=frame"},
	{"sport", "-stream_loop 9 -i %[2]s -vf scale=960:540,crop=640:360:x='160+158*sin(t*1.7)':y='90+88*sin(t*2.3)',fps=25,setsar=1"},
	{"slides", "-stream_loop 9 -i %[2]s -vf setpts=N/30/TB,fps=1/4,{size}"},
	{"screen", "-f lavfi -i color=white:s={dim}:r=25 -vf drawgrid=w=120:h=60:c=gray@0.5,drawtext=text='%%{{eif\\:n/25\\:d}}-%%{{pts}}-pibootd':x=20:y=mod(n/2\\,330):fontsize=24,drawbox=x='mod(t*90,600)':y='mod(t*40,320)':w=30:h=20:c=red:t=fill"},
	{"test pattern", "-f lavfi -i testsrc2=s={dim}:r=25"},
	{"fractal", "-f lavfi -i mandelbrot=s={dim}:r=25:end_pts=3000"},
	{"gradients", "-f lavfi -i gradients=s={dim}:r=25:seed=3:speed=0.02:nb_colors=5"},
	{"life", "-f lavfi -i life=s=320x180:r=25:mold=10:life_color=#C83232:death_color=#3264C8:seed=1 -vf {size}"},
	{"still and moving", "-f lavfi -i smptebars=s={dim}:r=25:d=30 -f lavfi -i mandelbrot=s={dim}:r=25:end_pts=2000 -lavfi [1:v]trim=duration=30,setpts=PTS-STARTPTS,format=yuv420p[b];[0:v]format=yuv420p[a];[a][b]concat"},
}

// TestQualitySavings prints how many bits a quality saves of a fixed ladder, what its trials cost,
// and how units meet.
func TestQualitySavings(t *testing.T) {
	b := newQualityBench(t)
	cartoon, camera := b.realClips()
	var all []savings
	t.Logf("%-17s %s", "", "fixed ladder: kb/s and quality; the quality's: kb/s and quality; saved at equal quality; trials; seams")
	for _, clip := range qualityClips {
		if some := os.Getenv("CLIPS"); some != "" && !slices.Contains(strings.Split(some, ","), clip.name) {
			continue
		}
		b.provideClip(clip, cartoon, camera, clipSeconds)
		s := b.compare(clip.name)
		all = append(all, s)
		t.Logf("%-17s %s", clip.name, s)
	}
	row := func(what string, value func(savings) float64) (mean, worst float64) {
		sum, most := 0.0, math.Inf(-1)
		for _, s := range all {
			sum, most = sum+value(s), max(most, value(s))
		}
		return sum / float64(len(all)), most
	}
	top, _ := row("", func(s savings) float64 { return s.topRatio })
	ladder, _ := row("", func(s savings) float64 { return s.ratio })
	_, worse := row("", func(s savings) float64 { return s.worse })
	cost, costliest := row("", func(s savings) float64 { return s.trials })
	_, seam := row("", func(s savings) float64 { return s.seam })
	t.Logf("mean bitrate of the best rendition, at equal quality   %5.1f %% of the fixed one's, want <= 80", 100*top)
	t.Logf("mean bitrate at equal quality, over the whole ladder   %5.1f %%, want <= 80", 100*ladder)
	best, _ := row("", func(s savings) float64 { return math.Abs(s.worse) })
	t.Logf("clips miss the quality by                              %5.1f points in the mean", best)
	t.Logf("worst clip is worse by                                 %5.1f points, want <= 1", worse)
	t.Logf("trials, of the encoding's processor time               %5.1f %% in the mean, %.1f at most, want <= 15", 100*cost, 100*costliest)
	t.Logf("trials of a film of %d minutes                         %5.1f %%, want <= 15", filmSeconds/60, 100*b.filmCost(cartoon, camera))
	t.Logf("worst seam is below its neighbours by                  %5.2f points more than in a single run, want <= 0.5", seam)
}

type qualityBench struct {
	*cluster
	mu sync.Mutex
	// Processor time of all children when a job was probed, when its last trial was done, and when
	// it was published.
	probed, tried, ended map[int64]time.Duration
}

func newQualityBench(t *testing.T) *qualityBench {
	b := &qualityBench{probed: map[int64]time.Duration{}, tried: map[int64]time.Duration{}, ended: map[int64]time.Duration{}}
	q := queuetest.Start(t, t.TempDir(), func(o *queue.Options) { o.OnUnit = b.note })
	b.cluster = &cluster{T: t, queue: q.Queue, addr: q.Broker.Addr(), media: q.MediaDir}
	for i := range 2 {
		startWorker(t, &Worker{Config: b.config(fmt.Sprintf("worker%d", i))})
	}
	return b
}

func (b *qualityBench) note(e queue.UnitEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case e.Event != queue.EventDone:
	case e.Unit == string(transcode.KindProbe):
		b.probed[e.Job] = childTime()
	case strings.HasPrefix(e.Unit, "t-"):
		b.tried[e.Job] = childTime()
	}
}

// childTime returns the processor time of all children that have ended.
func childTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// realClips returns two real videos.
func (b *qualityBench) realClips() (cartoon, camera string) {
	b.Helper()
	out, err := exec.CommandContext(b.Context(), "go", "mod", "download", "-json", realClips).Output()
	var module struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		b.Fatalf("%s: %v", realClips, err)
	}
	return filepath.Join(module.Dir, "mp4/testdata/bbb_prog_10s.mp4"), filepath.Join(module.Dir, "mp4/testdata/prog_8s.mp4")
}

func (b *qualityBench) provideClip(c qualityClip, cartoon, camera string, seconds int) {
	b.Helper()
	dim := fmt.Sprintf("%dx%d", clipWidth, clipHeight)
	text := strings.NewReplacer("{size}", fmt.Sprintf("scale=%d:%d,fps=%d,setsar=1", clipWidth, clipHeight, clipRate), "{dim}", dim).Replace(c.args)
	args := strings.Fields(text)
	for i, word := range args {
		args[i] = strings.NewReplacer("%[1]s", cartoon, "%[2]s", camera, "%%{{", "%{", "}}", "}").Replace(word)
	}
	args = append([]string{"-v", "error", "-y"}, args...)
	ffmpegRun(b.T, b.media, "ffmpeg", append(args, "-an", "-t", fmt.Sprint(seconds), "-c:v", "libx264", "-preset", "ultrafast", "-crf", "4", "-g", "50", "-pix_fmt", "yuv420p", c.name+".mp4")...)
}

// filmCost returns the share of the processor time that trials have of a film.
func (b *qualityBench) filmCost(cartoon, camera string) float64 {
	b.Helper()
	film := qualityClips[0]
	film.args = strings.Replace(film.args, "-stream_loop 9", "-stream_loop -1", 1)
	b.provideClip(film, cartoon, camera, filmSeconds)
	job, _, err := b.queue.SubmitAgain(b.Context(), transcode.Request{Source: film.name + ".mp4", Name: "film", Output: transcode.Output{NoPictures: true, Quality: 80}})
	if err != nil {
		b.Fatal(err)
	}
	b.finish(job)
	return b.trialCost(job.ID)
}

// finish waits for the end of a job, and notes the processor time.
func (b *qualityBench) finish(job queue.Job) {
	b.Helper()
	b.wantDone(job)
	b.mu.Lock()
	b.ended[job.ID] = childTime()
	b.mu.Unlock()
}

// savings are what one clip shows.
type savings struct {
	fixed, chosen   []rungOf
	topRatio, ratio float64 // bits of the quality's, of the fixed ladder's
	worse, seam     float64 // points of quality
	trials          float64 // share of the processor time
}

func (s savings) String() string {
	return fmt.Sprintf("%v | %v | best %3.0f %%, ladder %3.0f %%, worse by %4.1f | %4.1f %% | %5.2f", s.fixed, s.chosen, 100*s.topRatio, 100*s.ratio, s.worse, 100*s.trials, s.seam)
}

// A rungOf is a rendition as it was published.
type rungOf struct {
	name    string
	kbps    float64
	quality float64
	frames  []float64 // SSIM of each
}

func (r rungOf) String() string { return fmt.Sprintf("%.0f:%.1f", r.kbps, r.quality) }

// compare makes both ladders of a clip.
func (b *qualityBench) compare(name string) savings {
	b.Helper()
	fixed, _ := b.ladder(name, transcode.Output{NoPictures: true})
	// The scale ends at 100: nobody sees what is beyond.
	want := int(math.Round(min(max(fixed[0].quality, 1), transcode.MaxQuality)))
	chosen, job := b.ladder(name, transcode.Output{NoPictures: true, Quality: want})
	s := savings{fixed: fixed, chosen: chosen}
	s.worse = min(fixed[0].quality, transcode.MaxQuality) - chosen[0].quality
	s.topRatio = rateAt(chosen, min(fixed[0].quality, transcode.MaxQuality)) / fixed[0].kbps
	s.ratio = ladderRatio(fixed, chosen)
	// What the film itself does at the seams, a single run shows, which has none.
	s.trials, s.seam = b.trialCost(job.ID), seamLoss(job, chosen[0])-seamLoss(job, b.singleRun(name, job.Note))
	os.Remove(filepath.Join(b.media, name+".mp4"))
	return s
}

// ladder makes a stream of a clip, and measures its renditions.
func (b *qualityBench) ladder(name string, o transcode.Output) ([]rungOf, queue.Job) {
	b.Helper()
	job, _, err := b.queue.SubmitAgain(b.Context(), transcode.Request{Source: name + ".mp4", Name: "a", Output: o})
	if err != nil {
		b.Fatal(err)
	}
	b.finish(job)
	if job, err = b.queue.Job(b.Context(), job.ID); err != nil {
		b.Fatal(err)
	}
	dir := filepath.Join(b.media, path.Dir(job.Output))
	lists, err := filepath.Glob(filepath.Join(dir, "*p*", "index.m3u8"))
	if err != nil || len(lists) == 0 {
		b.Fatalf("%s has no renditions: %v", dir, err)
	}
	rungs := b.measure(lists, filepath.Join(b.media, name+".mp4"))
	if err := os.RemoveAll(dir); err != nil {
		b.Fatal(err)
	}
	return rungs, job
}

var bestRung = regexp.MustCompile(`rung of quality [0-9]+: ([0-9]+)p\S* at CRF ([0-9.]+)`)

// singleRun makes the best rendition of a job in one go, with the same key frames.
func (b *qualityBench) singleRun(name, note string) rungOf {
	b.Helper()
	best := bestRung.FindStringSubmatch(note)
	if best == nil {
		b.Fatalf("note %q; want its best rung", note)
	}
	ffmpegRun(b.T, b.media, "ffmpeg", "-v", "error", "-y", "-i", name+".mp4", "-vf", "scale=-2:"+best[1], "-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "3",
		"-crf", best[2], "-g", "9999", "-sc_threshold", "0", "-x264-params", "open-gop=0", "-force_key_frames", fmt.Sprintf("expr:not(mod(n,%d))", 4*clipRate), "single.mkv")
	single := filepath.Join(b.media, "single.mkv")
	defer os.Remove(single)
	return b.measure([]string{single}, filepath.Join(b.media, name+".mp4"))[0]
}

// measure compares renditions with their source, the one with most bits first.
func (b *qualityBench) measure(lists []string, source string) []rungOf {
	b.Helper()
	args, graph, split := []string{"-v", "error", "-i", source}, "", ""
	for i, list := range lists {
		args = append(args, "-i", list)
		split += fmt.Sprintf("[r%d]", i)
		graph += fmt.Sprintf(";[%d:v]settb=1/%d,setpts=N,scale=%d:%d:flags=bicubic[d%d];[d%d][r%d]ssim=stats_file=%d.ssim", i+1, clipRate, clipWidth, clipHeight, i, i, i, i)
	}
	dir := b.TempDir()
	ffmpegRun(b.T, dir, "ffmpeg", append(args, "-filter_complex", fmt.Sprintf("[0:v]settb=1/%d,setpts=N,split=%d%s%s", clipRate, len(lists), split, graph), "-f", "null", "-")...)
	var rungs []rungOf
	for i, list := range lists {
		r := rungOf{name: filepath.Base(filepath.Dir(list)), frames: b.ssims(filepath.Join(dir, fmt.Sprintf("%d.ssim", i)))}
		segments, err := filepath.Glob(filepath.Join(filepath.Dir(list), "*.ts"))
		if err != nil {
			b.Fatal(err)
		}
		for _, segment := range segments {
			info, err := os.Stat(segment)
			if err != nil {
				b.Fatal(err)
			}
			r.kbps += float64(info.Size()) * 8 / 1000 / clipSeconds
		}
		r.quality = transcode.Quality(mean(r.frames))
		rungs = append(rungs, r)
	}
	slices.SortFunc(rungs, func(a, b rungOf) int { return int(b.kbps - a.kbps) })
	return rungs
}

// ssims reads the SSIM of each frame.
func (b *qualityBench) ssims(file string) (list []float64) {
	b.Helper()
	f, err := os.Open(file)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, after, _ := strings.Cut(lines.Text(), " Y:")
		value, _, _ := strings.Cut(after, " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, n)
	}
	return list
}

// trialCost returns the share of a job's processor time, after the probe, that its trials had.
func (b *qualityBench) trialCost(job int64) float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return float64(b.tried[job]-b.probed[job]) / float64(b.ended[job]-b.tried[job])
}

// rateAt returns the bits that a ladder needs for a quality, between its rungs or a little beyond.
func rateAt(rungs []rungOf, quality float64) float64 {
	if len(rungs) == 1 {
		return rungs[0].kbps
	}
	i := 0
	for i < len(rungs)-2 && rungs[i+1].quality > quality {
		i++
	}
	a, b := rungs[i], rungs[i+1]
	share := (quality - b.quality) / max(a.quality-b.quality, 0.1)
	return math.Exp(math.Log(b.kbps) + share*(math.Log(a.kbps)-math.Log(b.kbps)))
}

// ladderRatio returns what share of the bits of a ladder another needs at equal quality, in the
// mean over the qualities that both have.
func ladderRatio(fixed, chosen []rungOf) float64 {
	low := max(fixed[len(fixed)-1].quality, chosen[len(chosen)-1].quality)
	high := min(fixed[0].quality, chosen[0].quality, transcode.MaxQuality)
	if high < low || len(fixed) == 1 {
		return rateAt(chosen, high) / fixed[0].kbps
	}
	const steps = 50
	sum := 0.0
	for i := range steps {
		q := low + (high-low)*(float64(i)+0.5)/steps
		sum += math.Log(rateAt(chosen, q) / rateAt(fixed, q))
	}
	return math.Exp(sum / steps)
}

// seamLoss returns by how much the half second around the seams of units is below the half seconds
// before and after, in the mean.
func seamLoss(job queue.Job, r rungOf) float64 {
	const half = clipRate / 4
	seam, around, frame := []float64{}, []float64{}, 0
	seen := map[string]bool{}
	for _, u := range job.Units {
		number := u.ID[strings.LastIndex(u.ID, "-")+1:]
		if u.Kind != transcode.KindVideo || seen[number] {
			continue
		}
		seen[number] = true
		if frame >= 3*half && frame+3*half <= len(r.frames) {
			seam = append(seam, r.frames[frame-half:frame+half]...)
			around = append(append(around, r.frames[frame-3*half:frame-half]...), r.frames[frame+half:frame+3*half]...)
		}
		frame += u.TotalFrames
	}
	if len(seam) == 0 {
		return 0
	}
	return transcode.Quality(mean(around)) - transcode.Quality(mean(seam))
}
