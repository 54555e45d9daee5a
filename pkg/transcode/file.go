package transcode

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
)

// OutputName returns the name of a finished file in its attempt's directory.
func (f Format) OutputName() string { return "out." + string(f) }

const (
	maxFileBytes = 1 << 42
	// fileTolerance is how far times may be off in a finished file: Matroska
	// counts milliseconds.
	fileTolerance = 0.002
	// looseTolerance is how far the times of what is copied may be off, in seconds.
	looseTolerance = 1
)

// Join returns the unit that makes the plan's file of what its other units have
// made. dirs are the directories, in the media share, that hold their segments.
func Join(p Plan, results map[string]Result, dirs map[string]string) (Unit, error) {
	if _, err := JoinUnits(p, results); err != nil {
		return Unit{}, err
	}
	options, err := ParseOptions(p.Output.Format, p.Output.Options)
	if err != nil {
		return Unit{}, err
	}
	source := ""
	join := JoinUnit{Format: p.Output.Format, Grid: p.Grid, Options: options.File, Chapters: p.Chapters, Tags: p.Tags}
	if options.NoChapters {
		join.Chapters = nil
	}
	if options.NoMetadata {
		join.Tags = nil
	}
	for _, u := range p.Units {
		part := Part{Dir: dirs[u.ID], End: len(results[u.ID].Segments)}
		if u.Container() == ContainerNUT {
			part.Container = ContainerNUT
		}
		if u.Text != nil {
			join.addText(u, dirs[u.ID])
			continue
		}
		if u.Video != nil {
			if part.Container != ContainerNUT {
				part.First, part.End = u.Video.Segments()
			}
			join.Video, source, join.Free = append(join.Video, part), u.Source, u.Video.Free
			if part.Container == ContainerNUT && p.Output.Format == FormatMP4 && encoderCodecs()[u.Video.Encoder] == CodecH265 {
				join.Options = append(join.Options, "-tag:v", "hvc1") // as Apple's players want it
			}
			continue
		}
		join.addAudio(u.Audio.Rendition, part)
	}
	if len(join.Video) == 0 {
		return Unit{}, errors.New("joining units: there is no video")
	}
	return Unit{ID: string(KindJoin), Kind: KindJoin, Source: source, Join: &join}, nil
}

// addAudio adds an audio track. The first one is the default one.
func (j *JoinUnit) addAudio(r AudioRendition, part Part) {
	if len(j.Audio) == 0 {
		j.Audio, j.Seconds, j.Info = []Part{part}, r.Seconds, r.TrackInfo
		return
	}
	j.MoreAudio = append(j.MoreAudio, JoinAudio{Info: r.TrackInfo, Parts: []Part{part}, Seconds: r.Seconds})
}

// addText adds the subtitles of a unit whose files are in dir.
func (j *JoinUnit) addText(u Unit, dir string) {
	for _, piece := range Pieces(u, Result{}) {
		r := piece.Unit.Text.Renditions[0]
		j.Subtitles = append(j.Subtitles, JoinText{Info: r.TrackInfo, File: path.Join(dir, piece.Dir, r.Format.SegmentName(0))})
	}
}

// AudioTracks returns the audio tracks of j, the default one first.
func (j JoinUnit) AudioTracks() []JoinAudio {
	if j.Seconds == 0 {
		return nil
	}
	return append([]JoinAudio{{Info: j.Info, Parts: j.Audio, Seconds: j.Seconds}}, j.MoreAudio...)
}

// AudioTracks returns the audio tracks of f, in its order.
func (f File) AudioTracks() []Track {
	if f.Audio == nil {
		return nil
	}
	return append([]Track{*f.Audio}, f.MoreAudio...)
}

// maxTracks is the number of audio tracks that a file may have.
const maxTracks = 64

// checkFinished looks at what every finished file must have.
func checkFinished(format Format, f *File) error {
	if f == nil {
		return errors.New("no file")
	}
	if err := checkSegmentFile(Segment{Name: f.Name, SizeBytes: f.SizeBytes, SHA256: f.SHA256}, format.OutputName(), maxFileBytes); err != nil {
		return err
	}
	tracks := append([]Track{f.Video}, f.AudioTracks()...)
	if len(tracks) > maxTracks {
		return fmt.Errorf("%s: %d tracks; want %d at most", f.Name, len(tracks), maxTracks)
	}
	if len(f.Subtitles) > maxTracks || slices.ContainsFunc(f.Subtitles, func(c string) bool { return !shortText(c) }) {
		return fmt.Errorf("%s: %d tracks of subtitles; want %d at most, with short names", f.Name, len(f.Subtitles), maxTracks)
	}
	for _, t := range tracks {
		ok := shortText(t.Codec) && shortText(t.Language) && t.Frames > 0 && t.Frames <= maxFrames && math.Abs(t.StartSeconds) <= maxSeconds &&
			sane(t.EndSeconds, maxSeconds+1) && sane(t.MaxGapSeconds, maxSeconds)
		if !ok {
			return fmt.Errorf("%s: %d frames from %v to %v s are out of range", f.Name, t.Frames, t.StartSeconds, t.EndSeconds)
		}
	}
	return nil
}

// checkJoin makes sure that nothing was lost between the units and the file.
func checkJoin(j JoinUnit, r Result) error {
	if err := checkFinished(j.Format, r.File); err != nil {
		return err
	}
	v := r.File.Video
	if len(r.File.Subtitles) != len(j.Subtitles) {
		return fmt.Errorf("%s: %d tracks of subtitles; want %d", r.File.Name, len(r.File.Subtitles), len(j.Subtitles))
	}
	if j.Free {
		return checkJoinedAudio(j, r.File)
	}
	if v.Frames != j.Grid.Frames {
		return fmt.Errorf("%s: %d frames; want %d", r.File.Name, v.Frames, j.Grid.Frames)
	}
	// Matroska has no time before zero: there the sound that primes the decoder
	// begins at zero, and the video that much later.
	if math.Abs(v.StartSeconds) > audioTolerance {
		return fmt.Errorf("%s: video begins at %.3f s; want 0", r.File.Name, v.StartSeconds)
	}
	frame := j.Grid.Seconds(1)
	if want := j.Grid.Seconds(j.Grid.Frames); math.Abs(v.EndSeconds-v.StartSeconds-want) > frame+fileTolerance {
		return fmt.Errorf("%s: %.3f s of video; want %.3f", r.File.Name, v.EndSeconds-v.StartSeconds, want)
	}
	if v.MaxGapSeconds > frame+fileTolerance {
		return fmt.Errorf("%s: %.3f s between two frames; want %.3f", r.File.Name, v.MaxGapSeconds, frame)
	}
	return checkJoinedAudio(j, r.File)
}

func checkJoinedAudio(j JoinUnit, f *File) error {
	want, got := j.AudioTracks(), f.AudioTracks()
	if len(got) != len(want) {
		return fmt.Errorf("%s: %d audio tracks; want %d", f.Name, len(got), len(want))
	}
	for i, t := range got {
		begin, end := t.StartSeconds-f.Video.StartSeconds, t.EndSeconds-f.Video.StartSeconds
		tolerance := audioTolerance
		if loose := func(p Part) bool { return p.Container == ContainerNUT }; j.Free || slices.ContainsFunc(want[i].Parts, loose) {
			tolerance = max(looseTolerance, want[i].Seconds/100)
		}
		if math.Abs(begin) > tolerance || math.Abs(end-want[i].Seconds) > tolerance {
			return fmt.Errorf("%s: audio from %.3f to %.3f s after the video's begin; want 0 to %.3f", f.Name, begin, end, want[i].Seconds)
		}
	}
	return nil
}

// checkWhole makes sure that a file has about the length of its source, unless
// the options made it another.
func checkWhole(w WholeUnit, r Result) error {
	if err := checkFinished(w.Format, r.File); err != nil {
		return err
	}
	if got := r.File.Video.EndSeconds; w.Seconds > 0 && math.Abs(got-w.Seconds) > max(1, w.Seconds/100) {
		return fmt.Errorf("%s: video ends at %.3f s; want about %.3f", r.File.Name, got, w.Seconds)
	}
	return nil
}
