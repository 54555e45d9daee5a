package transcode

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"

	"pibootd/pkg/transcode/mediafile"
)

// A live stream is made while its source is sent. One worker receives the source: its
// unit, of KindIngest, lasts as long as the stream. It copies the video and encodes the
// sound, and sends both in fragments (LivePiece). The queue makes parts of them, of
// PartSeconds each on one grid, and a unit of video for each rendition of each part, for
// all workers. Each part begins with a key frame, so that it can be made without the
// others.

// A Live asks for a live stream of Request.Source, which is read as fast as it is played.
type Live struct {
	// PartSeconds is the duration of a part, which is what a player waits for; 0 means 1.
	PartSeconds float64 `json:"part_seconds,omitempty"`
	// DVRSeconds is how far back a player can go; 0 means defaultWindowSeconds.
	DVRSeconds int `json:"dvr_seconds,omitempty"`
	// Keep publishes the whole stream as a video when it has ended.
	Keep bool `json:"keep,omitempty"`
	// Listen has pibootd wait for an encoder that sends the stream, and has its key. There is
	// no Request.Source then.
	Listen bool `json:"listen,omitempty"`
}

// Limits of a live stream.
const (
	minPartSeconds       = 0.5
	maxPartSeconds       = 4
	defaultWindowSeconds = 30
	maxWindowSeconds     = 12 * 60 * 60
	// liveSegmentSeconds is about how long the segments of a live stream are.
	liveSegmentSeconds = 4
	// sessionSeconds is how long a live stream lasts without a new connection: 90 kHz time
	// stamps wrap after 26.5 hours.
	sessionSeconds = 24 * 60 * 60
)

// Window returns how many seconds of a live stream its playlists list.
func (l Live) Window() float64 { return float64(cmp.Or(l.DVRSeconds, defaultWindowSeconds)) }

func (l Live) partSeconds() float64 { return cmp.Or(l.PartSeconds, 1) }

func (r Request) checkLive() error {
	l := r.Live
	switch {
	case l == nil:
		return nil
	case l.PartSeconds != 0 && !(l.PartSeconds >= minPartSeconds && l.PartSeconds <= maxPartSeconds):
		return wrong("part_seconds", "parts of %v s; want %v to %v, or 0 for 1", l.PartSeconds, minPartSeconds, maxPartSeconds)
	case l.DVRSeconds != 0 && (l.DVRSeconds < defaultWindowSeconds || l.DVRSeconds > maxWindowSeconds):
		return wrong("dvr_seconds", "a window of %d s; want %d to %d, or 0 for %d", l.DVRSeconds, defaultWindowSeconds, maxWindowSeconds, defaultWindowSeconds)
	case r.IsFile() || r.Encrypted || r.Progressive || r.TwoPass || r.Quality != 0 || len(r.Options) > 0 || len(r.InputOptions) > 0 || r.BurnSubtitles != "" || len(r.MoreCodecs) > 0:
		return wrong("live", "a live stream as a file, encrypted, progressive, in two passes, with a quality, burnt subtitles, several codecs or ffmpeg's options; want an HLS stream without")
	}
	return nil
}

// IngestUnitID is the unit of a live stream that receives its source.
const IngestUnitID = "ingest"

// A LivePart says what a unit of a live stream is of: the place of its part in the
// playlists.
type LivePart struct {
	Rendition string `json:"rendition"` // name of the video or audio rendition
	Session   int    `json:"session"`   // of the stream, from 0: connections that something came from
	Segment   int    `json:"segment"`   // media sequence number
	Index     int    `json:"index"`     // of the part in its segment
	Number    int    `json:"number"`    // of the part in its session
	Time      int64  `json:"time"`      // when its first frame was received: Unix, milliseconds
	// Received is how much has been received until its end, over all sessions, in seconds.
	Received float64 `json:"received"`
}

// A LivePiece is the header of a message about what is received of a live source. Its
// body, behind a line feed, is a fragment of an MP4. Piece 0 of a connection comes before
// it is made, and piece 1 has the probe; neither has a body.
type LivePiece struct {
	Job        int64  `json:"job"`
	Attempt    int    `json:"attempt"`
	Connection int    `json:"connection"` // of the attempt, from 1
	Number     int    `json:"number"`     // of the piece in its connection, from 0
	Probe      *Probe `json:"probe,omitempty"`
	// SinceMS is, with the probe, how long ago the first byte was received, in milliseconds.
	SinceMS int64 `json:"since_ms,omitempty"`
	Audio   bool  `json:"audio,omitempty"` // of the sound, encoded; else of the video, copied
	Init    bool  `json:"init,omitempty"`  // the body is the initialization section
	End     bool  `json:"end,omitempty"`   // nothing follows from this connection
}

// A LiveReply answers a LivePiece.
type LiveReply struct {
	Gone  string `json:"gone,omitempty"`  // why the attempt does not count; "": it does
	Again string `json:"again,omitempty"` // why the worker has to connect again; "": not
	// Skip is how much of a source that is a file has been received, in seconds.
	Skip float64 `json:"skip,omitempty"`
}

// MaxLivePiece is the largest body of a LivePiece, in bytes.
const MaxLivePiece = 3 << 20

// A LivePlan is what all parts of a live stream have in common.
type LivePlan struct {
	Plan         Plan   `json:"plan"`      // units are templates: one of each rendition
	Frames       int    `json:"frames"`    // of the grid in each part
	SegmentParts int    `json:"seg_parts"` // in each segment, the last of a session excepted
	Audio        string `json:"audio"`     // name of the rendition of audio; "": there is none
}

// PlanLive plans the parts of a live stream by what its first seconds have shown. Its
// errors are meant for the user.
func PlanLive(r Request, p Probe) (LivePlan, error) {
	if p.Video == nil {
		return LivePlan{}, fmt.Errorf("planning %q: it has no video; want a live source with video", r.Name)
	}
	part := r.Live.partSeconds()
	r.SegmentSeconds, r.Container, r.NoPictures, r.Sidecars = part, ContainerCMAF, true, nil
	p = liveProbe(p)
	plan, err := NewPlan(r, p, 0)
	if err != nil {
		return LivePlan{}, err
	}
	l := LivePlan{Plan: plan, Frames: plan.Grid.SegmentFrames}
	l.SegmentParts = max(int(math.Round(liveSegmentSeconds/plan.Grid.Seconds(l.Frames))), 1)
	units := plan.Units
	l.Plan.Units, l.Plan.Subtitles, l.Plan.MoreAudio, l.Plan.Chapters = nil, nil, nil, nil
	for _, rendition := range plan.Renditions {
		for _, u := range units {
			if u.Kind == KindVideo && u.Video.Rendition.Name == rendition.Name {
				l.Plan.Units = append(l.Plan.Units, u)
				break
			}
		}
	}
	if plan.Audio != nil {
		audio := liveAudio(r)
		l.Plan.Audio, l.Audio = &audio, audio.Dir()
	}
	if len(l.Plan.Units) != len(plan.Renditions) {
		return LivePlan{}, errors.New("a rendition has no unit of its own")
	}
	return l, nil
}

// liveProbe is of a source as its parts are read: fragments from the key frame before.
func liveProbe(p Probe) Probe {
	video := *p.Video
	video.Map, video.DelaySeconds, video.Still, video.Pauses, video.EndSeconds = "", 0, nil, nil, 4
	video.MaxGapSeconds = min(video.MaxGapSeconds, 1)
	p.Video, p.Seconds, p.Start = &video, 4, 0
	p.Spans, p.Entries, p.Parts, p.Untimed, p.Subtitles, p.MoreAudio = nil, nil, nil, false, nil, nil
	if p.Audio != nil {
		audio := *p.Audio
		audio.EndSeconds, audio.Still, audio.Pauses = 4, nil, nil
		p.Audio = &audio
	}
	return p
}

// Following returns the plan of a later session of a stream that began as first: what
// players know of the renditions stays.
func (l LivePlan) Following(first LivePlan) LivePlan {
	template := l.Plan.Units[0]
	l.Plan.Units = nil
	for _, u := range first.Plan.Units {
		video := *template.Video
		video.Rendition, video.Encoder = u.Video.Rendition, u.Video.Encoder
		u.Video = &video
		l.Plan.Units = append(l.Plan.Units, u)
	}
	l.Plan.Renditions, l.Plan.Audio, l.Audio, l.SegmentParts = first.Plan.Renditions, first.Plan.Audio, first.Audio, first.SegmentParts
	return l
}

// PartSeconds returns the duration of each part but the last of a session.
func (l LivePlan) PartSeconds() float64 { return l.Plan.Grid.Seconds(l.Frames) }

// VideoUnits returns the units that make all renditions of a part of the frames
// [Number*Frames, end), from a file with the fragments that have them.
func (l LivePlan) VideoUnits(p LivePart, end int, source string) []Unit {
	var units []Unit
	for _, template := range l.Plan.Units {
		u, video := template, *template.Video
		part := p
		part.Rendition = video.Rendition.Name
		video.Grid.Frames = end
		video.FirstFrame, video.EndFrame = p.Number*l.Frames, end
		video.SourceStart, video.SeekSeconds = LiveStartSeconds, 0
		u.ID, u.Source, u.Video, u.Live = part.UnitID(), source, &video, &part
		units = append(units, u)
	}
	return units
}

// UnitID names the unit of a part.
func (p LivePart) UnitID() string { return fmt.Sprintf("%s-%d-%06d", p.Rendition, p.Session, p.Number) }

// LiveDir is the directory of a job's directory with the fragments that its units read.
func LiveDir(job int64) string { return path.Join(JobDir(job), LiveName) }

// LiveName is the name of LiveDir.
const LiveName = "live"

// LiveStartSeconds is the time stamp in fragments of what is received first.
const LiveStartSeconds = float64(StartPTS) / mediafile.TicksPerSecond

// An IngestUnit receives the source of a live stream.
type IngestUnit struct {
	Audio   *AudioRendition `json:"audio,omitempty"` // as all sound is encoded
	Seconds int             `json:"seconds"`         // after which it connects again
	File    bool            `json:"file,omitempty"`  // Unit.Source is a file, which ends
	// URL is of a source that is no file; it may have a password. Without, and without File
	// and Listen, Unit.Source is a named pipe. All three are reached by TunnelRequests.
	URL     string `json:"url,omitempty"`
	Listen  bool   `json:"listen,omitempty"`  // an encoder sends the source to the daemon
	Address string `json:"address,omitempty"` // of the URL, with its port, when the stream was added
}

// AwaitedSound is of a source whose sound may come later.
func AwaitedSound() *AudioStream {
	return &AudioStream{Codec: "aac", Channels: 2, SampleRate: AudioSampleRate}
}

// liveAudio is how all sound of a live stream is encoded.
func liveAudio(r Request) AudioRendition {
	return AudioRendition{BitrateBPS: cmp.Or(r.AudioBPS, 128_000), Channels: 2}
}

// NewIngestUnit returns the unit that receives the source of a live stream.
func NewIngestUnit(r Request) Unit {
	audio := liveAudio(r)
	return Unit{ID: IngestUnitID, Kind: KindIngest, Source: r.Source, Ingest: &IngestUnit{Audio: &audio, Seconds: sessionSeconds}}
}

// LiveAudioSlack is by how much a part of sound may be longer than one of video, in
// seconds: it ends with a whole fragment.
const LiveAudioSlack = 0.07
