package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

const (
	claimWithin = 45 * time.Second
	// partingWithin bounds the time for last messages after Run was stopped.
	partingWithin = 3 * time.Second
)

// An attempt is one claim of a unit.
type attempt struct {
	*session
	job    int64
	number int
	unit   transcode.Unit
	pulse  *pulse
	head   atomic.Pointer[transcode.Probe] // of the source's beginning, for whoever waits for a probe
}

// handle claims a unit after a work message and runs the attempt.
func (s *session) handle(ctx context.Context, msg jetstream.Msg) {
	var work transcode.Work
	if err := json.Unmarshal(msg.Data(), &work); err != nil {
		s.log().Warn("work message not understood", "err", err)
		s.logAck(msg.Term())
		return
	}
	// Before the claim, because the queue counts the remaining messages when it replies.
	s.acknowledge(ctx, msg)
	claimCtx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	reply, err := request[transcode.ClaimReply](claimCtx, s, transcode.SubjectClaim,
		transcode.Claim{Job: work.Job, Unit: work.Unit, Session: s.id})
	switch {
	case err != nil:
		s.log().Warn("claim not answered", "job", work.Job, "unit", work.Unit, "err", err)
	case reply.Refused != "" && reply.Gone:
		// Other workers were faster.
	case reply.Refused != "":
		// The queue announces the work again, for other workers.
		s.log().Debug("claim refused", "job", work.Job, "unit", work.Unit, "reason", reply.Refused)
		pause.For(ctx, s.refusalDelay())
	default:
		a := &attempt{session: s, job: cmp.Or(reply.Job, work.Job), number: reply.Attempt, unit: reply.Unit, pulse: newPulse(time.Now())}
		if reply.Unit.Kind == transcode.KindIngest { // it lasts, and is little work
			s.ingests.Go(func() { a.run(ctx) })
			return
		}
		a.run(ctx)
	}
}

// logAck logs an acknowledgement that could not be sent. The stream then delivers
// the message again, which does no harm because the claim decides.
func (s *session) logAck(err error) {
	if err != nil {
		s.log().Debug("work message not acknowledged", "err", err)
	}
}

// run does the unit and reports the outcome.
func (a *attempt) run(ctx context.Context) {
	log := a.log().With("job", a.job, "unit", a.unit.ID, "attempt", a.number)
	log.Info("unit begun")
	working, revoke := context.WithCancelCause(ctx)
	defer revoke(nil)
	beat, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	beating.Go(func() { a.beat(beat, revoke) })
	defer beating.Wait()
	defer stop()

	result, stderr, err := a.prove(working)
	// A result is sent even if the attempt was revoked meanwhile: the queue also
	// revokes an attempt whose result it has just accepted.
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(working), errRevoked) {
		log.Info("unit stopped", "reason", context.Cause(working))
		a.discard()
		return
	}
	verdict, asked := a.report(ctx, result, stderr, err)
	switch {
	case err == nil && asked == nil && verdict.Accepted:
		log.Info("unit done", "took", result.Took, "fps", result.FPS)
	case err == nil && asked == nil:
		log.Warn("result refused", "reason", verdict.Reason)
		a.discard()
	case err != nil:
		log.Warn("unit failed", "err", err)
	}
}

// errRevoked is the cause when the queue replies that an attempt no longer counts.
var errRevoked = errors.New("the attempt no longer counts")

// prove does the unit and checks its result.
func (a *attempt) prove(ctx context.Context) (transcode.Result, []string, error) {
	began := time.Now()
	result, stderr, err := a.do(ctx)
	if err == nil {
		result.Took = time.Since(began)
		result.FPS = float64(totalFrames(result)) / result.Took.Seconds()
		err = transcode.Check(a.unit, result)
	}
	switch {
	case err == nil && a.unit.Kind == transcode.KindVideo:
		a.proven(a.unit)
		a.measured(*a.unit.Video, result.FPS)
	case err != nil && ctx.Err() == nil:
		a.unproven(a.unit)
		err = a.unlessFull(err)
	}
	return result, stderr, err
}

// A share with at most fullBytes free is full.
const fullBytes = 1 << 20

// unlessFull adds to err that the share is full, if it is: ffmpeg may write less
// then without reporting an error.
func (w *Worker) unlessFull(err error) error {
	where := "the media share"
	if w.remote != nil {
		where = w.remote.dir()
	}
	if free, statErr := freeBytes(w.mediaStore().dir()); statErr == nil && free < fullBytes {
		return fmt.Errorf("%s is full: %w", where, err)
	}
	return err
}

// totalFrames returns the number of frames of a result, counted in its unit's kind.
func totalFrames(r transcode.Result) int {
	n := 0
	if r.File != nil {
		n = r.File.Video.Frames
	}
	for _, s := range r.Segments {
		n += s.Frames
	}
	return n
}

// report delivers a result, or releases the claim if err is not nil. The files of a
// failed attempt are removed by then. If ctx has ended, report waits only briefly.
func (a *attempt) report(ctx context.Context, result transcode.Result, stderr []string, err error) (transcode.Verdict, error) {
	stopped := ctx.Err() != nil
	if stopped {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), partingWithin)
		defer cancel()
	}
	if err == nil {
		return request[transcode.Verdict](ctx, a.session, transcode.SubjectDone,
			transcode.Done{Job: a.job, Unit: a.unit.ID, Attempt: a.number, Result: result})
	}
	a.discard()
	if stopped {
		err, stderr = errors.New("the worker was stopped"), nil
	}
	return request[transcode.Verdict](ctx, a.session, transcode.SubjectFailed, a.failed(err, stderr, stopped))
}

// acknowledge deletes a message from the stream. If that fails, the stream delivers
// the message again, which does no harm.
func (s *session) acknowledge(ctx context.Context, msg jetstream.Msg) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingWithin)
	defer cancel()
	s.logAck(msg.DoubleAck(ctx))
}

// beat reports the attempt's progress to the queue. It stops when ctx ends, or when
// there was no progress for so long that another worker should try. If the queue
// replies that the attempt does not count, beat revokes it.
func (a *attempt) beat(ctx context.Context, revoke context.CancelCauseFunc) {
	inbox := a.nc.NewInbox()
	sub, err := a.nc.Subscribe(inbox, func(m *nats.Msg) {
		var v transcode.Verdict
		// An empty message comes from the NATS server: the queue is not listening.
		if len(m.Data) > 0 && json.Unmarshal(m.Data, &v) == nil && !v.Accepted {
			revoke(fmt.Errorf("%w: %.200s", errRevoked, v.Reason))
		}
	})
	if err != nil {
		a.log().Debug("answers to progress are not heard", "err", err)
	} else {
		defer sub.Unsubscribe()
	}
	tick := time.NewTicker(a.progressEvery())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if a.pulse.stalled(now, a.stall()) {
				continue
			}
			frames, fps := a.pulse.read()
			a.sendProgress(transcode.SubjectProgress, inbox, transcode.Progress{
				Job: a.job, Unit: a.unit.ID, Attempt: a.number, Frames: frames, FPS: fps, Head: a.head.Load(),
			})
		}
	}
}

// do does the unit. It also returns ffmpeg's last lines.
func (a *attempt) do(ctx context.Context) (transcode.Result, []string, error) {
	if err := checkUnit(a.unit); err != nil {
		return transcode.Result{}, nil, err
	}
	if a.unit.Kind == transcode.KindIngest {
		return a.ingest(ctx)
	}
	source, err := a.mediaStore().source(ctx, a.unit.Source)
	if err != nil {
		return transcode.Result{}, nil, err
	}
	if a.unit.Kind == transcode.KindProbe {
		a.probeHead(ctx, source)
		p, stderr, err := a.probe(ctx, source, a.pulse)
		p.FFmpeg = a.hello.Load().FFmpeg
		return transcode.Result{Probe: &p}, stderr, err
	}
	dir := a.dir()
	if err := freshDir(dir, a.unit); err != nil {
		return transcode.Result{}, nil, err
	}
	stderr, err := a.encode(ctx, a.unit, source, dir, a.pulse)
	if err != nil {
		return transcode.Result{}, stderr, lacks(explained(err, stderr), stderr)
	}
	a.pulse.touch(time.Now())
	result, err := a.proof(ctx, a.unit, dir, a.pulse)
	if err == nil {
		err = a.mediaStore().deliver(ctx, transcode.AttemptDir(a.job, a.unit.ID, a.number), dir, filesOf(a.unit, result), a.pulse)
	}
	return result, stderr, err
}

// filesOf returns the paths of a result's files in its attempt's directory.
func filesOf(u transcode.Unit, r transcode.Result) []string {
	var list []string
	for _, piece := range transcode.Pieces(u, r) {
		for _, f := range piece.Result.Files() {
			list = append(list, path.Join(piece.Dir, f.Name))
		}
	}
	return list
}

// checkUnit validates the fields of a unit on which the other functions rely.
func checkUnit(u transcode.Unit) error {
	ok := u.Kind == transcode.KindProbe ||
		u.Kind == transcode.KindAudio && u.Audio != nil && u.Audio.SegmentSeconds > 0 ||
		u.Kind == transcode.KindText && u.Text != nil && len(u.Text.Renditions) > 0 && u.Text.Segments() <= maxTextSegments ||
		u.Kind == transcode.KindLift && u.Lift != nil ||
		u.Kind == transcode.KindCover && u.Cover != nil ||
		(u.Kind == transcode.KindVideo || u.Kind == transcode.KindSurvey || u.Kind == transcode.KindTrial) && u.Video != nil && u.Video.Grid.Rate.Float() > 0 &&
			u.Video.Grid.SegmentFrames > 0 && u.Video.FirstFrame >= 0 && u.Video.EndFrame > u.Video.FirstFrame ||
		u.Kind == transcode.KindJoin && u.Join != nil && u.Join.Grid.Rate.Float() > 0 && isFile(u.Join.Format) ||
		u.Kind == transcode.KindWhole && u.Whole != nil && isFile(u.Whole.Format) ||
		u.Kind == transcode.KindIngest && u.Ingest != nil && u.Ingest.Audio != nil
	for _, p := range transcode.Pieces(u, transcode.Result{}) {
		ok = ok && (p.Dir == "" || validUnitID.MatchString(p.Dir))
	}
	local := filepath.IsLocal(filepath.FromSlash(u.Source)) || u.Ingest != nil && u.Ingest.URL != ""
	if !ok || !validUnitID.MatchString(u.ID) || !local {
		return fmt.Errorf("unit %.100q of kind %.20q on %.200q is not one this worker knows to do", u.ID, u.Kind, u.Source)
	}
	return nil
}

// maxTextSegments is what a day of segments of a second has.
const maxTextSegments = 24 * 60 * 60

func isFile(f transcode.Format) bool { return transcode.Output{Format: f}.IsFile() }

// dir returns the directory for the attempt's files.
func (a *attempt) dir() string {
	return filepath.Join(a.mediaStore().dir(), transcode.ScratchName(a.job, a.unit.ID, a.number))
}

// discard removes the files of an attempt that does not count.
func (a *attempt) discard() {
	if a.unit.Kind == transcode.KindProbe || checkUnit(a.unit) != nil {
		return
	}
	if err := os.RemoveAll(a.dir()); err != nil {
		a.log().Warn("files of an attempt not removed", "file", a.dir(), "err", err)
	}
}

// freshDir makes an empty directory for the files of u.
func freshDir(dir string, u transcode.Unit) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("clearing the attempt's directory: %w", err)
	}
	for _, p := range transcode.Pieces(u, transcode.Result{}) {
		if err := os.MkdirAll(filepath.Join(dir, p.Dir), 0o755); err != nil {
			return fmt.Errorf("making the attempt's directory: %w", err)
		}
	}
	return nil
}
