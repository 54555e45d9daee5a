package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"slices"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
)

// A liveSession is what is received from one connection of a live source. It begins with
// the first part that is made of it.
type liveSession struct {
	attempt, connection int
	pieces              int // received
	plan                *transcode.LivePlan
	number              int // of the session, once it has a part; -1: not yet
	firstSegment        int
	zero                time.Time // when what has the time stamp LiveStartSeconds was received
	video, audio        liveTrack
	part                int     // number of the next one
	file                bool    // the source is a file: all of its tracks are known
	silent              bool    // the source has no sound
	sounded             float64 // until when its parts have sound, in seconds
}

// A liveTrack is the fragments of a track that are still needed.
type liveTrack struct {
	init      []byte
	info      mediafile.InitInfo
	fragments []liveFragment
	bytes     int
	end       float64 // until when all has been received, in seconds of the session
}

type liveFragment struct {
	mediafile.Fragment
	data []byte
}

// Limits of a session in memory.
const (
	maxSessionBytes = 96 << 20
	// maxAudioLag is by how much sound may come later than its video, in seconds, before
	// parts are made without.
	maxAudioLag = 5
	// maxSince bounds how long a source may have been received before its probe.
	maxSince = time.Minute
)

// onLive answers a piece of a live source.
func (q *Queue) onLive(ctx context.Context, worker string, body []byte) (any, error) {
	header, data, _ := bytes.Cut(body, []byte("\n"))
	p, err := decode[transcode.LivePiece](header)
	if err != nil {
		return nil, err
	}
	return unlessFailed(q.receive(ctx, worker, p, data))
}

// receive adds a piece to its session. An error means that nothing has happened and that
// the worker must send it again.
func (q *Queue) receive(ctx context.Context, worker string, p transcode.LivePiece, data []byte) (transcode.LiveReply, error) {
	key := attemptKey{unitKey{p.Job, transcode.IngestUnitID}, p.Attempt}
	end, err := q.liveTurns.Begin(ctx, p.Job)
	if err != nil {
		return transcode.LiveReply{}, err
	}
	defer end()
	s := q.live.get(p.Job)
	claim, ok := q.claims.get(worker, key)
	if !ok || s == nil {
		return transcode.LiveReply{Gone: "the claim was taken back, or the stream has ended"}, nil
	}
	if p.Number == 0 {
		q.endSession(ctx, s)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.source = &liveSession{attempt: p.Attempt, connection: p.Connection, pieces: 1, number: -1, file: claim.spec.Ingest.File}
		return transcode.LiveReply{Skip: s.received}, nil
	}
	s.mu.Lock()
	c := s.source
	s.mu.Unlock()
	switch {
	case c == nil || c.attempt != p.Attempt || c.connection != p.Connection || p.Number > c.pieces:
		return transcode.LiveReply{Again: "the daemon was restarted, or a piece is missing"}, nil
	case p.Number < c.pieces:
		return transcode.LiveReply{}, nil // it was received, and the reply was lost
	}
	wrong, err := q.addPiece(ctx, s, c, p, data)
	if err != nil {
		return transcode.LiveReply{}, err
	}
	c.pieces++
	if wrong != nil {
		q.log.Warn("live source is connected again", "job", s.job, "pi", worker, "err", wrong)
		q.endSession(ctx, s)
		return transcode.LiveReply{Again: clip(wrong.Error(), maxReason)}, nil
	}
	return transcode.LiveReply{}, nil
}

// addPiece adds a piece, and makes the parts for which all has been received.
func (q *Queue) addPiece(ctx context.Context, s *liveStream, c *liveSession, p transcode.LivePiece, data []byte) (wrong, err error) {
	track := &c.video
	if p.Audio {
		track = &c.audio
	}
	switch {
	case p.Probe != nil:
		since := min(max(time.Duration(p.SinceMS)*time.Millisecond, 0), maxSince)
		c.zero = time.Now().Add(-since)
		return q.planSession(ctx, s, c, *p.Probe)
	case p.End:
		q.endSession(ctx, s)
		return nil, nil
	case c.plan == nil:
		return errors.New("a fragment before the probe"), nil
	case p.Init:
		track.init = slices.Clone(data)
		track.info, wrong = mediafile.InspectInit(bytes.NewReader(data))
		return wrong, nil
	}
	if wrong := c.add(track, slices.Clone(data)); wrong != nil {
		return wrong, nil
	}
	// A source that was held up catches up: nothing is received before it is sent.
	if latest := time.Now().Add(-time.Duration(track.end * float64(time.Second))); latest.Before(c.zero) {
		c.zero = latest
	}
	return nil, q.makeParts(ctx, s, c)
}

// add adds fragments to a track.
func (c *liveSession) add(track *liveTrack, data []byte) error {
	if track.init == nil {
		return errors.New("a fragment before its initialization section")
	}
	unexpected := func([]byte) error { return errors.New("a second initialization section") }
	return mediafile.ReadFragments(bytes.NewReader(data), transcode.MaxLivePiece, unexpected, func(data []byte) error {
		f, err := mediafile.InspectFragment(track.info, data)
		if err != nil {
			return err
		}
		if last := len(track.fragments) - 1; last >= 0 && f.Begin < track.fragments[last].End-mediafile.TicksPerSecond/10 {
			return fmt.Errorf("a fragment begins at %d and the one before it ends at %d; want time to go on", f.Begin, track.fragments[last].End)
		}
		if track.bytes += len(data); track.bytes > maxSessionBytes {
			return fmt.Errorf("more than %d bytes wait for a key frame or for sound", maxSessionBytes)
		}
		track.fragments = append(track.fragments, liveFragment{f, data})
		track.end = sessionSeconds(f.End)
		return nil
	})
}

// sessionSeconds returns the time in a session of a time stamp of its fragments.
func sessionSeconds(ticks int64) float64 {
	return float64(ticks-transcode.StartPTS) / mediafile.TicksPerSecond
}

// planSession plans the parts of a session, and of the stream if it is the first one. A
// source of which no stream can be made fails the job.
func (q *Queue) planSession(ctx context.Context, s *liveStream, c *liveSession, p transcode.Probe) (wrong, err error) {
	if wrong := transcode.Check(transcode.Unit{ID: "probe", Kind: transcode.KindProbe}, transcode.Result{Probe: &p}); wrong != nil {
		return wrong, nil
	}
	if c.silent = p.Audio == nil; c.silent && !c.file {
		p.Audio = transcode.AwaitedSound() // it may come later, and players would not look for it
	}
	plan, wrong := transcode.PlanLive(s.request, p)
	s.mu.Lock()
	first := s.plan
	s.mu.Unlock()
	known := true
	if wrong == nil && first == nil {
		known, wrong = q.checkCapacity(s, plan)
	}
	switch {
	case wrong != nil && first != nil:
		return wrong, nil
	case wrong != nil:
		return nil, q.write(ctx, func(t *transaction) error { return t.endJob(ctx, s.job, Failed, clip(wrong.Error(), maxReason), nil) })
	case first != nil:
		plan = plan.Following(*first)
		c.plan = &plan
		return nil, nil
	}
	err = q.write(ctx, func(t *transaction) error {
		return t.exec(ctx, `UPDATE jobs SET probe = ?, plan = ? WHERE id = ?`, column[transcode.Probe]{p}, column[transcode.LivePlan]{plan}, s.job)
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plan, c.plan = &plan, &plan
	if !known {
		s.unproved = time.Now()
	}
	return nil, nil
}

// makeParts makes the parts for which all has been received.
func (q *Queue) makeParts(ctx context.Context, s *liveStream, c *liveSession) error {
	for {
		end := float64(c.part+1) * c.plan.PartSeconds()
		sound := c.plan.Audio == "" || c.silent || c.audio.end >= end || c.video.end > c.audio.end+maxAudioLag
		if c.video.end < end || !sound {
			return nil
		}
		if err := q.makePart(ctx, s, c, (c.part+1)*c.plan.Frames); err != nil {
			return err
		}
	}
}

// endSession makes a part of what is left, and then lets the next connection begin.
func (q *Queue) endSession(ctx context.Context, s *liveStream) {
	s.closeTunnel()
	s.mu.Lock()
	c := s.source
	s.source = nil
	s.mu.Unlock()
	if c == nil || c.plan == nil {
		return
	}
	rate := c.plan.Plan.Grid.Rate.Float()
	end := min(int(c.shown()*rate+0.5), (c.part+1)*c.plan.Frames)
	// A shorter rest would not be a segment of its own: transcode.Grid.
	if rest := end - c.part*c.plan.Frames; 4*rest >= c.plan.Frames {
		if err := q.makePart(ctx, s, c, end); err != nil && ctx.Err() == nil {
			q.log.Warn("end of a live source not encoded", "job", s.job, "err", err)
		}
	}
}

// shown returns when the last frame of c ends that was received, in seconds.
func (c *liveSession) shown() float64 {
	end := 0.0
	for _, f := range c.video.fragments {
		end = max(end, sessionSeconds(f.LastPTS)+1/c.plan.Plan.Grid.Rate.Float())
	}
	return end
}

// makePart adds the units of the next part, which ends before the frame end.
func (q *Queue) makePart(ctx context.Context, s *liveStream, c *liveSession, end int) error {
	now := time.Now()
	grid := c.plan.Plan.Grid
	from, to := grid.Seconds(c.part*c.plan.Frames), grid.Seconds(end)
	s.mu.Lock()
	if c.number < 0 {
		c.number, c.firstSegment = s.next.session, s.next.segment
	}
	received := s.received + to - from
	s.mu.Unlock()
	p := transcode.LivePart{
		Session: c.number, Segment: c.firstSegment + c.part/c.plan.SegmentParts, Index: c.part % c.plan.SegmentParts, Number: c.part,
		Time: c.zero.Add(time.Duration(from * float64(time.Second))).UnixMilli(), Received: received,
	}
	source, err := q.writeFragments(s, p, c.video.needed(from, to), c.video.init)
	if err != nil {
		return err
	}
	units := c.plan.VideoUnits(p, end, source)
	var sound *liveSound
	if c.plan.Audio != "" {
		if sound, err = q.writeSound(s, c, p, from, to); err != nil {
			return err
		}
	}
	old := s.leaving(now)
	err = q.write(ctx, func(t *transaction) error {
		t.announce = true
		for _, u := range units {
			if err := t.addUnit(ctx, s.job, seqOf(c, p), u); err != nil {
				return err
			}
		}
		return errors.Join(t.addSound(ctx, s.job, seqOf(c, p), sound), t.removeParts(ctx, old))
	})
	if err != nil {
		return err
	}
	q.addParts(s, c, units, sound, to)
	q.removeParts(s, old)
	return nil
}

// seqOf orders the parts of a stream.
func seqOf(c *liveSession, p transcode.LivePart) int {
	return 1 + p.Segment*c.plan.SegmentParts + p.Index
}

// addParts has players wait for the parts that units make, and c continue behind them.
func (q *Queue) addParts(s *liveStream, c *liveSession, units []transcode.Unit, sound *liveSound, to float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range units {
		s.parts = append(s.parts, newLivePart(s, u))
		s.next.session, s.next.segment, s.received = c.number+1, u.Live.Segment+1, u.Live.Received
	}
	if sound != nil {
		p := newLivePart(s, sound.unit)
		p.seconds = sound.seconds
		s.parts = append(s.parts, p)
		if len(sound.result.Segments) == 0 {
			p.state = failed
		} else {
			q.completePart(s, p, 1, sound.result)
		}
	}
	c.part++
	c.video.dropBefore(to, true)
	c.audio.dropBefore(to, false)
}

// needed returns the fragments with the frames that are shown in [from, to): from the key
// frame before on.
func (t *liveTrack) needed(from, to float64) []liveFragment {
	list := t.fragments[t.entry(from):]
	for i, f := range list {
		if sessionSeconds(f.Begin) >= to {
			return list[:i]
		}
	}
	return list
}

// entry returns the last fragment that begins with a key frame which is shown by this time.
func (t *liveTrack) entry(at float64) int {
	for i, f := range slices.Backward(t.fragments) {
		if f.Key && sessionSeconds(f.FirstPTS) <= at {
			return i
		}
	}
	return 0
}

// dropBefore forgets what no part from this time on needs.
func (t *liveTrack) dropBefore(at float64, video bool) {
	n := 0
	if video {
		n = t.entry(at)
	} else {
		for n < len(t.fragments) && sessionSeconds(t.fragments[n].FirstPTS) < at {
			n++
		}
	}
	for _, f := range t.fragments[:n] {
		t.bytes -= len(f.data)
	}
	t.fragments = slices.Delete(t.fragments, 0, n)
}

// writeFragments writes the source of a part's units, and returns its path.
func (q *Queue) writeFragments(s *liveStream, p transcode.LivePart, fragments []liveFragment, init []byte) (string, error) {
	for _, dir := range []string{transcode.JobDir(s.job), transcode.LiveDir(s.job)} {
		if err := q.makeOwnDir(dir); err != nil {
			return "", err
		}
	}
	name := livePartSource(s.job, p)
	data := [][]byte{init}
	for _, f := range fragments {
		data = append(data, f.data)
	}
	return name, q.writeOwn(name, data...)
}

// livePartSource is the file that the units of a part read.
func livePartSource(job int64, p transcode.LivePart) string {
	return path.Join(transcode.LiveDir(job), fmt.Sprintf("%d-%06d.mp4", p.Session, p.Number))
}

// writeOwn writes a file that workers read. After a power cut it may be missing, and with
// it its part of the stream.
func (q *Queue) writeOwn(name string, data ...[]byte) error {
	file, err := q.media.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	for _, part := range data {
		if _, err := file.Write(part); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return errors.Join(file.Chmod(fileMode), file.Close())
}

// A liveSound is a part of sound, which was encoded as it was received.
type liveSound struct {
	unit    transcode.Unit
	result  transcode.Result
	seconds float64
}

// writeSound writes the sound from one time of a session to another.
func (q *Queue) writeSound(s *liveStream, c *liveSession, p transcode.LivePart, from, to float64) (*liveSound, error) {
	p.Rendition = c.plan.Audio
	audio := transcode.AudioUnit{Rendition: *c.plan.Plan.Audio, SegmentSeconds: c.plan.PartSeconds(), Container: transcode.ContainerCMAF, First: p.Number, End: p.Number + 1}
	sound := &liveSound{unit: transcode.Unit{ID: p.UnitID(), Kind: transcode.KindAudio, Audio: &audio, Live: &p}, seconds: to - from}
	var data []byte
	init, codecs := c.audio.init, c.audio.info.Codecs
	segment := transcode.Segment{Name: audio.Container.SegmentName(p.Number), Key: true}
	for _, f := range c.audio.fragments {
		if at := sessionSeconds(f.FirstPTS); at >= to {
			break
		}
		if data == nil {
			segment.FirstPTS = f.FirstPTS
		}
		data, segment.LastPTS, segment.Frames = append(data, f.data...), f.LastPTS, segment.Frames+f.Frames
	}
	if data == nil {
		data = silence(&segment, audio.Rendition, max(from, c.sounded), to)
	}
	if init == nil {
		init, codecs = mediafile.SilenceInit(), silenceCodecs
	}
	if data == nil {
		return sound, nil
	}
	segment.Seconds = audio.Rendition.Time(segment.Frames)
	sound.seconds, c.sounded = segment.Seconds, sessionSeconds(segment.FirstPTS)+segment.Seconds
	dir := transcode.AttemptDir(s.job, sound.unit.ID, 1)
	described := hashed(transcode.Segment{Name: transcode.InitName}, init)
	segment = hashed(segment, data)
	sound.result = transcode.Result{Segments: []transcode.Segment{segment}, Init: &described, Codecs: codecs, Encoder: audio.Rendition.EncoderName()}
	return sound, errors.Join(q.makeOwnDir(dir), q.writeOwn(path.Join(dir, segment.Name), data), q.writeOwn(path.Join(dir, transcode.InitName), init))
}

// silenceCodecs is that of mediafile.SilenceInit (RFC 6381).
const silenceCodecs = "mp4a.40.2"

// silence returns a part without sound from one time of a session to another, and describes
// it; nil if that is shorter than a frame.
func silence(segment *transcode.Segment, r transcode.AudioRendition, from, to float64) []byte {
	frames := r.Frames(to - from)
	if frames < 1 {
		return nil
	}
	sample := int64(math.Round((transcode.LiveStartSeconds + from) * float64(r.Rate())))
	ticks := func(samples int64) int64 { return samples * mediafile.TicksPerSecond / int64(r.Rate()) }
	segment.FirstPTS, segment.Frames = ticks(sample), frames
	segment.LastPTS = ticks(sample + int64(frames-1)*mediafile.SilenceSamples)
	return mediafile.SilentFragment(sample, frames)
}

func hashed(s transcode.Segment, data []byte) transcode.Segment {
	sum := sha256.Sum256(data)
	s.SizeBytes, s.SHA256 = int64(len(data)), hex.EncodeToString(sum[:])
	return s
}

// addSound stores a part of sound as a unit that is done; nil is none.
func (t *transaction) addSound(ctx context.Context, job int64, seq int, sound *liveSound) error {
	if sound == nil {
		return nil
	}
	if err := t.addUnit(ctx, job, seq, sound.unit); err != nil {
		return err
	}
	state := done
	if len(sound.result.Segments) == 0 {
		state = failed
	}
	return t.exec(ctx, `UPDATE units SET state = ?, attempt = 1, tries = 1, result = ? WHERE job = ? AND unit = ?`,
		state, column[transcode.Result]{sound.result}, job, sound.unit.ID)
}
