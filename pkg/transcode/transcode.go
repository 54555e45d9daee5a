// Package transcode knows how one video becomes a ladder of renditions on many
// boards: what a probe reports, which renditions follow from it, how the work is
// cut into units on one frame grid, what a unit's result must prove, and the
// messages between queue and workers. It is pure: it does no I/O. Below it,
// mediafile reads segments, hls writes playlists, broker carries the messages,
// queue hands units out and worker does them.
package transcode

import (
	"slices"
	"time"
)

// A Request is what a user asked for.
type Request struct {
	Source         string  `json:"source"`                    // path in the media share: relative, slash-separated
	Name           string  `json:"name"`                      // the published directory's name
	SegmentSeconds float64 `json:"segment_seconds,omitempty"` // 0 means 4
	MuxID          int     `json:"mux_id,omitempty"`          // the worker that must do it; 0 means any
	// Labels are those that a worker must have, all of them, to do any of it.
	Labels []string `json:"labels,omitempty"`
	// Sidecars are the files with subtitles beside the source, as Sidecars finds them.
	// The queue sets them.
	Sidecars []string `json:"sidecars,omitempty"`
	Live     *Live    `json:"live,omitempty"` // nil: it is no live stream
	Output
}

// For reports whether a worker with this muxer id and these labels may do what
// r asks for.
func (r Request) For(muxID int, labels []string) bool {
	missing := func(label string) bool { return !slices.Contains(labels, label) }
	return (r.MuxID == 0 || r.MuxID == muxID) && !slices.ContainsFunc(r.Labels, missing)
}

// A Rational is a positive fraction, such as the frame rate 30000/1001.
type Rational struct {
	Num int `json:"num"`
	Den int `json:"den"`
}

// A Probe is what ffprobe reports about a source.
type Probe struct {
	Format      string       `json:"format"`           // ffprobe's format_name
	Seconds     float64      `json:"seconds"`          // container duration
	Start       float64      `json:"start"`            // container start time, seconds; the zero of the grid
	SizeBytes   int64        `json:"size_bytes"`       //
	BitrateBPS  int          `json:"bitrate_bps"`      // of the whole container; 0 if unknown
	Video       *VideoStream `json:"video,omitempty"`  // nil if there is none
	Audio       *AudioStream `json:"audio,omitempty"`  // the default one; nil if there is none
	FFmpeg      string       `json:"ffmpeg,omitempty"` // version that probed
	HWDecodable bool         `json:"hw_decodable,omitempty"`
	// MoreAudio are the other audio streams, in the source's order.
	MoreAudio []AudioStream     `json:"more_audio,omitempty"`
	Subtitles []SubtitleStream  `json:"subtitles,omitempty"`
	Chapters  []Chapter         `json:"chapters,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"` // of the whole source, such as title; lower-case names
	// Cover is the place of a picture that belongs to the source among all its streams;
	// 0: there is none, or it is unknown.
	Cover int `json:"cover,omitempty"`
	// Unread are streams that no output can carry, in words, such as "2 streams of data".
	Unread []string `json:"unread,omitempty"`
	// OtherVideos are the video streams besides the film, in words.
	OtherVideos []string `json:"other_videos,omitempty"`
	// UnreadBytes is how much of the source follows on all that ffmpeg has read.
	UnreadBytes int64 `json:"unread_bytes,omitempty"`
	// MoreFilms is how many MP4 files were appended to the source, which nothing reads, of
	// MoreSeconds together.
	MoreFilms   int     `json:"more_films,omitempty"`
	MoreSeconds float64 `json:"more_seconds,omitempty"`
	// Spans are the parts of a source whose time stamps do not follow on each other,
	// such as files that were appended to one another; empty if there is one.
	Spans []Span `json:"spans,omitempty"`
	// Entries are the key frames at which reading can begin where Spans are not empty;
	// empty if only the beginning can.
	Entries []Entry `json:"entries,omitempty"`
	// Parts are those of a source whose video changes its codec or its stream; empty if it
	// does not.
	Parts []SourcePart `json:"parts,omitempty"`
	// Damaged says that ffprobe complained of packets: the container may take some for key
	// frames that are none.
	Damaged bool `json:"damaged,omitempty"`
	Untimed bool `json:"untimed,omitempty"` // the video has no time stamps: ffmpeg counts from 0 wherever it begins
	// Unsure is why the beginning of the source, of which this is a probe, may tell too little
	// of the rest; "" if it does not, or this is of all of it.
	Unsure     string  `json:"unsure,omitempty"`
	CutSeconds float64 `json:"-"` // what Input leaves out before Start; of the plan alone
	Windowed   bool    `json:"-"` // Input leaves something out; of the plan alone
}

// A Color says what the numbers of a picture mean, by ffmpeg's names; "" is unknown.
type Color struct {
	Range     string `json:"range,omitempty"`     // tv or pc
	Matrix    string `json:"matrix,omitempty"`    // e.g. bt709 or bt2020nc
	Transfer  string `json:"transfer,omitempty"`  // e.g. bt709, smpte2084 (PQ) or arib-std-b67 (HLG)
	Primaries string `json:"primaries,omitempty"` // e.g. bt709 or bt2020
	// Mastering is the display that the film was graded on, as x265 has it:
	// G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min).
	Mastering string `json:"mastering,omitempty"`
	Light     string `json:"light,omitempty"`        // the brightest pixel and picture in cd/m², e.g. 1000,400
	Dolby     int    `json:"dolby_vision,omitempty"` // profile; 0: none
	// DolbyAlone says that its base layer is not meant to be shown without Dolby Vision.
	DolbyAlone bool `json:"dolby_alone,omitempty"`
}

// A Span is a part of a source with time stamps of its own: what has the time stamp
// First is shown At seconds after the grid's start.
type Span struct {
	First float64 `json:"first"` // seconds
	At    float64 `json:"at"`    // seconds
	// Bytes is where it begins in a file that others were appended to; 0 at the beginning of
	// the file, and where spans of several streams overlap.
	Bytes int64 `json:"bytes,omitempty"`
}

// An Entry is where to begin to read for a key frame of the video.
type Entry struct {
	Seconds float64 `json:"seconds"` // of the key frame, after the grid's start
	Bytes   int64   `json:"bytes"`   // before the packet to begin with, in the source
	Span    int     `json:"span"`    // of this packet: number in Probe.Spans
	Stamp   float64 `json:"stamp"`   // of this packet: time stamp in seconds
}

// A VideoStream is the video stream of a source that people watch.
type VideoStream struct {
	Map           string   `json:"map,omitempty"`   // ffmpeg's specifier of the stream, e.g. 0:1; "" means 0:V:0
	Index         int      `json:"index,omitempty"` // place among all streams, from 1; 0: unknown
	Codec         string   `json:"codec"`
	Width         int      `json:"width"`  // as shown: after rotation
	Height        int      `json:"height"` // as shown: after rotation
	Rate          Rational `json:"rate"`   // nominal frames per second, while the picture moves
	PixelFormat   string   `json:"pixel_format"`
	Color         *Color   `json:"color,omitempty"` // nil: unknown
	Alpha         bool     `json:"alpha,omitempty"` // its transparency is beside its pictures, as in WebM
	Interlaced    bool     `json:"interlaced,omitempty"`
	Fields        Fields   `json:"fields,omitempty"`          // how its frames are made of fields, if it is interlaced
	CodedWidth    int      `json:"coded_width,omitempty"`     // of a picture that is not rotated
	CodedHeight   int      `json:"coded_height,omitempty"`    // of a picture that is not rotated
	BitrateBPS    int      `json:"bitrate_bps,omitempty"`     // 0 if unknown
	Frames        int      `json:"frames,omitempty"`          // packets counted; 0 if not counted
	MaxGapSeconds float64  `json:"max_gap_seconds,omitempty"` // longest time between two frames
	MaxGOPSeconds float64  `json:"max_gop_seconds,omitempty"` // longest time between two key frames
	EndSeconds    float64  `json:"end_seconds,omitempty"`     // end of the last frame, relative to Probe.Start
	Pauses        []Held   `json:"pauses,omitempty"`          // longer than a second; nil if not examined
	Still         []Held   `json:"still,omitempty"`           // where an edit list shows nothing new, and ffmpeg something wrong
	// DelaySeconds is how much later than its packets say the decoder shows a frame.
	DelaySeconds float64 `json:"delay_seconds,omitempty"`
	// Slow is by how much Input makes it slower; 0: not. Of the plan alone.
	Slow float64 `json:"-"`
	// Captions are the channels and services of its closed captions, by Caption.InstreamID.
	Captions []string `json:"captions,omitempty"`
	Sizes    *Sizes   `json:"sizes,omitempty"` // nil if not examined
}

// A TrackInfo is what a source says of an audio or subtitle stream, for whoever
// chooses one.
type TrackInfo struct {
	Stream   int    `json:"stream,omitempty"`   // place among the source's streams of its kind, from 0
	Index    int    `json:"index,omitempty"`    // place among all its streams, from 1; 0: unknown
	Language string `json:"language,omitempty"` // BCP 47, e.g. de; "" if unknown
	Title    string `json:"title,omitempty"`
	Default  bool   `json:"default,omitempty"`
	Forced   bool   `json:"forced,omitempty"` // subtitles of what is foreign in the film itself
	// Commentary says that it is about the film and not of it.
	Commentary      bool `json:"commentary,omitempty"`
	HearingImpaired bool `json:"hearing_impaired,omitempty"` // for those who do not hear well
	VisualImpaired  bool `json:"visual_impaired,omitempty"`  // describes what can be seen
}

// An AudioStream is an audio stream of a source.
type AudioStream struct {
	TrackInfo
	Codec      string  `json:"codec"`
	Channels   int     `json:"channels"`
	SampleRate int     `json:"sample_rate"`
	BitrateBPS int     `json:"bitrate_bps,omitempty"` // 0 if unknown
	EndSeconds float64 `json:"end_seconds,omitempty"` // relative to Probe.Start; 0 if unknown
	Pauses     []Held  `json:"pauses,omitempty"`      // longer than a second
	Still      []Held  `json:"still,omitempty"`       // where an edit list plays nothing, and ffmpeg something wrong
}

// A SubtitleStream is a subtitle stream of a source.
type SubtitleStream struct {
	TrackInfo
	Codec string `json:"codec"`           // ffmpeg's name, e.g. subrip
	File  string `json:"file,omitempty"`  // its path in the media share, if it is a file beside the source
	Cues  int    `json:"cues,omitempty"`  // packets counted
	Image bool   `json:"image,omitempty"` // pictures of text
	// Map is ffmpeg's specifier of the stream, of pictures.
	Map    string `json:"map,omitempty"`
	Width  int    `json:"width,omitempty"`  // of the picture that pictures of text are for; 0: unknown
	Height int    `json:"height,omitempty"` // of the picture that pictures of text are for; 0: unknown
	// Long are the pictures that are shown for more than PictureSeconds.
	Long []Interval `json:"long,omitempty"`
	// PrerollSeconds is the longest that others are shown; 0: PictureSeconds.
	PrerollSeconds float64 `json:"preroll_seconds,omitempty"`
}

// A Chapter is a named part of a source.
type Chapter struct {
	StartSeconds float64 `json:"start_seconds"` // relative to Probe.Start
	EndSeconds   float64 `json:"end_seconds"`
	Title        string  `json:"title,omitempty"`
}

// A Rendition is one video encoding of the ladder.
type Rendition struct {
	Name       string `json:"name"` // unique in its plan, safe as a directory name, e.g. 180p
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	BitrateBPS int    `json:"bitrate_bps"` // average asked of the encoder
	MaxrateBPS int    `json:"maxrate_bps"`
	BufferBits int    `json:"buffer_bits"`
	TenBit     bool   `json:"ten_bit,omitempty"` // 10 bits for each sample, not 8
	// VideoRange is PQ or HLG of an HDR rendition (VIDEO-RANGE of RFC 8216bis); ""
	// is SDR.
	VideoRange string `json:"video_range,omitempty"`
	// PictureWidth and PictureHeight are the size of the picture within, the rest of
	// which is black; 0 means that it has no bars.
	PictureWidth  int  `json:"picture_width,omitempty"`
	PictureHeight int  `json:"picture_height,omitempty"`
	Constant      bool `json:"constant,omitempty"` // MaxrateBPS is also the least
	CRF           int  `json:"crf,omitempty"`      // a quality, up to MaxrateBPS; 0: BitrateBPS
	// ExactCRF is CRF with its fraction, where trials have found it; 0: CRF is exact.
	ExactCRF float64 `json:"exact_crf,omitempty"`
	// BudgetBPS is what a unit has of BitrateBPS, which is of the whole film; 0: the same.
	BudgetBPS int `json:"budget_bps,omitempty"`
	// BudgetCRF is about the quality that the film has with its budgets; 0: unknown.
	BudgetCRF int   `json:"budget_crf,omitempty"`
	TwoPass   bool  `json:"two_pass,omitempty"` // each unit is encoded twice, with what its survey leaves to it
	Codec     Codec `json:"codec,omitempty"`    // "" is the first one of the output
}

// An AudioRendition is one audio encoding of a plan.
type AudioRendition struct {
	TrackInfo
	Name       string  `json:"name,omitempty"` // unique in its plan, safe as a directory name; "" means AudioName
	BitrateBPS int     `json:"bitrate_bps"`
	Channels   int     `json:"channels"`
	Seconds    float64 `json:"seconds"`               // expected length
	Encoder    string  `json:"encoder,omitempty"`     // ffmpeg's name; "" means aac
	SampleRate int     `json:"sample_rate,omitempty"` // 0 means AudioSampleRate
}

// Fields says how frames are made of the fields of an interlaced source.
type Fields string

// The ways to make frames.
const (
	FieldsFrame   Fields = ""        // one of each two fields
	FieldsFlagged Fields = "flagged" // the same, but frames that are not marked as interlaced stay as they are
	FieldsEach    Fields = "each"    // one of each field, which doubles the rate
	FieldsFilm    Fields = "film"    // those of the film that was brought to 29.97 frames per second
)

// A Grid is the one sequence of frames that every unit of a job cuts from:
// frame k is shown at k/Rate seconds after the source's start.
type Grid struct {
	Rate          Rational `json:"rate"`           // frames per second
	SegmentFrames int      `json:"segment_frames"` // frames per segment, the last excepted
	Frames        int      `json:"frames"`
}

// A Plan is a job cut into units.
type Plan struct {
	Output     Output          `json:"output"`
	Grid       Grid            `json:"grid"`
	Renditions []Rendition     `json:"renditions"`      // highest first
	Audio      *AudioRendition `json:"audio,omitempty"` // the default one; nil: there is none
	// MoreAudio are the other renditions of audio.
	MoreAudio []AudioRendition `json:"more_audio,omitempty"`
	Subtitles []TextRendition  `json:"subtitles,omitempty"`
	// Captions are those in the video; CaptionsKnown says that there are no others.
	Captions      []Caption `json:"captions,omitempty"`
	CaptionsKnown bool      `json:"captions_known,omitempty"`
	// Chapters and Tags are the source's.
	Chapters []Chapter         `json:"chapters,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	Note     string            `json:"note,omitempty"` // what the user should know of it: sentences, a line each
	Units    []Unit            `json:"units"`
	// Head is the number of segments that were planned before all of the source was known;
	// Provisional says that the others are not planned yet.
	Head        int  `json:"head,omitempty"`
	Provisional bool `json:"provisional,omitempty"`
}

// A Kind says what a unit is.
type Kind string

// The kinds of units.
const (
	KindProbe  Kind = "probe"
	KindSurvey Kind = "survey" // makes the first of two passes, for the bitrates of all units
	KindTrial  Kind = "trial"  // tries on a piece of the source what renditions need
	KindVideo  Kind = "video"
	KindAudio  Kind = "audio"
	KindText   Kind = "text"   // converts subtitles
	KindLift   Kind = "lift"   // takes subtitles out of the source that are burnt in
	KindCover  Kind = "cover"  // makes a poster of a picture that belongs to the source
	KindJoin   Kind = "join"   // makes a file of what the others have made
	KindWhole  Kind = "whole"  // makes a file of the source in one go
	KindIngest Kind = "ingest" // receives the source of a live stream
)

// A Unit is the piece of a job that one worker does in one go. Exactly the
// field that belongs to its Kind is set; a probe has none, a survey and a trial that of a video.
type Unit struct {
	ID     string      `json:"id"` // unique in its job; letters, digits and dashes, so safe in a subject and a path
	Kind   Kind        `json:"kind"`
	Source string      `json:"source"` // path in the media share
	Video  *VideoUnit  `json:"video,omitempty"`
	Audio  *AudioUnit  `json:"audio,omitempty"`
	Text   *TextUnit   `json:"text,omitempty"`
	Lift   *LiftUnit   `json:"lift,omitempty"`
	Cover  *CoverUnit  `json:"cover,omitempty"`
	Join   *JoinUnit   `json:"join,omitempty"`
	Whole  *WholeUnit  `json:"whole,omitempty"`
	Ingest *IngestUnit `json:"ingest,omitempty"`
	Live   *LivePart   `json:"live,omitempty"` // of a part of a live stream
	// MorePieces of a trial are tried together with that of Video, with the same renditions.
	MorePieces []VideoUnit `json:"more_pieces,omitempty"`
	// FullPieces of a trial is how many pieces, from the first on, are tried with Others, too;
	// 0: all.
	FullPieces int `json:"full_pieces,omitempty"`
	// Surveyed says that a unit of video waits for all surveys, from which its bitrates
	// follow.
	Surveyed bool `json:"surveyed,omitempty"`
	// HeadSeconds has a probe report first what so much of the source's beginning shows.
	HeadSeconds float64 `json:"head_seconds,omitempty"`
}

// A VideoUnit encodes the frames [FirstFrame, EndFrame) of the grid into
// segments that are numbered from FirstFrame/Grid.SegmentFrames.
type VideoUnit struct {
	Rendition Rendition `json:"rendition"`
	// Others are made of the same decoded frames, each into a directory of its
	// name within the attempt's. Few units have any.
	Others       []Rendition `json:"others,omitempty"`
	Grid         Grid        `json:"grid"`
	FirstFrame   int         `json:"first_frame"` // a multiple of Grid.SegmentFrames
	EndFrame     int         `json:"end_frame"`
	SourceStart  float64     `json:"source_start"`         // Probe.Start
	SeekSeconds  float64     `json:"seek_seconds"`         // where reading begins, relative to SourceStart; 0: at the beginning
	SkipBytes    int64       `json:"skip_bytes,omitempty"` // in place of SeekSeconds, of a source with Spans
	Spans        []Span      `json:"spans,omitempty"`      // in place of SourceStart: those from SkipBytes on
	Parts        []UnitPart  `json:"parts,omitempty"`      // in place of SkipBytes, Spans, Map and Fields, of a source with Parts
	Still        []Held      `json:"still,omitempty"`      // where frames are left out, and the one before is shown on
	Untimed      bool        `json:"untimed,omitempty"`    // Probe.Untimed
	Slow         float64     `json:"slow,omitempty"`       // by how much its time stamps are stretched; 0: not
	SourceCodec  string      `json:"source_codec"`
	Map          string      `json:"map,omitempty"`          // VideoStream.Map
	Deinterlaced bool        `json:"deinterlaced,omitempty"` // bwdif before the grid
	Fields       Fields      `json:"fields,omitempty"`       // how, if it is deinterlaced
	// Aspect is the width of the source's picture by its height, as shown; 0, of units
	// of earlier versions, takes all pictures to be of that shape.
	Aspect        float64   `json:"aspect,omitempty"`
	SourceWidth   int       `json:"source_width,omitempty"`    // as coded; 0 if it is rotated
	SourceHeight  int       `json:"source_height,omitempty"`   // as coded
	MaxGapSeconds float64   `json:"max_gap_seconds,omitempty"` // between frames that no pause is between
	Color         *Color    `json:"color,omitempty"`           // of the source
	FullRange     bool      `json:"full_range,omitempty"`      // the source's numbers have their whole range, and keep it
	RGB           bool      `json:"rgb,omitempty"`             // the source is RGB, which becomes BT.709
	ToneMap       bool      `json:"tone_map,omitempty"`        // HDR becomes BT.709
	Container     Container `json:"container,omitempty"`       // "" means ts
	Encoder       string    `json:"encoder,omitempty"`         // ffmpeg's name; "" means libx264
	Pictures      *Pictures `json:"pictures,omitempty"`        // nil: none
	// Captions says that closed captions are passed on, and NoCaptions that they are not;
	// units of earlier versions leave it to the encoder.
	Captions   bool  `json:"captions,omitempty"`
	NoCaptions bool  `json:"no_captions,omitempty"`
	Burn       *Burn `json:"burn,omitempty"` // subtitles in the picture; nil: none
	// Custom says that only Options set the encoder's quality, and that only
	// Filter changes the source's size.
	Custom bool `json:"custom,omitempty"`
	// Free says that frames keep their own times: they are copied, or Filter moves them.
	Free bool `json:"free,omitempty"`
	// CutSeconds is what is left out before SourceStart, of a video that is copied.
	CutSeconds float64  `json:"cut_seconds,omitempty"`
	Pass       int      `json:"-"` // 1 or 2 of two passes, 0 for one pass; the worker sets it
	Filter     string   `json:"filter,omitempty"`
	Options    []string `json:"options,omitempty"`
}

// An AudioUnit encodes one audio stream of the source, or a part of it.
type AudioUnit struct {
	Rendition      AudioRendition `json:"rendition"`
	SourceStart    float64        `json:"source_start"`          // Probe.Start
	CutSeconds     float64        `json:"cut_seconds,omitempty"` // what is left out before SourceStart
	Spans          []Span         `json:"spans,omitempty"`       // in place of SourceStart
	Parts          []UnitPart     `json:"parts,omitempty"`       // in place of Spans
	Still          []Held         `json:"still,omitempty"`       // what is made silent
	SegmentSeconds float64        `json:"segment_seconds"`       // SegmentFrames of the grid, in seconds
	Container      Container      `json:"container,omitempty"`
	First          int            `json:"first,omitempty"`   // number of its first segment
	End            int            `json:"end,omitempty"`     // number of the segment behind its last; 0: that is the last one
	Filter         string         `json:"filter,omitempty"`  // ffmpeg's
	Options        []string       `json:"options,omitempty"` // ffmpeg's, besides the usual
}

// A JoinUnit strings CMAF segments into one file, without encoding again.
type JoinUnit struct {
	Format  Format   `json:"format"`
	Free    bool     `json:"free,omitempty"` // VideoUnit.Free: its frames are not those of the grid
	Grid    Grid     `json:"grid"`
	Video   []Part   `json:"video"`
	Audio   []Part   `json:"audio,omitempty"`         // of the default audio
	Seconds float64  `json:"audio_seconds,omitempty"` // of the default audio; 0: there is none
	Options []string `json:"options,omitempty"`       // ffmpeg's, for the file
	// Info is of the default audio, and MoreAudio are the other ones.
	Info      TrackInfo   `json:"audio_info,omitzero"`
	MoreAudio []JoinAudio `json:"more_audio,omitempty"`
	Subtitles []JoinText  `json:"subtitles,omitempty"`
	// Chapters and Tags are those of the file.
	Chapters []Chapter         `json:"chapters,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// A JoinAudio is an audio track of a file that is joined.
type JoinAudio struct {
	Info    TrackInfo `json:"info"`
	Parts   []Part    `json:"parts"`
	Seconds float64   `json:"seconds"`
}

// A Part is a directory of the media share with an initialization section and
// the segments [First, End).
type Part struct {
	Dir       string    `json:"dir"`
	First     int       `json:"first"`
	End       int       `json:"end"`
	Container Container `json:"container,omitempty"` // "" means cmaf; nut has no initialization section
}

// A WholeUnit encodes a source in one go. Only plans of earlier versions have one.
type WholeUnit struct {
	Format  Format   `json:"format"`
	Options []string `json:"options"`
	Input   []string `json:"input,omitempty"` // options before the source
	TwoPass bool     `json:"two_pass,omitempty"`
	Map     string   `json:"map,omitempty"`     // VideoStream.Map
	Audio   []int    `json:"audio,omitempty"`   // places of the audio streams that are kept; nil: the first one, if any
	Frames  int      `json:"frames"`            // about how many there will be
	Seconds float64  `json:"seconds,omitempty"` // expected length; 0: whatever the options make
}

// InitName is the file name of a rendition's initialization section (RFC 8216
// §4.3.2.5), which its CMAF segments cannot be played without.
const InitName = "init.mp4"

// A Segment is one media file of a unit's result, as it was found on disk.
type Segment struct {
	Name      string  `json:"name"` // file name in the attempt's directory, e.g. 00003.ts or 00003.m4s
	SizeBytes int64   `json:"size_bytes"`
	SHA256    string  `json:"sha256"`              // hex
	Frames    int     `json:"frames"`              // video frames, or AAC frames
	FirstPTS  int64   `json:"first_pts"`           // lowest, 90 kHz
	LastPTS   int64   `json:"last_pts"`            // highest, 90 kHz
	Key       bool    `json:"key"`                 // its first video frame is a key frame
	KeyBytes  int64   `json:"key_bytes,omitempty"` // from its start to the end of its first video frame; 0: unknown
	Seconds   float64 `json:"seconds"`
}

// A Result is what a worker has to show for a unit.
type Result struct {
	Probe    *Probe    `json:"probe,omitempty"`    // of a probe unit
	Segments []Segment `json:"segments,omitempty"` // in order, of a video or audio unit
	Init     *Segment  `json:"init,omitempty"`     // of CMAF: name, size and hash of the initialization section
	File     *File     `json:"file,omitempty"`     // of a join or a whole unit
	Encoder  string    `json:"encoder,omitempty"`  // e.g. libx264
	// Codecs is the RFC 6381 name of what was encoded, e.g. avc1.4d400d.
	Codecs string `json:"codecs,omitempty"`
	// Pictures are what a video unit or a cover unit has made besides: a poster, or the
	// part of a storyboard.
	Pictures []Segment `json:"pictures,omitempty"`
	// Others are of VideoUnit.Others, in its order: segments, init and codecs.
	Others []Result `json:"others,omitempty"`
	Held   []Held   `json:"held,omitempty"`   // of a video or audio unit: where it decoded nothing
	Survey *Survey  `json:"survey,omitempty"` // of a survey
	Trial  *Trial   `json:"trial,omitempty"`  // of a trial
	// Unread is of a text unit: why its file of subtitles could not be read, so that
	// its segments have none; "" if it could.
	Unread string        `json:"unread,omitempty"`
	FPS    float64       `json:"fps,omitempty"`  // frames per second over the whole unit
	Took   time.Duration `json:"took,omitempty"` // nanoseconds
}

// Files returns every file of a result, except Others, as it was found on disk.
func (r Result) Files() []Segment {
	files := slices.Concat(r.Segments, r.Pictures)
	if r.Init != nil {
		files = append(files, *r.Init)
	}
	if r.File != nil {
		files = append(files, Segment{Name: r.File.Name, SizeBytes: r.File.SizeBytes, SHA256: r.File.SHA256})
	}
	return files
}

// A File is a finished file, as it was found on disk.
type File struct {
	Name      string `json:"name"` // in the attempt's directory, e.g. out.mp4
	SizeBytes int64  `json:"size_bytes"`
	SHA256    string `json:"sha256"` // hex
	Video     Track  `json:"video"`
	Audio     *Track `json:"audio,omitempty"` // the first one
	// MoreAudio are the other audio tracks.
	MoreAudio []Track `json:"more_audio,omitempty"`
	// Subtitles are the codecs of the subtitle tracks, by ffmpeg's names.
	Subtitles []string `json:"subtitles,omitempty"`
}

// A Track is one stream of a finished file.
type Track struct {
	Codec         string  `json:"codec"` // ffmpeg's name
	Frames        int     `json:"frames"`
	StartSeconds  float64 `json:"start_seconds"`
	EndSeconds    float64 `json:"end_seconds"`
	MaxGapSeconds float64 `json:"max_gap_seconds"` // longest time between two frames
	Language      string  `json:"language,omitempty"`
}

// Frames returns how many video frames u encodes.
func (u Unit) Frames() int {
	switch {
	case u.Video != nil:
		return (1 + len(u.MorePieces)) * (u.Video.EndFrame - u.Video.FirstFrame) // pieces have one length
	case u.Whole != nil:
		return u.Whole.Frames
	}
	return 0
}
