package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// Two ffmpegs receive a live source. The first one reads it and copies its video and
// sound into one stream of NUT; of the beginning of that, ffprobe finds out what it is.
// The second one cuts it into fragments: the video as it is, the sound encoded.
const (
	// beginTime and beginBytes are how much of a source is probed.
	beginTime  = 2 * time.Second
	beginBytes = 16 << 20
	// liveStall is how long a live source may send nothing before it is connected again.
	liveStall = 20 * time.Second
	// reconnectAfter is the pause before a source that has ended is connected again.
	reconnectAfter = time.Second

	// maxSounds bounds how often a source is connected again because it has sound now.
	maxSounds = 3

	videoFragment = 250_000 // microseconds
	audioFragment = 60_000  // microseconds; three frames of AAC
	// audioBatch is how many fragments of sound are sent together.
	audioBatch = 4
)

// ingest receives the source of a live stream to its end.
func (a *attempt) ingest(ctx context.Context) (transcode.Result, []string, error) {
	ctx, cancel := context.WithCancel(ctx)
	var touching sync.WaitGroup
	defer touching.Wait()
	defer cancel()
	touching.Go(func() { a.stayAlive(ctx) })
	sounds := 0
	for n := 1; ; n++ {
		c := &connection{attempt: a, number: n, pulse: newPulse(time.Now())}
		stderr, err := c.receive(ctx)
		switch {
		case err == nil && a.unit.Ingest.File:
			return transcode.Result{}, nil, nil
		case c.soundCame() && sounds < maxSounds && ctx.Err() == nil:
			a.log().Info("live source has sound now", "job", a.job)
			sounds++
			continue
		case ctx.Err() != nil || errors.Is(err, errRevoked) || errors.Is(err, errSource):
			return transcode.Result{}, stderr, err
		}
		a.log().Warn("live source lost", "job", a.job, "err", err)
		if !pause.For(ctx, reconnectAfter) {
			return transcode.Result{}, stderr, ctx.Err()
		}
	}
}

// stayAlive shows progress while a source is awaited.
func (a *attempt) stayAlive(ctx context.Context) {
	tick := time.NewTicker(a.progressEvery())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			a.pulse.touch(now)
		}
	}
}

// A connection is one reading of a live source.
type connection struct {
	*attempt
	number int
	pulse  *pulse // of what is received

	lost atomic.Pointer[string] // why the daemon could not read the source; nil: it could

	silent   atomic.Bool // the source has no sound, by its probe
	newSound atomic.Bool // it has some that began after that was looked for

	mu     sync.Mutex // held while a piece is sent
	pieces int
}

// receive reads the source to its end.
func (c *connection) receive(ctx context.Context) ([]string, error) {
	reply, err := c.send(ctx, transcode.LivePiece{}, nil)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := child{
		name: c.ffmpeg(), pulse: c.pulse, stall: liveStall, stdout: func(r io.Reader) error { return c.cut(ctx, r) },
		line: func(line []byte) bool { return c.watchTracks(line, cancel) },
	}
	if c.unit.Ingest.File {
		var source string
		source, err = c.mediaStore().source(ctx, c.unit.Source)
		from.args, from.env = liveFileArgs(source, reply.Skip), c.mediaStore().env()
	} else {
		from.args, from.stdin, err = c.tunnelled(ctx)
	}
	if err != nil {
		return nil, err
	}
	from.args = receiveArgs(*c.unit.Ingest, from.args)
	stderr, err := from.run(ctx)
	if lost := c.lost.Load(); lost != nil {
		err = errors.New(*lost)
	}
	if err != nil && ctx.Err() == nil && c.unit.Ingest.File && c.pieces < 2 {
		return stderr, fmt.Errorf("%w: not a video that ffmpeg can read: %s", errSource, complaint(stderr))
	}
	if err == nil {
		_, err = c.send(ctx, transcode.LivePiece{End: true}, nil)
	}
	return stderr, err
}

// watchTracks ends the connection to a silent source that has sound now: ffmpeg passes on
// the tracks alone that there were at its start.
func (c *connection) watchTracks(line []byte, end func()) bool {
	if bytes.Contains(line, []byte("New audio stream")) {
		c.newSound.Store(true)
		if c.soundCame() {
			end()
		}
	}
	return false
}

func (c *connection) soundCame() bool { return c.newSound.Load() && c.silent.Load() }

// liveFileArgs have ffmpeg read a file as fast as it is played, from some time on.
func liveFileArgs(source string, skip float64) []string {
	args := []string{"-re"}
	if skip > 0 {
		args = append(args, "-ss", seconds(skip))
	}
	return append(args, sourceArgs(source)...)
}

// receiveArgs have ffmpeg copy what input has it read.
func receiveArgs(u transcode.IngestUnit, input []string) []string {
	args := append([]string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"}, input...)
	return append(args, "-t", strconv.Itoa(u.Seconds), "-map", "0:V:0", "-map", "0:a:0?", "-c", "copy", "-map_metadata", "-1", "-map_chapters", "-1",
		"-flush_packets", "1", "-f", "nut", "pipe:1")
}

// cut finds out what a stream of NUT is and sends it in fragments.
func (c *connection) cut(ctx context.Context, r io.Reader) error {
	begin, times, err := readBegin(r)
	if err != nil {
		return err
	}
	probe, err := c.probeBegin(ctx, begin)
	if err != nil {
		return err
	}
	if c.silent.Store(probe.Audio == nil); c.soundCame() {
		return errors.New("the sound of the live source began late")
	}
	if _, err := c.send(ctx, transcode.LivePiece{Probe: &probe, SinceMS: times.since(time.Now(), probe).Milliseconds()}, nil); err != nil {
		return err
	}
	return c.cutAll(ctx, io.MultiReader(bytes.NewReader(begin), r), probe)
}

// A beginning is when the beginning of a stream came.
type beginning struct{ first, last time.Time }

// since returns how long ago its first frame was sent. A source may send at once what it has
// kept: then that is longer ago than its first byte.
func (b beginning) since(now time.Time, p transcode.Probe) time.Duration {
	since := now.Sub(b.first)
	if p.Video != nil {
		played := time.Duration((p.Start + p.Video.EndSeconds) * float64(time.Second))
		since = max(since, now.Sub(b.last)+played)
	}
	return since
}

// readBegin reads the beginning of a stream, or all of a short one.
func readBegin(r io.Reader) (begin []byte, times beginning, err error) {
	part := make([]byte, 64<<10)
	for {
		n, err := r.Read(part)
		if begin = append(begin, part[:n]...); n > 0 {
			times.last = time.Now()
		}
		if n > 0 && times.first.IsZero() {
			times.first = times.last
		}
		if errors.Is(err, io.EOF) || len(begin) > beginBytes || !times.first.IsZero() && time.Since(times.first) >= beginTime {
			return begin, times, nil
		}
		if err != nil {
			return nil, times, fmt.Errorf("reading a live source: %w", err)
		}
	}
}

// probeBegin describes the beginning of a stream.
func (c *connection) probeBegin(ctx context.Context, begin []byte) (transcode.Probe, error) {
	dir := c.dir()
	if err := freshDir(dir, c.unit); err != nil {
		return transcode.Probe{}, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "begin.nut")
	if err := os.WriteFile(file, begin, 0o600); err != nil {
		return transcode.Probe{}, fmt.Errorf("keeping the beginning of a live source: %w", err)
	}
	probe, _, err := c.probe(ctx, file, c.pulse)
	if err != nil && len(begin) == 0 {
		err = errors.New("the live source has sent nothing")
	}
	return probe, err
}

// cutAll sends a stream of NUT in fragments, to its end.
func (c *connection) cutAll(ctx context.Context, from io.Reader, p transcode.Probe) error {
	cutter := child{
		name: c.ffmpeg(), args: cutArgs(*c.unit.Ingest, p.Audio != nil), stdin: from, pulse: c.pulse, stall: liveStall,
		stdout: func(r io.Reader) error { return c.sendFragments(ctx, r, false, 1) },
	}
	if p.Audio == nil {
		_, err := cutter.run(ctx)
		return err
	}
	audio, to, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	cutter.extra = []*os.File{to}
	var reading sync.WaitGroup
	var audioErr error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reading.Go(func() {
		if audioErr = c.sendFragments(ctx, audio, true, audioBatch); audioErr != nil {
			cancel()
		}
		_, _ = io.Copy(io.Discard, audio)
	})
	_, err = cutter.run(ctx)
	err = errors.Join(err, to.Close())
	reading.Wait()
	return errors.Join(audioErr, err, audio.Close())
}

// cutArgs have ffmpeg cut a stream of NUT into fragments of MP4: video to standard
// output, sound to the next descriptor.
func cutArgs(u transcode.IngestUnit, sound bool) []string {
	args := []string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", "-copyts",
		"-protocol_whitelist", "pipe", "-f", "nut", "-i", fromPipe, "-map", "0:V:0", "-c", "copy"}
	args = append(args, fragmentArgs("+frag_keyframe", videoFragment, "pipe:1")...)
	if !sound {
		return args
	}
	r := *u.Audio
	args = append(args, "-map", "0:a:0", "-c:a", r.EncoderName(), "-b:a", strconv.Itoa(r.BitrateBPS), "-ac", strconv.Itoa(r.Channels),
		"-ar", strconv.Itoa(r.Rate()), "-af", "aresample=async=1:first_pts=0")
	return append(args, fragmentArgs("", audioFragment, "pipe:3")...)
}

// fragmentArgs write fragments with the time stamps that they have, from
// transcode.LiveStartSeconds on.
func fragmentArgs(flags string, microseconds int, to string) []string {
	return []string{
		"-output_ts_offset", seconds(transcode.LiveStartSeconds), "-avoid_negative_ts", "disabled", "-use_editlist", "0",
		"-movflags", "+empty_moov+default_base_moof+frag_discont" + flags, "-frag_duration", strconv.Itoa(microseconds),
		"-flush_packets", "1", "-f", "mp4", to,
	}
}

// sendFragments sends fragments as they come, several of them together.
func (c *connection) sendFragments(ctx context.Context, r io.Reader, audio bool, together int) error {
	var batch []byte
	n := 0
	flush := func() error {
		if n == 0 {
			return nil
		}
		_, err := c.send(ctx, transcode.LivePiece{Audio: audio}, batch)
		batch, n = nil, 0
		return err
	}
	err := mediafile.ReadFragments(r, transcode.MaxLivePiece/together, func(init []byte) error {
		_, err := c.send(ctx, transcode.LivePiece{Audio: audio, Init: true}, init)
		return err
	}, func(fragment []byte) error {
		batch = append(batch, fragment...)
		if n++; n < together {
			return nil
		}
		return flush()
	})
	return errors.Join(err, flush())
}

// send sends a piece until the queue answers.
func (c *connection) send(ctx context.Context, p transcode.LivePiece, body []byte) (transcode.LiveReply, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Job, p.Attempt, p.Connection, p.Number = c.job, c.attempt.number, c.number, c.pieces
	header, err := json.Marshal(p)
	if err != nil {
		return transcode.LiveReply{}, fmt.Errorf("sending a piece: %w", err)
	}
	message := append(append(header, '\n'), body...)
	for wait := c.retryAfter(); ; wait = longer(wait) {
		var reply transcode.LiveReply
		err := c.requestOnce(ctx, transcode.SubjectLive+"."+c.Config.Name, message, answerWithin, &reply)
		if err != nil {
			c.log().Debug("queue does not answer", "subject", transcode.SubjectLive, "err", err)
			if !pause.For(ctx, wait) {
				return reply, fmt.Errorf("sending a piece: %w", ctx.Err())
			}
			continue
		}
		c.pieces++
		c.pulse.touch(time.Now())
		switch {
		case reply.Gone != "":
			return reply, fmt.Errorf("%w: %s", errRevoked, reply.Gone)
		case reply.Again != "":
			return reply, fmt.Errorf("the queue asks for another connection: %s", reply.Again)
		}
		return reply, nil
	}
}
