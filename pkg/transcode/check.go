package transcode

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"unicode/utf8"

	"pibootd/pkg/transcode/mediafile"
)

// Limits of what a result may claim.
const (
	maxSegmentBytes = 1 << 30
	maxText         = 200 // bytes of a name: a codec, a format, a version
	maxFrames       = maxSeconds * maxRate
	maxBitrateBPS   = 1<<31 - 1
)

// audioTolerance is how far audio may be from the length it should have, in
// seconds: the encoder adds up to two frames of its own.
const audioTolerance = 0.050

var (
	avcCodecs  = regexp.MustCompile(`^avc1\.[0-9a-f]{6}$`)
	av1Codecs  = regexp.MustCompile(`^av01\.[0-2]\.[0-9]{2}[MH]\.(08|10|12)$`)
	hevcCodecs = regexp.MustCompile(`^hvc1\.[ABC]?[0-9]{1,2}\.[0-9a-f]{1,8}\.[LH][0-9]{1,3}(\.[0-9a-f]{1,2}){0,6}$`)
)

// Check says what a result lacks to be what the unit asked for, nil if nothing.
// It trusts u and nothing of r. That the files are there, and are what r says
// of them, is for the caller to see.
func Check(u Unit, r Result) error {
	if err := checkResult(u, r); err != nil {
		return fmt.Errorf("result of %s: %w", u.ID, err)
	}
	return nil
}

func checkResult(u Unit, r Result) error {
	if !sane(r.FPS, 1e6) || r.Took < 0 || !shortText(r.Encoder) || !shortText(r.Unread) {
		return fmt.Errorf("%v frames/s in %v by %.50q; want plausible numbers and a short name", r.FPS, r.Took, r.Encoder)
	}
	switch {
	case u.Kind == KindProbe:
		if r.Probe == nil {
			return errors.New("no probe")
		}
		return checkProbe(*r.Probe)
	case u.Kind == KindSurvey && u.Video != nil:
		return checkSurvey(*u.Video, r)
	case u.Kind == KindTrial && u.Video != nil:
		return checkTrial(u, r)
	case u.Kind == KindVideo && u.Video != nil:
		return checkPieces(u, r)
	case u.Kind == KindAudio && u.Audio != nil:
		return checkAudio(*u.Audio, r)
	case u.Kind == KindText && u.Text != nil:
		return checkText(*u.Text, r)
	case u.Kind == KindLift && u.Lift != nil:
		return checkLift(r)
	case u.Kind == KindCover && u.Cover != nil:
		return checkCover(r)
	case u.Kind == KindJoin && u.Join != nil:
		return checkJoin(*u.Join, r)
	case u.Kind == KindWhole && u.Whole != nil:
		return checkWhole(*u.Whole, r)
	case u.Kind == KindIngest && u.Ingest != nil:
		return nil // what it has received came in pieces
	}
	return fmt.Errorf("unit of unknown kind %q", u.Kind)
}

// checkProbe looks for impossible values only: whether the source is fit for
// transcoding is NewPlan's to say.
func checkProbe(p Probe) error {
	if !shortText(p.Format) || !shortText(p.FFmpeg) {
		return errors.New("a name in the probe is too long")
	}
	if !sane(p.Seconds, maxStart) || !(math.Abs(p.Start) <= maxStart) || p.SizeBytes < 0 || !saneBitrate(p.BitrateBPS) {
		return fmt.Errorf("length %v s from %v, %d bytes, %d b/s are out of range", p.Seconds, p.Start, p.SizeBytes, p.BitrateBPS)
	}
	if v := p.Video; v != nil {
		ok := shortText(v.Codec) && shortText(v.PixelFormat) && within(v.Width, 1<<16) && within(v.Height, 1<<16) &&
			v.Rate.Num >= 0 && v.Rate.Den >= 0 && saneBitrate(v.BitrateBPS) && within(v.Frames, maxFrames) &&
			sane(v.MaxGapSeconds, maxStart) && sane(v.MaxGOPSeconds, maxStart) && sane(v.EndSeconds, maxStart)
		if !ok {
			return errors.New("a number of the video stream is out of range")
		}
		if err := errors.Join(checkFilm(*v), v.Sizes.check()); err != nil {
			return err
		}
	}
	if !within(p.MoreFilms, maxStreams*maxStreams) || !sane(p.MoreSeconds, maxStart) {
		return fmt.Errorf("%d more films of %v s are out of range", p.MoreFilms, p.MoreSeconds)
	}
	if err := errors.Join(checkSpans(p), checkParts(p), checkPauses(p)); err != nil {
		return err
	}
	return checkTracksOf(p)
}

// mapOfStream matches what names one stream of a source to ffmpeg.
var mapOfStream = regexp.MustCompile(`^(0:(i:)?[0-9]{1,10})?$`)

// checkFilm looks at what is passed on to the ffmpeg of other workers.
func checkFilm(v VideoStream) error {
	fields := []Fields{FieldsFrame, FieldsFlagged, FieldsEach, FieldsFilm}
	if !mapOfStream.MatchString(v.Map) || !slices.Contains(fields, v.Fields) {
		return fmt.Errorf("stream %.50q of fields %.50q; want 0:NUMBER and a known way", v.Map, v.Fields)
	}
	if !v.Color.sane() {
		return errors.New("the colors of the video stream are not by ffmpeg's names")
	}
	if !within(v.CodedWidth, 1<<16) || !within(v.CodedHeight, 1<<16) || !sane(v.DelaySeconds, 10) {
		return fmt.Errorf("%dx%d coded, %v s late are out of range", v.CodedWidth, v.CodedHeight, v.DelaySeconds)
	}
	return checkCaptions(v.Captions)
}

// Limits of what is kept of a source whose time stamps jump.
const (
	maxSpans   = 200
	maxEntries = 5000
)

func checkSpans(p Probe) error {
	if len(p.Spans) > maxSpans || len(p.Entries) > maxEntries {
		return fmt.Errorf("%d spans with %d entries; want %d and %d at most", len(p.Spans), len(p.Entries), maxSpans, maxEntries)
	}
	for _, s := range p.Spans {
		if !(math.Abs(s.First) <= maxStart) || !(math.Abs(s.At) <= maxStart) || s.Bytes < 0 {
			return fmt.Errorf("a span from %v at %v s, byte %d, is out of range", s.First, s.At, s.Bytes)
		}
	}
	for _, e := range p.Entries {
		if e.Span < 0 || e.Span >= len(p.Spans) || e.Bytes < 0 || !(math.Abs(e.Stamp) <= maxStart) || !(math.Abs(e.Seconds) <= maxStart) {
			return fmt.Errorf("an entry at byte %d, %v s of span %d is out of range", e.Bytes, e.Seconds, e.Span)
		}
	}
	return nil
}

func checkPieces(u Unit, r Result) error {
	if err := checkHeld(r.Held, maxHeld); err != nil {
		return err
	}
	if err := checkUnitPictures(*u.Video, r); err != nil {
		return err
	}
	if len(r.Others) != len(u.Video.Others) {
		return fmt.Errorf("%d renditions; want %d", 1+len(r.Others), 1+len(u.Video.Others))
	}
	for _, p := range Pieces(u, r) {
		if err := checkVideo(*p.Unit.Video, p.Result); err != nil {
			if p.Dir != "" {
				err = fmt.Errorf("%s: %w", p.Dir, err)
			}
			return err
		}
	}
	return nil
}

func checkVideo(v VideoUnit, r Result) error {
	if v.Container == ContainerNUT {
		return checkNUT(v, r)
	}
	if err := checkCodecs(v, r.Codecs); err != nil {
		return err
	}
	if err := checkInit(v.Container, r.Init); err != nil {
		return err
	}
	first, end := v.Segments()
	if len(r.Segments) != end-first {
		return fmt.Errorf("%d segments; want %d", len(r.Segments), end-first)
	}
	for i, s := range r.Segments {
		name := v.Container.SegmentName(first + i)
		if err := checkSegmentFile(s, name, maxSegmentBytes); err != nil {
			return err
		}
		if err := checkVideoSegment(v.Grid, first+i, s); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkNUT looks at a video that one worker has made, in one file.
func checkNUT(v VideoUnit, r Result) error {
	if err := checkOneNUT(r); err != nil {
		return err
	}
	if frames := v.EndFrame - v.FirstFrame; !v.Free && r.Segments[0].Frames != frames {
		return fmt.Errorf("%d frames; want %d", r.Segments[0].Frames, frames)
	}
	return nil
}

func checkOneNUT(r Result) error {
	if len(r.Segments) != 1 || r.Init != nil || !shortText(r.Codecs) {
		return fmt.Errorf("%d files; want one", len(r.Segments))
	}
	if s := r.Segments[0]; s.Frames < 1 || s.Frames > maxFrames || !sane(s.Seconds, maxSeconds+maxStart) {
		return fmt.Errorf("%d frames in %v s are out of range", s.Frames, s.Seconds)
	}
	return checkSegmentFile(r.Segments[0], ContainerNUT.SegmentName(0), maxFileBytes)
}

// checkCodecs makes sure that a unit's codec is the one that was asked for.
func checkCodecs(v VideoUnit, codecs string) error {
	switch codec := encoderCodecs()[cmp.Or(v.Encoder, EncoderX264)]; {
	case codec == CodecH264 && !avcCodecs.MatchString(codecs):
		return fmt.Errorf("codec %.50q; want avc1.PPCCLL", codecs)
	case codec == CodecH265 && !hevcCodecs.MatchString(codecs):
		return fmt.Errorf("codec %.50q; want hvc1 with profile and level", codecs)
	case codec == CodecAV1 && !av1Codecs.MatchString(codecs):
		return fmt.Errorf("codec %.50q; want av01.P.LLT.DD", codecs)
	case !mediafile.IsCodec(codecs):
		return fmt.Errorf("codec %.50q; want its RFC 6381 name", codecs)
	}
	return nil
}

// checkInit makes sure that there is an initialization section if there has to be.
func checkInit(c Container, init *Segment) error {
	switch {
	case c != ContainerCMAF && init == nil:
		return nil
	case c != ContainerCMAF:
		return errors.New("an initialization section; want none with MPEG-TS")
	case init == nil:
		return errors.New("no initialization section")
	}
	return checkSegmentFile(*init, InitName, mediafile.MaxInitBytes)
}

// checkSegmentFile looks at what every file must have.
func checkSegmentFile(s Segment, name string, most int64) error {
	if s.Name != name {
		return fmt.Errorf("segment named %.50q; want %s", s.Name, name)
	}
	if s.SizeBytes <= 0 || s.SizeBytes > most {
		return fmt.Errorf("%s: %d bytes; want 1 to %d", name, s.SizeBytes, most)
	}
	if sum, err := hex.DecodeString(s.SHA256); err != nil || len(sum) != 32 {
		return fmt.Errorf("%s: %.80q is not a SHA-256; want 64 hex digits", name, s.SHA256)
	}
	return nil
}

func checkVideoSegment(g Grid, number int, s Segment) error {
	first, end := g.Segment(number)
	if s.Frames != end-first {
		return fmt.Errorf("%d frames; want %d", s.Frames, end-first)
	}
	if !near(s.FirstPTS, g.PTS(first), 1) || !near(s.LastPTS, g.PTS(end-1), 1) {
		return fmt.Errorf("frames from %d to %d (90 kHz); want %d to %d", s.FirstPTS, s.LastPTS, g.PTS(first), g.PTS(end-1))
	}
	if !s.Key {
		return errors.New("it does not begin with a key frame")
	}
	if s.KeyBytes < 0 || s.KeyBytes > s.SizeBytes {
		return fmt.Errorf("%d bytes of a key frame in %d; want no more", s.KeyBytes, s.SizeBytes)
	}
	if want := g.Seconds(end - first); !(math.Abs(s.Seconds-want) < 0.001) {
		return fmt.Errorf("%v s; want %.3f", s.Seconds, want)
	}
	return nil
}

func checkAudio(a AudioUnit, r Result) error {
	if err := checkHeld(r.Held, maxHeld); err != nil {
		return err
	}
	if a.Container == ContainerNUT {
		return checkOneNUT(r)
	}
	if want := a.Rendition.codec().codecs; r.Codecs != want {
		return fmt.Errorf("codec %.50q; want %s", r.Codecs, want)
	}
	if err := checkInit(a.Container, r.Init); err != nil {
		return err
	}
	most := int(a.seconds()/a.SegmentSeconds) + 2
	if len(r.Segments) == 0 || len(r.Segments) > most {
		return fmt.Errorf("%d segments; want 1 to %d", len(r.Segments), most)
	}
	next, frames := r.Segments[0].FirstPTS, 0
	begin := float64(a.First) * a.SegmentSeconds
	if seconds := float64(next-StartPTS)/mediafile.TicksPerSecond - begin; math.Abs(seconds) > audioTolerance {
		return fmt.Errorf("audio begins %.3f s after the video's grid; want within %v", seconds, audioTolerance)
	}
	for i, s := range r.Segments {
		name := a.Container.SegmentName(a.First + i)
		if err := checkSegmentFile(s, name, maxSegmentBytes); err != nil {
			return err
		}
		if err := checkAudioSegment(a, s, next); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		next = s.LastPTS + a.Rendition.ticks(1)
		frames += s.Frames
	}
	if got := a.Rendition.Time(frames); math.Abs(got-a.seconds()) > audioTolerance {
		return fmt.Errorf("%.3f s of audio; want %.3f", got, a.seconds())
	}
	return nil
}

// checkAudioSegment checks one segment whose first frame is due at next.
func checkAudioSegment(a AudioUnit, s Segment, next int64) error {
	most := a.Rendition.Frames(a.SegmentSeconds + audioTolerance)
	if s.Frames < 1 || s.Frames > most+1 {
		return fmt.Errorf("%d frames; want 1 to %d", s.Frames, most+1)
	}
	// A few ticks: the muxer rounds each time stamp that it writes.
	last := s.FirstPTS + a.Rendition.ticks(s.Frames-1)
	if !near(s.FirstPTS, next, 4) || !near(s.LastPTS, last, 4) {
		return fmt.Errorf("frames from %d to %d (90 kHz); want %d to %d", s.FirstPTS, s.LastPTS, next, last)
	}
	if want := a.Rendition.Time(s.Frames); !(math.Abs(s.Seconds-want) < 0.001) {
		return fmt.Errorf("%v s; want %.3f", s.Seconds, want)
	}
	return nil
}

// sane tells whether f is a number from 0 to most, which NaN is not.
func sane(f, most float64) bool { return f >= 0 && f <= most }

func within(n, most int) bool { return n >= 0 && n <= most }

func saneBitrate(bps int) bool { return within(bps, maxBitrateBPS) }

func shortText(s string) bool { return len(s) <= maxText && utf8.ValidString(s) }

// near tells whether a and b are at most this many ticks apart.
func near(a, b, ticks int64) bool {
	return a >= 0 && a <= 1<<33 && a-b <= ticks && b-a <= ticks
}
