package transcode

import (
	"fmt"
	"strings"
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
const (
	StreamWork      = "PB_WORK"
	SubjectWork     = "pb.work"
	SubjectHello    = "pb.hello"
	SubjectClaim    = "pb.claim"
	SubjectProgress = "pb.progress"
	SubjectDone     = "pb.done"
	SubjectFailed   = "pb.failed"
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

// ScratchName returns the name of the directory, in its worker's scratch, that an
// attempt writes to.
func ScratchName(job int64, unit string, attempt int) string {
	return fmt.Sprintf("%d.%s.%d", job, unit, attempt)
}

// ScratchOf returns the scratch of a worker, relative to the media share: the
// one directory that this worker, and no other, writes to.
func ScratchOf(worker string) string { return ScratchDir + "/" + worker }

// AttemptDir returns the directory, relative to the media share, that the files
// of an accepted attempt are in. Only the daemon writes there.
func AttemptDir(job int64, unit string, attempt int) string {
	return fmt.Sprintf("%s/%s.%d", JobDir(job), unit, attempt)
}

// JobDir returns the directory, relative to the media share, that holds a
// job's accepted and unpublished files.
func JobDir(job int64) string { return fmt.Sprintf("%s/%d", WorkDir, job) }

// Directories of the media share that are the daemon's own.
const (
	WorkDir    = ".work"    // what was accepted and is not published yet; workers read it
	ScratchDir = ".scratch" // a directory for each worker, which no other may enter
	UploadDir  = ".uploads" // what comes by HTTP, until it is whole
)

// IsReserved reports whether a path in the media share is the daemon's own.
func IsReserved(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == WorkDir || first == ScratchDir || first == UploadDir
}

// MuxerUID is the user, and the group, of legacy muxers in the media share. Nobody else
// has it, so that a file of this user was made by a muxer.
const MuxerUID = 1899999999

// MuxerDir is the directory of the media share whose videos legacy muxers get. They see
// nothing else of the share.
const MuxerDir = "videos"

// LegacyMuxerPrefix begins the names under which legacy muxers stand in the queue.
// No worker can have such a name.
const LegacyMuxerPrefix = "muxer-"

// IsLegacyMuxer reports whether name is that of a legacy muxer, which does whole
// jobs, and not of a worker.
func IsLegacyMuxer(name string) bool { return strings.HasPrefix(name, LegacyMuxerPrefix) }

// Protocol is the version of the contract between a worker and pibootd: the messages
// below, and where an attempt's files go. It changes with everything that a worker of
// another build would do wrong; the queue gives such a worker no work.
//
//	0: a worker that sends none. It writes attempts to the media share.
//	2: attempts are written to the board's own scratch; the media share is read-only.
const Protocol = 2

// Hello says that a worker is up. It is repeated while it lives.
type Hello struct {
	Protocol int      `json:"protocol,omitzero"`
	Hostname string   `json:"hostname"`
	Version  string   `json:"version"`
	Arch     string   `json:"arch"` // GOARCH
	FFmpeg   string   `json:"ffmpeg"`
	CPUs     int      `json:"cpus"`
	Memory   int64    `json:"memory,omitzero"` // bytes; 0: unknown
	MuxID    int      `json:"mux_id"`
	HWDecode bool     `json:"hw_decode"` // muxhwdec=1 on the kernel command line
	Encoders []string `json:"encoders"`  // encoders that encoded a test picture
	Decoders []string `json:"decoders"`  // hardware decoders that were found usable
	Speeds   []Speed  `json:"speeds,omitempty"`
	// Locked says why the worker takes no more work for now; "" if it does.
	Locked string `json:"locked,omitempty"`
}

// A Speed is how fast a worker has proved to encode, as a moving average over
// the units it has done.
type Speed struct {
	Encoder string  `json:"encoder"` // ffmpeg's name, e.g. libx264
	Lines   int     `json:"lines"`   // height of the picture
	FPS     float64 `json:"fps"`
}

// HelloReply tells a worker how often to repeat its Hello.
type HelloReply struct {
	EverySeconds int `json:"every_seconds"`
	// Drain asks the worker to finish its unit and to claim no more, until a later
	// reply does not ask it.
	Drain bool `json:"drain,omitempty"`
	// Weight is the share of its time that the worker works; it rests after each unit
	// for the remaining share. 0 means 1, all of it.
	Weight float64 `json:"weight,omitzero"`
}

// Work is the body of a work message. With Job 0 it says only that there is work in
// the lane; the reply to the claim names the unit.
type Work struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
}

// Claim asks for a unit, with the contents of the work message.
type Claim struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
	// Session differs each time the worker starts. It distinguishes a repeated claim
	// from one after a restart.
	Session string `json:"session,omitempty"`
}

// ClaimReply grants an attempt, or says why not.
type ClaimReply struct {
	Refused string `json:"refused,omitempty"` // why not; "" grants
	Gone    bool   `json:"gone,omitempty"`    // the work of the message is done; if false, claim again later
	Job     int64  `json:"job,omitempty"`     // of the granted unit; 0: the one that was claimed
	Attempt int    `json:"attempt"`           // number of the granted attempt, from 1
	Unit    Unit   `json:"unit"`
}

// Progress extends a claim and reports how far it is. If the attempt no longer counts,
// the queue replies with a Verdict that is not accepted, and the worker stops at once.
type Progress struct {
	Job     int64   `json:"job"`
	Unit    string  `json:"unit"`
	Attempt int     `json:"attempt"`
	Frames  int     `json:"frames"`
	FPS     float64 `json:"fps"`
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
