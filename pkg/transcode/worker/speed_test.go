//go:build bench

package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// What is measured: a clip that is as noisy as a camera's, so that encoding it
// costs what it usually does. Its length gives two workers more than a handful
// of units each.
const (
	benchSeconds = 80
	benchRate    = 25
	benchWidth   = 480
	benchHeight  = 270
	benchClip    = "clip.mp4"
	benchRounds  = 3
)

// benchOptions are the options of the file that the script's method makes too.
const benchOptions = "-c:v libx264 -preset veryfast -b:v 800k -pix_fmt yuv420p"

// TestSpeed prints how long real worker processes, pinned to one core each,
// need beside what one would do without them. All is done in turn, so that
// whatever else this machine does befalls all alike.
func TestSpeed(t *testing.T) {
	c := newSpeed(t)
	rows := []*row{
		{name: "ladder: one ffmpeg on one core", run: (*speed).plainLadder},
		{name: "ladder: one worker on one core", run: func(c *speed) time.Duration { return c.ours(ladder, c.full) }, base: 0, want: "<= 1.08"},
		{name: "ladder: two workers on a core each", run: func(c *speed) time.Duration { return c.ours(ladder, c.full, c.full) }, base: 1, speedup: true, want: ">= 1.85"},
		{name: "file: a slice each", run: func(c *speed) time.Duration { return c.slices(c.full, c.full) }},
		{name: "file: two workers", run: func(c *speed) time.Duration { return c.ours(file, c.full, c.full) }, base: 3, speedup: true, want: ">= 1.00"},
		{name: "file: a slice each, one at half speed", run: func(c *speed) time.Duration { return c.slices(c.full, c.half) }},
		{name: "file: two workers, one at half speed", run: func(c *speed) time.Duration { return c.ours(file, c.full, c.half) }, base: 5, speedup: true, want: ">= 1.30"},
		{name: "file: two workers, one killed halfway", run: (*speed).oursKilled},
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
	t.Logf("%d s of %dx%d, medians of %d runs in turn", benchSeconds, benchWidth, benchHeight, rounds)
	for i, r := range rows {
		t.Logf("%d  %-38s %6.1f s, of CPU %6.1f s%s", i+1, r.name, median(r.took), median(r.cpu), r.compared(rows))
	}
	t.Logf("   file: a slice each, one killed halfway: %s", c.slicesKilled())
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
	source  string
	probe   transcode.Probe
	program string        // the worker
	cpu     *atomic.Int64 // nanoseconds, of the processes of the row so far
	full    string        // a directory with an ffmpeg that comes before all else here
	half    string        // a directory with one that is stopped half of the time
}

var (
	ladder = transcode.Output{}
	file   = transcode.Output{Format: transcode.FormatMP4, Options: strings.Fields(benchOptions)}
)

func newSpeed(t *testing.T) *speed {
	dir := t.TempDir()
	c := &speed{T: t, cpu: &atomic.Int64{}, source: filepath.Join(dir, benchClip), program: filepath.Join(dir, "worker"), full: filepath.Join(dir, "full"), half: filepath.Join(dir, "half")}
	length := strconv.Itoa(benchSeconds)
	ffmpegRun(t, dir, "ffmpeg", strings.Fields("-v error -f lavfi -i testsrc2=s="+fmt.Sprintf("%dx%d:r=%d", benchWidth, benchHeight, benchRate)+":d="+length+
		",noise=alls=6:allf=t -f lavfi -i sine=440:d="+length+" -c:v libx264 -preset veryfast -b:v 3M -g 50 -c:a aac "+benchClip)...)
	ffmpegRun(t, ".", "go", "build", "-o", c.program, "pibootd/cmd/pibootd-worker")
	var err error
	if c.probe, _, err = (&Worker{}).probe(t.Context(), c.source, newPulse(time.Now())); err != nil {
		t.Fatal(err)
	}
	c.wrap(c.full, "ffmpeg", first)
	c.wrap(c.full, "ffprobe", first)
	c.wrap(c.half, "ffmpeg", first+slow)
	c.wrap(c.half, "ffprobe", first)
	return c
}

// What comes before ffmpeg in the scripts that the nodes call. Whatever else
// runs on this machine would be measured with a polite ffmpeg.
const (
	first = "#!/bin/sh\n( for i in 1 2 3; do renice -n 0 -p $$; sleep 0.1; done ) </dev/null >/dev/null 2>&1 3>&- &\n"
	slow  = "( while kill -STOP $$; do sleep 0.05; kill -CONT $$; sleep 0.05; done ) </dev/null >/dev/null 2>&1 3>&- &\n"
)

// wrap makes a script that does something and becomes a program then.
func (c *speed) wrap(dir, program, before string) {
	path, err := exec.LookPath(program)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, program), []byte(before+"exec "+path+" \"$@\"\n"), 0o755)
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

// plainLadder has one ffmpeg make what a job makes.
func (c *speed) plainLadder() time.Duration {
	plan, err := transcode.NewPlan(transcode.Request{Source: benchClip, Output: transcode.Output{NoPictures: true}}, c.probe, 0)
	if err != nil {
		c.Fatal(err)
	}
	dir := c.TempDir()
	args := []string{"-v", "error", "-nostdin", "-i", c.source}
	for _, r := range plan.Renditions {
		u := transcode.VideoUnit{Rendition: r}
		args = append(args, "-map", "0:v:0", "-an", "-vf", fmt.Sprintf("scale=%d:%d,format=yuv420p", r.Width, r.Height))
		args = append(args, encoderArgs(u)...)
		args = append(args, "-force_key_frames", fmt.Sprintf("expr:not(mod(n,%d))", plan.Grid.SegmentFrames))
		args = append(args, hlsTo(c, dir, r.Name)...)
	}
	args = append(args, "-map", "0:a:0", "-vn", "-c:a", "aac", "-b:a", strconv.Itoa(plan.Audio.BitrateBPS))
	args = append(args, hlsTo(c, dir, "audio")...)
	began := time.Now()
	c.do(on(c.Context(), 0, c.full, "ffmpeg", args...))
	return time.Since(began)
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
	at := func(i int) string { return strconv.Itoa(i * benchSeconds / 2) }
	args := append([]string{"-nostdin", "-v", "error", "-i", c.source, "-ss", at(i), "-to", at(i + 1)}, strings.Fields(benchOptions)...)
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
	if err := os.Link(c.source, filepath.Join(p.media, benchClip)); err != nil {
		c.Fatal(err)
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
func (p *pool) encode(o transcode.Output, update func(queue.Job)) time.Duration {
	began := time.Now()
	o.NoPictures = !o.IsFile() // which the plain ffmpeg does not make either
	job, _, err := p.queue.Submit(p.Context(), transcode.Request{Source: benchClip, Name: "out", Output: o})
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
	p.checkFrames(job.Output)
	return took
}

// checkFrames makes sure that nothing is missing.
func (p *pool) checkFrames(output string) {
	out := ffmpegRun(p.T, p.media, "ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", output)
	frames, _, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(out, ",", "\n")), "\n")
	if want := strconv.Itoa(benchSeconds * benchRate); frames != want {
		p.Errorf("%s has %s frames; want %s", output, frames, want)
	}
}

func ignore(queue.Job) {}

// ours is what workers at these paths need.
func (c *speed) ours(o transcode.Output, paths ...string) time.Duration {
	return c.pool(paths...).encode(o, ignore)
}

// oursKilled kills a worker when half of the frames are there.
func (c *speed) oursKilled() time.Duration {
	p := c.pool(c.full, c.full)
	return p.encode(file, func(j queue.Job) {
		if j.Frames >= benchSeconds*benchRate/2 {
			p.end(p.workers[1])
		}
	})
}
