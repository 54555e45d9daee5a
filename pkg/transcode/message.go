package transcode

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The messages between the queue and its workers. All are JSON.
// A worker's name is the last token of every subject it publishes on, and the
// server lets it publish on its own only, so a message needs no sender field.
//
//	work:     <StreamWork>, subjects pb.work.<lane>.<priority>.<number>
//	hello:    pb.hello.<worker>     Hello, request; answered by HelloReply
//	claim:    pb.claim.<worker>     Claim, request; answered by ClaimReply
//	progress: pb.progress.<worker>  Progress; may be answered by Verdict
//	done:     pb.done.<worker>      Done, request; answered by Verdict
//	failed:   pb.failed.<worker>    Failed, request; answered by Verdict
//	logs:     pb.logs.<worker>      Logs, request; answered by Verdict
//	live:     pb.live.<worker>      LivePiece, a line feed and its body, request; answered by LiveReply
const (
	StreamWork      = "PB_WORK"
	SubjectWork     = "pb.work"
	SubjectHello    = "pb.hello"
	SubjectClaim    = "pb.claim"
	SubjectProgress = "pb.progress"
	SubjectDone     = "pb.done"
	SubjectFailed   = "pb.failed"
	SubjectLogs     = "pb.logs"
	SubjectLive     = "pb.live"
)

// LaneAny is the lane of work that every worker may do. Work for one muxer id
// alone goes through MuxLane.
const LaneAny = "any"

// MuxLane returns the lane of the worker with this muxer id.
func MuxLane(id int) string { return fmt.Sprintf("m-%d", id) }

// PriorityNormal is the priority of all messages. The claim decides which job comes
// first, so that a change of priority needs no new messages.
const PriorityNormal = "no"

// WorkFilter returns the subjects of a lane at a priority.
func WorkFilter(lane, priority string) string {
	return fmt.Sprintf("%s.%s.%s.>", SubjectWork, lane, priority)
}

// WorkConsumer returns the name of the durable consumer of a lane at a priority.
func WorkConsumer(lane, priority string) string {
	return fmt.Sprintf("work_%s_%s", lane, priority)
}

// WorkSubject returns the subject of a lane's message with this number.
func WorkSubject(lane, priority string, number int64) string {
	return fmt.Sprintf("%s.%s.%s.%d", SubjectWork, lane, priority, number)
}

// ScratchName returns the name of the directory that an attempt writes to, in its
// worker's scratch.
func ScratchName(job int64, unit string, attempt int) string {
	return fmt.Sprintf("%d.%s.%d", job, unit, attempt)
}

// ScratchOf returns the scratch of a worker, relative to the media share. It is the
// one directory that this worker, and no other, can write.
func ScratchOf(worker string) string { return ScratchDir + "/" + worker }

// AttemptDir returns the directory for the files of an accepted attempt, relative
// to the media share. Only the daemon writes to it.
func AttemptDir(job int64, unit string, attempt int) string {
	return fmt.Sprintf("%s/%s.%d", JobDir(job), unit, attempt)
}

// JobDir returns the directory for a job's accepted and unpublished files, relative
// to the media share.
func JobDir(job int64) string { return fmt.Sprintf("%s/%d", WorkDir, job) }

// The daemon's own directories of the media share.
const (
	WorkDir    = ".work"    // accepted files that are not published yet; workers read them
	ScratchDir = ".scratch" // a directory for each worker, which no other can enter
	UploadDir  = ".uploads" // uploads by HTTP, until they are complete
)

// IsReserved reports whether a path in the media share is the daemon's own.
func IsReserved(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == WorkDir || first == ScratchDir || first == UploadDir
}

// MuxerUID is the user, and the group, of legacy muxers in the media share. No
// other user has it, so a file of this user was made by a muxer.
const MuxerUID = 1899999999

// MuxerDir is the directory of the media share with the videos for legacy muxers.
// They cannot see the rest of the share.
const MuxerDir = "videos"

// LegacyMuxerPrefix starts the names of legacy muxers in the queue. No worker can
// have such a name.
const LegacyMuxerPrefix = "muxer-"

// IsLegacyMuxer reports whether name is that of a legacy muxer, which does whole
// jobs, and not of a worker.
func IsLegacyMuxer(name string) bool { return strings.HasPrefix(name, LegacyMuxerPrefix) }

// Protocol is the version of the contract between a worker and pibootd: the
// messages below, and the location of an attempt's files. It is increased for every
// change that a worker of another build would handle wrongly. The queue gives no
// work to a worker of another version.
//
//	0: a worker that sends no version. It writes attempts to the media share.
//	2: attempts are written to the board's own scratch; the media share is read-only.
//	3: a unit names the streams that it reads and where in the source it begins to read,
//	   and a file has several audio streams.
//	4: subtitles are burnt in, and a unit may be a survey.
//	5: subtitles of files that were appended to one another are moved with their file, and
//	   a source whose codecs change is read by its parts.
//	6: a unit receives the source of a live stream, while its worker does others.
//	7: a unit tries what renditions need, and a rendition has a CRF with a fraction.
//	8: the parts of a source have pictures of text, which are burnt in, and a trial has
//	   pieces that are not tried with all renditions.
const Protocol = 8

// Hello reports that a worker is up. The worker repeats it while it runs.
type Hello struct {
	Protocol int      `json:"protocol,omitzero"`
	Hostname string   `json:"hostname"`
	Version  string   `json:"version"`
	Arch     string   `json:"arch"` // GOARCH
	FFmpeg   string   `json:"ffmpeg"`
	CPUs     int      `json:"cpus"`
	Memory   int64    `json:"memory,omitzero"` // bytes; 0: unknown
	MuxID    int      `json:"mux_id"`
	HWDecode bool     `json:"hw_decode"`       // muxhwdec=1 on the kernel command line
	Encoders []string `json:"encoders"`        // those that encoded a test picture
	Named    []string `json:"named,omitempty"` // other encoders that its ffmpeg has, of NamedEncoders
	Decoders []string `json:"decoders"`        // hardware decoders that work
	Speeds   []Speed  `json:"speeds,omitempty"`
	// Locked is the reason why the worker accepts no more work for now; "" if it
	// does.
	Locked string `json:"locked,omitempty"`
	// NoFFmpeg is the reason why the worker ends, because no ffmpeg works; "" if one does, or
	// was not tried yet.
	NoFFmpeg string `json:"no_ffmpeg,omitempty"`
	// Leaving is set in the last Hello of a worker that is stopped.
	Leaving bool    `json:"leaving,omitempty"`
	Machine Machine `json:"machine,omitzero"`
}

// A Machine is the condition of the machine that a worker runs on. Workers of earlier versions do
// not report it.
type Machine struct {
	Time time.Time `json:"time,omitzero"` // by its clock, when the Hello was sent
	// Throttled has the bits of a Raspberry Pi's firmware (GET_THROTTLED): 0 too little voltage,
	// 1 to 3 limits because of heat, and the same from 16 on for the time since its start.
	Throttled    uint32 `json:"throttled,omitzero"`
	RootReadOnly bool   `json:"root_read_only,omitempty"`
	RootSize     int64  `json:"root_size,omitzero"` // bytes; 0: unknown
	RootFree     int64  `json:"root_free,omitzero"` // bytes
	// Temperature is that of its hottest sensor, in °C; 0: unknown.
	Temperature float64 `json:"temperature,omitzero"`
	Load        float64 `json:"load,omitzero"` // average number of running tasks in the last minute
}

// Has reports whether the worker has said that it has an encoder.
func (h Hello) Has(encoder string) bool {
	return slices.Contains(h.Encoders, encoder) || slices.Contains(h.Named, encoder)
}

// A Speed is the encoding speed of a worker, as a moving average over the units
// that it has done.
type Speed struct {
	Encoder string  `json:"encoder"` // ffmpeg's name, e.g. libx264
	Lines   int     `json:"lines"`   // height of the picture
	FPS     float64 `json:"fps"`
}

// A HelloReply answers a Hello. It also has the interval at which to repeat it.
type HelloReply struct {
	EverySeconds int `json:"every_seconds"`
	// Drain asks the worker to finish its unit and then to claim no more, until a
	// later reply does not have it.
	Drain bool `json:"drain,omitempty"`
	// Weight is the share of its time that the worker works; it rests after each
	// unit for the remaining share. 0 means 1, the whole time.
	Weight float64 `json:"weight,omitzero"`
	// Logs asks a board for its log.
	Logs bool `json:"logs,omitempty"`
}

// Logs are lines of a board's log, in order.
type Logs struct {
	Lines []LogLine `json:"lines"`
}

// A LogLine is one line of a board's log.
type LogLine struct {
	AgeMS    int64  `json:"age_ms,omitzero"`  // since it was logged, in milliseconds
	Severity int    `json:"severity"`         // RFC 5424 §6.2.1
	Program  string `json:"program,omitzero"` // "kernel" for the kernel
	Text     string `json:"text"`
}

// Work is the body of a work message. If Job is 0, it only announces work in the
// lane; the reply to the claim names the unit.
type Work struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
}

// Claim requests a unit. It repeats the contents of the work message.
type Claim struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
	// Session differs each time the worker starts. It distinguishes a repeated claim
	// from one after a restart.
	Session string `json:"session,omitempty"`
}

// ClaimReply grants an attempt, or has the reason why not.
type ClaimReply struct {
	Refused string `json:"refused,omitempty"` // the reason; "" grants
	Gone    bool   `json:"gone,omitempty"`    // the work of the message is done; if false, claim again later
	Job     int64  `json:"job,omitempty"`     // of the granted unit; 0: the one that was claimed
	Attempt int    `json:"attempt"`           // number of the granted attempt, from 1
	Unit    Unit   `json:"unit"`
}

// Progress extends a claim and reports the attempt's progress. If the attempt no
// longer counts, the queue replies with a Verdict that is not accepted, and the
// worker stops at once.
type Progress struct {
	Job     int64   `json:"job"`
	Unit    string  `json:"unit"`
	Attempt int     `json:"attempt"`
	Frames  int     `json:"frames"`
	FPS     float64 `json:"fps"`
	// Head is what the beginning of the source shows, of a probe that was asked for it.
	Head *Probe `json:"head,omitempty"`
}

// Done reports a result.
type Done struct {
	Job     int64  `json:"job"`
	Unit    string `json:"unit"`
	Attempt int    `json:"attempt"`
	Result  Result `json:"result"`
}

// Failed releases a claim.
type Failed struct {
	Job     int64    `json:"job"`
	Unit    string   `json:"unit"`
	Attempt int      `json:"attempt"`
	Reason  string   `json:"reason"`
	Stderr  []string `json:"stderr,omitempty"` // ffmpeg's last 20 lines
	// Final says that the source is at fault, so that no other worker would succeed.
	Final bool `json:"final,omitempty"`
	// OtherBuild says that this worker's ffmpeg lacks something, so that only a worker
	// with another build of it could succeed.
	OtherBuild bool `json:"other_build,omitempty"`
	// Stopped says that the worker was shut down or drained. Such an attempt does not
	// count as a failure.
	Stopped bool `json:"stopped,omitempty"`
}

// Verdict answers Done, Failed and Progress. If it is not accepted, the attempt no
// longer counts, and the worker removes its files.
type Verdict struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
}
