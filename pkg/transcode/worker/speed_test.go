//go:build bench

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// What is measured: sources that are as noisy as a camera's, so that encoding them costs
// what it usually does. The film keeps a core busy for a minute, so that what a job costs
// once does not decide; the clip gives two workers more than a handful of units each.
var (
	benchFilm = clip{name: "film.mp4", seconds: 144, width: 854, height: 480}
	benchClip = clip{name: "clip.mp4", seconds: 80, width: 480, height: 270}
)

const (
	benchRate   = 25
	benchRounds = 3
)

// A clip is a source of the benchmark.
type clip struct {
	name          string
	seconds       int
	width, height int
}

// benchOptions are the options of the file that the script's method makes too.
const benchOptions = "-c:v libx264 -preset veryfast -b:v 800k -pix_fmt yuv420p"

// TestSpeed prints how long real worker processes, pinned to one core each,
// need beside what one would do without them. All is done in turn, so that
// whatever else this machine does befalls all alike.
func TestSpeed(t *testing.T) {
	c := newSpeed(t)
	rows := []*row{
		{name: "ladder: one ffmpeg on one core", run: func(c *speed) time.Duration { return c.plainLadder(1) }},
		{name: "ladder: one worker on one core", run: func(c *speed) time.Duration { return c.ours(benchFilm, ladder, c.full) }, base: 0, want: "<= 1.08"},
		{name: "ladder: two ffmpegs, half of it each", run: func(c *speed) time.Duration { return c.plainLadder(2) }},
		{name: "ladder: two workers on a core each", run: func(c *speed) time.Duration { return c.ours(benchFilm, ladder, c.full, c.full) }, base: 2, speedup: true, want: ">= 0.98"},
		{name: "file: a slice each", run: func(c *speed) time.Duration { return c.slices(c.full, c.full) }},
		{name: "file: two workers", run: func(c *speed) time.Duration { return c.ours(benchClip, file, c.full, c.full) }, base: 4, speedup: true, want: ">= 1.00"},
		{name: "file: a slice each, one at half speed", run: func(c *speed) time.Duration { return c.slices(c.full, c.half) }},
		{name: "file: two workers, one at half speed", run: func(c *speed) time.Duration { return c.ours(benchClip, file, c.full, c.half) }, base: 6, speedup: true, want: ">= 1.30"},
	}
	rounds := benchRounds
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	for range rounds {
		for _, r := range rows {
			c.alone(r)
		}
	}
	t.Logf("a ladder of %d s of %dx%d, a file of %d s of %dx%d, medians of %d runs in turn",
		benchFilm.seconds, benchFilm.width, benchFilm.height, benchClip.seconds, benchClip.width, benchClip.height, rounds)
	for i, r := range rows {
		t.Logf("%d  %-38s %6.1f s, of CPU %6.1f s%s", i+1, r.name, median(r.took), median(r.cpu), r.compared(rows))
	}
	t.Logf("   file: a slice each, one killed halfway: %s", c.slicesKilled())
	t.Logf("   file: two workers, one killed halfway: done after %.1f s", c.oursKilled().Seconds())
	c.split(median(rows[0].cpu))
}

// alone does a row, and ends what it has started.
func (c *speed) alone(r *row) {
	c.cpu.Store(0)
	// A name of its own: the # of a repeated one would be in the paths, and
	// begins a fragment for ffmpeg's concat.
	ok := c.Run(fmt.Sprintf("%s, round %d", r.name, len(r.took)+1), func(t *testing.T) {
		row := *c
		row.T = t
		took := r.run(&row)
		r.took = append(r.took, took.Seconds())
		t.Logf("%.1f s", took.Seconds())
	})
	if !ok {
		c.FailNow()
	}
	r.cpu = append(r.cpu, time.Duration(c.cpu.Load()).Seconds())
}

// A row is one way to do something.
type row struct {
	name    string
	run     func(*speed) time.Duration
	base    int  // the row it is compared with
	speedup bool // base by this one; else this one by base
	want    string
	took    []float64 // seconds
	cpu     []float64 // seconds, of all processes
}

func median(seconds []float64) float64 {
	sorted := slices.Sorted(slices.Values(seconds))
	return sorted[len(sorted)/2]
}

// compared says how a row does beside the one that it is compared with.
func (r *row) compared(rows []*row) string {
	if r.want == "" {
		return ""
	}
	ratio := median(r.took) / median(rows[r.base].took)
	if r.speedup {
		ratio = 1 / ratio
	}
	return fmt.Sprintf("  %.2f to row %d (want %s)", ratio, r.base+1, r.want)
}

// A speed is what the rows have in common.
type speed struct {
	*testing.T
	dir     string          // of the sources
	probe   transcode.Probe // of the film
	program string          // the worker
	cpu     *atomic.Int64   // nanoseconds, of the processes of the row so far
	full    string          // a directory with an ffmpeg that comes before all else here
	counted string          // a directory with one that writes what CPU time it took to a file in it
	half    string          // a directory with one that is stopped half of the time
}

var (
	ladder = transcode.Output{}
	file   = transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields(benchOptions)}
)

func newSpeed(t *testing.T) *speed {
	dir := t.TempDir()
	c := &speed{T: t, cpu: &atomic.Int64{}, dir: dir, program: filepath.Join(dir, "worker"),
		full: filepath.Join(dir, "full"), half: filepath.Join(dir, "half"), counted: filepath.Join(dir, "counted")}
	for _, s := range []clip{benchFilm, benchClip} {
		ffmpegRun(t, dir, "ffmpeg", strings.Fields(fmt.Sprintf("-v error -f lavfi -i testsrc2=s=%dx%d:r=%d:d=%d,noise=alls=6:allf=t -f lavfi -i sine=440:d=%d ",
			s.width, s.height, benchRate, s.seconds, s.seconds)+"-c:v libx264 -preset veryfast -b:v 3M -g 50 -c:a aac "+s.name)...)
	}
	ffmpegRun(t, ".", "go", "build", "-o", c.program, "pibootd/cmd/pibootd-worker")
	var err error
	if c.probe, _, err = (&Worker{}).probe(t.Context(), filepath.Join(dir, benchFilm.name), newPulse(time.Now())); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"ffmpeg", "ffprobe"} {
		c.wrap(c.full, program, first+"exec")
		c.wrap(c.counted, program, first)
	}
	c.wrap(c.half, "ffmpeg", first+slow+"exec")
	c.wrap(c.half, "ffprobe", first+"exec")
	return c
}

// What comes before ffmpeg in the scripts that the nodes call. Whatever else
// runs on this machine would be measured with a polite ffmpeg.
const (
	first = "#!/bin/sh\n( for i in 1 2 3; do renice -n 0 -p $$; sleep 0.1; done ) </dev/null >/dev/null 2>&1 3>&- &\n"
	slow  = "( while kill -STOP $$; do sleep 0.05; kill -CONT $$; sleep 0.05; done ) </dev/null >/dev/null 2>&1 3>&- &\n"
)

// count is what the script of a program does that has ended.
const count = "\ncode=$?\n{ echo \"$*\"; times; } > %s/$$.times\nexit $code\n"

// wrap makes a script that does something and runs a program then.
func (c *speed) wrap(dir, program, before string) {
	path, err := exec.LookPath(program)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		script := before + " " + path + " \"$@\"" + fmt.Sprintf(count, dir)
		err = os.WriteFile(filepath.Join(dir, program), []byte(script), 0o755)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// on returns a command that runs on one core. path is where programs are looked
// for first.
func on(ctx context.Context, core int, path, name string, args ...string) *exec.Cmd {
	args = append([]string{"-c", strconv.Itoa(core), name}, args...)
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
	// The kernel divides a loaded machine among sessions: two workers in one
	// would get no more than one of them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// plainLadder has so many ffmpegs make what a job makes, each an equal part of it at the
// same time.
func (c *speed) plainLadder(parts int) time.Duration {
	plan, err := transcode.NewPlan(transcode.Request{Source: benchFilm.name, Output: transcode.Output{NoPictures: true}}, c.probe, 0)
	if err != nil {
		c.Fatal(err)
	}
	began := time.Now()
	var running sync.WaitGroup
	for i := range parts {
		cmd := on(c.Context(), i, c.full, "ffmpeg", c.ladderArgs(plan, i*benchFilm.seconds/parts, benchFilm.seconds/parts)...)
		running.Go(func() { c.do(cmd) })
	}
	running.Wait()
	return time.Since(began)
}

// ladderArgs have ffmpeg make all that a plan makes, of these seconds of the film.
func (c *speed) ladderArgs(plan transcode.Plan, from, length int) []string {
	dir := c.TempDir()
	args := []string{"-v", "error", "-nostdin", "-ss", strconv.Itoa(from), "-t", strconv.Itoa(length), "-i", filepath.Join(c.dir, benchFilm.name)}
	for _, r := range plan.Renditions {
		u := transcode.VideoUnit{Rendition: r}
		args = append(args, "-map", "0:v:0", "-an", "-vf", fmt.Sprintf("scale=%d:%d,format=yuv420p", r.Width, r.Height))
		args = append(args, encoderArgs(u)...)
		args = append(args, "-force_key_frames", fmt.Sprintf("expr:not(mod(n,%d))", plan.Grid.SegmentFrames))
		args = append(args, hlsTo(c, dir, r.Name)...)
	}
	args = append(args, "-map", "0:a:0", "-vn", "-c:a", "aac", "-b:a", strconv.Itoa(plan.Audio.BitrateBPS))
	return append(args, hlsTo(c, dir, "audio")...)
}

func hlsTo(c *speed, dir, name string) []string {
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		c.Fatal(err)
	}
	return []string{"-f", "hls", "-hls_time", "4", "-hls_playlist_type", "vod", "-hls_segment_filename", filepath.Join(dir, "%05d.ts"), filepath.Join(dir, "index.m3u8")}
}

func (c *speed) do(cmd *exec.Cmd) {
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Errorf("%v: %v\n%s", cmd.Args, err, out)
		return
	}
	c.spent(cmd)
}

// spent counts the time of a process that has ended, and of its children.
func (c *speed) spent(cmd *exec.Cmd) {
	c.cpu.Add(int64(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()))
}

// slices does what dffmpeg.sh does on two nodes of equal weight, without its
// faults: it waits for both, and not a second longer than it has to. Each path
// is where a node looks for ffmpeg first.
func (c *speed) slices(paths ...string) time.Duration {
	dir := c.TempDir()
	began := time.Now()
	done := make(chan struct{})
	for i, path := range paths {
		cmd := c.slice(c.Context(), dir, i, path)
		go func() { defer func() { done <- struct{}{} }(); c.do(cmd) }()
	}
	for range paths {
		<-done
	}
	c.joinSlices(dir, len(paths))
	return time.Since(began)
}

func (c *speed) slice(ctx context.Context, dir string, i int, path string) *exec.Cmd {
	at := func(i int) string { return strconv.Itoa(i * benchClip.seconds / 2) }
	args := append([]string{"-nostdin", "-v", "error", "-i", filepath.Join(c.dir, benchClip.name), "-ss", at(i), "-to", at(i + 1)}, strings.Fields(benchOptions)...)
	return on(ctx, i, path, "ffmpeg", append(args, filepath.Join(dir, fmt.Sprintf("%d.mp4", i)))...)
}

func (c *speed) joinSlices(dir string, n int) {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "file '%d.mp4'\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "list.txt"), []byte(list.String()), 0o644); err != nil {
		c.Error(err)
	}
	c.do(exec.CommandContext(c.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "concat", "-i", filepath.Join(dir, "list.txt"), "-c", "copy", filepath.Join(dir, "out.mp4")))
}

// slicesKilled tells what is left of the script's method when a node dies.
func (c *speed) slicesKilled() string {
	dir := c.TempDir()
	ctx, cancel := context.WithTimeout(c.Context(), time.Second)
	defer cancel()
	if err := c.slice(ctx, dir, 1, c.full).Run(); err == nil {
		return "it was done before"
	}
	probe := exec.CommandContext(c.Context(), "ffprobe", "-v", "error", filepath.Join(dir, "1.mp4"))
	if out, err := probe.CombinedOutput(); err != nil {
		return "lost, " + lastOf(strings.Split(string(out), "\n"))
	}
	return "its slice can be read"
}

// A pool is a queue with real worker processes.
type pool struct {
	*cluster
	c       *speed
	workers []*exec.Cmd
}

// pool starts a queue, and workers at these paths, which are ready.
func (c *speed) pool(paths ...string) *pool {
	p := &pool{cluster: newQueue(c.T, nil), c: c}
	for _, s := range []clip{benchFilm, benchClip} {
		if err := os.Link(filepath.Join(c.dir, s.name), filepath.Join(p.media, s.name)); err != nil {
			c.Fatal(err)
		}
	}
	for i, path := range paths {
		config := p.config(fmt.Sprintf("worker%d", i))
		text, err := json.Marshal(config)
		name := filepath.Join(c.TempDir(), "worker.json")
		if err == nil {
			err = os.WriteFile(name, text, 0o600)
		}
		if err != nil {
			c.Fatal(err)
		}
		cmd := on(context.Background(), i, path, c.program, "--config", name)
		if err := cmd.Start(); err != nil {
			c.Fatal(err)
		}
		c.Cleanup(func() { p.end(cmd) })
		p.workers = append(p.workers, cmd)
	}
	p.waitReady(len(paths))
	return p
}

// waitReady waits until so many workers can encode.
func (p *pool) waitReady(n int) {
	for deadline := time.Now().Add(patience); ; {
		ready := 0
		for _, w := range p.queue.Workers() {
			if slices.Contains(w.Hello.Encoders, transcode.EncoderX265) { // the last to be tried
				ready++
			}
		}
		if ready == n {
			return
		}
		if time.Now().After(deadline) {
			p.Fatalf("%d workers are ready; want %d", ready, n)
		}
		pause.For(p.Context(), 10*time.Millisecond)
	}
}

// end kills a worker, unless that is done.
func (p *pool) end(cmd *exec.Cmd) {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.c.spent(cmd)
	}
}

// encode has the pool do a job, tells update of it as it goes, and returns how
// long it took.
func (p *pool) encode(source clip, o transcode.Output, update func(queue.Job)) time.Duration {
	began := time.Now()
	o.NoPictures = !o.IsFile() // which the plain ffmpeg does not make either
	job, _, err := p.queue.Submit(p.Context(), transcode.Request{Source: source.name, Name: "out", Output: o})
	if err != nil {
		p.Fatal(err)
	}
	for now, err := range p.queue.Watch(p.Context(), job.ID) {
		if err != nil {
			p.Fatal(err)
		}
		update(now)
		job = now
	}
	took := time.Since(began)
	if job.State != queue.Done {
		p.Fatalf("the job is %s: %s", job.State, job.Reason)
	}
	p.checkFrames(source, job.Output)
	return took
}

// checkFrames makes sure that nothing is missing.
func (p *pool) checkFrames(source clip, output string) {
	out := ffmpegRun(p.T, p.media, "ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", output)
	frames, _, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(out, ",", "\n")), "\n")
	if want := strconv.Itoa(source.seconds * benchRate); frames != want {
		p.Errorf("%s has %s frames; want %s", output, frames, want)
	}
}

func ignore(queue.Job) {}

// ours is what workers at these paths need.
func (c *speed) ours(source clip, o transcode.Output, paths ...string) time.Duration {
	return c.pool(paths...).encode(source, o, ignore)
}

// oursKilled kills a worker when half of the frames are there.
func (c *speed) oursKilled() time.Duration {
	p := c.pool(c.full, c.full)
	return p.encode(benchClip, file, func(j queue.Job) {
		if j.Frames >= benchClip.seconds*benchRate/2 {
			p.end(p.workers[1])
		}
	})
}

// split prints what one worker's CPU time goes to while it does the ladder, beside that
// of one ffmpeg.
func (c *speed) split(plain float64) {
	c.cpu.Store(0)
	p := c.pool(c.counted)
	p.encode(benchFilm, ladder, ignore)
	p.end(p.workers[0])
	spent := c.byPurpose()
	all := time.Duration(c.cpu.Load()).Seconds()
	for _, seconds := range spent {
		all -= seconds
	}
	spent["the worker itself"] = all
	made := spent[forVideo] + spent[forSound]
	c.Logf("   CPU of one worker, with what it tries when it starts; all units and the sound: %.2f of one ffmpeg (want <= 1.03)", made/plain)
	for _, what := range slices.Sorted(maps.Keys(spent)) {
		c.Logf("   %-30s %6.2f s", what, spent[what])
	}
}

// What a worker runs ffmpeg for.
const (
	forVideo = "units of video"
	forSound = "sound"
)

// byPurpose returns the CPU seconds of each purpose that ffmpeg was run for in c.counted.
func (c *speed) byPurpose() map[string]float64 {
	spent := map[string]float64{}
	files, err := filepath.Glob(filepath.Join(c.counted, "*.times"))
	if err != nil {
		c.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			c.Fatal(err)
		}
		args, times, _ := strings.Cut(string(text), "\n")
		for _, field := range strings.Fields(times) {
			d, err := time.ParseDuration(field)
			if err != nil {
				c.Fatal(err)
			}
			spent[purpose(args)] += d.Seconds()
		}
	}
	return spent
}

// purpose says what these arguments are for.
func purpose(args string) string {
	switch {
	case strings.Contains(args, "-show_entries packet"):
		return "probe"
	case strings.Contains(args, "-f hls") && strings.Contains(args, " -vn "):
		return forSound
	case strings.Contains(args, "-f hls"):
		return forVideo
	case strings.Contains(args, "-f lavfi"), strings.HasSuffix(args, "ers"), strings.Contains(args, "-version"):
		return "trying what this ffmpeg can do"
	}
	return "other: " + args
}
