package queue

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

// maxOffers is the maximum number of units that one claim examines. The first ones
// may all need an encoder or a label that this worker lacks.
const maxOffers = 2000

// offered selects pending units and the workers that failed at each.
const offered = `
	SELECT ` + unitColumns + `, coalesce((
		SELECT group_concat(a.worker) FROM attempts a
		WHERE a.job = u.job AND a.unit = u.unit AND a.outcome IN ('failed', 'expired', 'given_up')), '')
	FROM jobs j CROSS JOIN units u ON u.job = j.id AND u.state = 'pending'`

// offers selects the pending units in the order in which they are claimed. Units that
// only some workers can do come first. CROSS JOIN keeps the order of the index of jobs,
// so that reading can stop at the first unit that fits.
const offers = offered + `
	WHERE j.ended = 0 AND j.paused = 0 AND (j.mux = 0 OR j.mux = ?) AND j.labels IN (SELECT value FROM json_each(?))
	ORDER BY j.priority DESC, j.mux DESC, (j.labels <> '') DESC, j.id, u.seq`

// choose returns the next unit for a worker. If there is none, the reply has the
// reason.
func (q *Queue) choose(ctx context.Context, t *transaction, worker string) (*unitRow, transcode.ClaimReply, error) {
	if q.workers.drained(worker) {
		return nil, transcode.ClaimReply{Refused: "this worker is drained"}, nil
	}
	me, _ := q.workers.get(worker)
	labels, err := t.labelsFor(ctx, me)
	if err != nil {
		return nil, transcode.ClaimReply{}, err
	}
	u, refused, err := q.firstFit(ctx, t, me, labels)
	if err != nil {
		return nil, transcode.ClaimReply{}, err
	}
	if u != nil {
		u, err = q.byDeadline(ctx, t, me, u)
		return u, transcode.ClaimReply{}, err
	}
	if refused.Gone {
		u, err = q.straggler(ctx, t, me)
		if u == nil && err == nil {
			refused, err = t.forOthers(ctx, me, labels, refused)
		}
	}
	return u, refused, err
}

// firstFit returns the first pending unit that a worker should do.
func (q *Queue) firstFit(ctx context.Context, t *transaction, me Worker, labels string) (*unitRow, transcode.ClaimReply, error) {
	refused := transcode.ClaimReply{Refused: "nothing is to be done", Gone: true}
	rows, err := t.tx.QueryContext(ctx, offers, me.Hello.MuxID, labels)
	if err != nil {
		return nil, refused, err
	}
	defer rows.Close()
	all := q.workers.list()
	for n := 0; n < maxOffers && rows.Next(); n++ {
		var failedOn string
		u, err := scanUnit(offer{rows, &failedOn})
		if err != nil {
			return nil, refused, err
		}
		why := unfit(u, me, all, strings.Split(failedOn, ","))
		if why == "" {
			return &u, transcode.ClaimReply{}, nil
		}
		refused = transcode.ClaimReply{Refused: fmt.Sprintf("job %d, unit %s: %s", u.key.job, u.key.unit, why)}
	}
	return nil, refused, rows.Err()
}

// An offer is a row of offers: a unit, and the workers that failed at it.
type offer struct {
	rows     *sql.Rows
	failedOn *string
}

func (o offer) Scan(dest ...any) error { return o.rows.Scan(append(dest, o.failedOn)...) }

// unfit returns the reason why a worker should leave a unit to another worker, or
// "" if it should do it itself.
func unfit(u unitRow, me Worker, all []Worker, failedOn []string) string {
	if !able(u.spec, u.request, me) {
		return fmt.Sprintf("it needs %q; you have %q", u.spec.NeededEncoders(), slices.Concat(me.Hello.Encoders, me.Hello.Named))
	}
	failed, room := slices.Contains(failedOn, me.Name), enoughMemory(u.spec, me.Hello.Memory)
	if room && !failed {
		return ""
	}
	for _, other := range all {
		switch {
		case !other.free() || !able(u.spec, u.request, other) || !enoughMemory(u.spec, other.Hello.Memory):
		case failed && !slices.Contains(failedOn, other.Name):
			return "you have failed at it, and " + other.Name + " has not"
		case !room && other.Hello.Memory != 0:
			return fmt.Sprintf("its encoders need more memory than %d MB, which others have", me.Hello.Memory>>20)
		}
	}
	return ""
}

// able reports whether a request is for a worker, and whether the worker has the
// encoder of the unit.
func able(u transcode.Unit, r transcode.Request, w Worker) bool {
	lacks := func(encoder string) bool { return !w.Hello.Has(encoder) }
	return r.For(w.Hello.MuxID, w.Labels) && !slices.ContainsFunc(u.NeededEncoders(), lacks)
}

// enoughMemory reports whether a unit needs at most three quarters of a machine's
// memory; 0 means that its memory is unknown.
func enoughMemory(u transcode.Unit, memory int64) bool {
	// A trial makes what it tries one after the other, if memory is short.
	return memory == 0 || u.Video == nil || u.Kind == transcode.KindTrial || len(u.NeededEncoders()) > 0 || u.Video.MemoryBytes(transcode.MemoryPerPixelFrugal) < memory*3/4
}

// A speculative attempt of a running unit starts only if nothing is pending and it
// would end sooner than the straggler: by at least this factor of its own time, and
// by at least this duration.
const (
	speculationFactor = 1.25
	minSpeculation    = time.Second
)

// straggler returns the running unit for which a speculative attempt of this worker
// saves most time; nil if it would save none.
func (q *Queue) straggler(ctx context.Context, t *transaction, me Worker) (*unitRow, error) {
	return q.outrun(ctx, t, me, q.claims.all())
}

// outrun is straggler among some claims.
func (q *Queue) outrun(ctx context.Context, t *transaction, me Worker, among []claim) (*unitRow, error) {
	c, ok := q.slowest(me, among, t.now)
	if !ok {
		return nil, nil
	}
	u, err := t.unit(ctx, c.key.unitKey)
	if err != nil || u.second > 0 || !u.runs(c.worker, c.key.attempt) {
		return nil, err
	}
	var paused bool
	if err := t.tx.QueryRowContext(ctx, `SELECT paused FROM jobs WHERE id = ?`, u.key.job).Scan(&paused); err != nil || paused {
		return nil, err
	}
	return &u, nil
}

// slowest returns the claim on which a worker would save most time.
func (q *Queue) slowest(me Worker, all []claim, now time.Time) (slowest claim, ok bool) {
	perUnit := map[unitKey]int{}
	for _, c := range all {
		perUnit[c.key.unitKey]++
	}
	var most time.Duration
	for _, c := range all {
		if perUnit[c.key.unitKey] > 1 || c.worker == me.Name || !able(c.spec, c.request, me) || !enoughMemory(c.spec, me.Hello.Memory) {
			continue
		}
		mine, known := q.workers.estimate(me.Name, c.spec)
		if !known {
			continue
		}
		left := q.left(c, now)
		if gain := left - time.Duration(speculationFactor*float64(mine)) - minSpeculation; gain > most {
			most, slowest, ok = gain, c, true
		}
	}
	return slowest, ok
}

// left estimates the remaining time of a claim. It is infinite for a claim without
// recent progress.
func (q *Queue) left(c claim, now time.Time) time.Duration {
	const forever = 1000 * time.Hour
	if silent := now.Sub(later(c.heard, c.granted)); silent > q.claimTTL/4 {
		return forever
	}
	// A trial counts its frames anew in each of its steps.
	if c.fps > 0 && c.spec.Kind != transcode.KindTrial {
		return time.Duration(min(float64(c.total-c.frames)/c.fps, 1e6) * float64(time.Second))
	}
	if all, known := q.workers.estimate(c.worker, c.spec); known {
		return all - now.Sub(c.granted)
	}
	return 0
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// idleSpeculators returns the number of idle workers for which a speculative
// attempt would save time.
func (q *Queue) idleSpeculators(now time.Time) int {
	all := q.claims.all()
	if len(all) == 0 {
		return 0
	}
	busy := map[string]bool{}
	for _, c := range all {
		busy[c.worker] = busy[c.worker] || c.spec.Kind != transcode.KindIngest
	}
	n := 0
	for _, w := range q.workers.list() {
		if !w.free() || busy[w.Name] {
			continue
		}
		if _, ok := q.slowest(w, all, now); ok {
			n++
		}
	}
	return n
}
