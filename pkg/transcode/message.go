package transcode

import (
	"fmt"
	"strings"
)

// The conversation between the queue and its workers. All messages are JSON.
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

// PriorityNormal is the priority of all messages: which job comes first is
// decided by the claim, so that a change of mind needs no message moved.
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

// MuxerUID is the user, and the group, who legacy muxers are in the media share,
// and nobody else: what is this user's there, a muxer has made.
const MuxerUID = 1899999999

// MuxerDir is the directory of the media share whose videos legacy muxers are
// given. It is all that they see of the share.
const MuxerDir = "videos"

// LegacyMuxerPrefix begins the names under which legacy muxers stand in the queue.
// No worker can have such a name.
const LegacyMuxerPrefix = "muxer-"

// IsLegacyMuxer reports whether name is that of a legacy muxer, which does whole
// jobs, and not of a worker.
func IsLegacyMuxer(name string) bool { return strings.HasPrefix(name, LegacyMuxerPrefix) }

// Protocol is the number of what a worker and pibootd have agreed on: the messages
// below, and where an attempt's files go. It changes with whatever a worker of
// another build would do wrong; the queue gives such a worker no work.
//
//	0: a worker that names none. It writes attempts to the media share.
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
	Encoders []string `json:"encoders"`  // those that encoded a test picture
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
	// Drain asks the worker to finish what it does and to take no more, until
	// a later reply does not.
	Drain bool `json:"drain,omitempty"`
	// Weight is the share of its time that the worker is to work in: after each
	// unit it rests for the rest. 0 means 1, all of it.
	Weight float64 `json:"weight,omitzero"`
}

// Work is the body of a work message. Job 0 says only that there is work in the
// lane: the reply to the claim says which.
type Work struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
}

// Claim asks to do a unit, with what the work message said.
type Claim struct {
	Job  int64  `json:"job"`
	Unit string `json:"unit"`
	// Session is another one each time that the worker starts: so a question
	// that is repeated is told from one after a restart.
	Session string `json:"session,omitempty"`
}

// ClaimReply grants an attempt, or says why not.
type ClaimReply struct {
	Refused string `json:"refused,omitempty"` // why not; "" grants
	Gone    bool   `json:"gone,omitempty"`    // there is nothing behind the message any more; else ask again in a while
	Job     int64  `json:"job,omitempty"`     // of the granted unit; 0: the one that was claimed
	Attempt int    `json:"attempt"`           // number of the granted attempt, from 1
	Unit    Unit   `json:"unit"`
}

// Progress keeps a claim alive and tells how far it is. The queue may answer it
// with a Verdict: one that is not accepted says that the attempt no longer
// counts, and the worker stops it at once. No answer means that it goes on.
type Progress struct {
	Job     int64   `json:"job"`
	Unit    string  `json:"unit"`
	Attempt int     `json:"attempt"`
	Frames  int     `json:"frames"`
	FPS     float64 `json:"fps"`
}

// Done hands in a result.
type Done struct {
	Job     int64  `json:"job"`
	Unit    string `json:"unit"`
	Attempt int    `json:"attempt"`
	Result  Result `json:"result"`
}

// Failed gives a claim back.
type Failed struct {
	Job     int64    `json:"job"`
	Unit    string   `json:"unit"`
	Attempt int      `json:"attempt"`
	Reason  string   `json:"reason"`
	Stderr  []string `json:"stderr,omitempty"` // ffmpeg's last 20 lines
	// Final says that no other worker would fare better: the source is at fault.
	Final bool `json:"final,omitempty"`
	// Stopped says that nothing went wrong: the worker was told to end, or to
	// take no work. Such an attempt does not count as a failure.
	Stopped bool `json:"stopped,omitempty"`
}

// Verdict answers Done, Failed and Progress. A result that is not accepted came from an
// attempt that no longer counts; the worker removes its files and goes on.
type Verdict struct {
	Accepted bool   `json:"accepted"`
	Reason   string `json:"reason,omitempty"`
}
