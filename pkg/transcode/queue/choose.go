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

// maxOffers bounds the units that are looked at for one claim: all of the first
// ones may be for workers that have what this one has not.
const maxOffers = 2000

// offers are the units that wait, in the order in which they are to be done,
// and who has failed at each: first what not every worker may do. CROSS JOIN
// keeps the order of the index of jobs, so that reading can end with the first
// unit that fits.
const offers = `
	SELECT ` + unitColumns + `, coalesce((
		SELECT group_concat(a.worker) FROM attempts a
		WHERE a.job = u.job AND a.unit = u.unit AND a.outcome IN ('failed', 'expired', 'given_up')), '')
	FROM jobs j CROSS JOIN units u ON u.job = j.id AND u.state = 'pending'
	WHERE j.ended = 0 AND j.paused = 0 AND (j.mux = 0 OR j.mux = ?) AND j.labels IN (SELECT value FROM json_each(?))
	ORDER BY j.priority DESC, j.mux DESC, (j.labels <> '') DESC, j.id, u.seq`

// choose returns the unit that a worker is to do next. If there is none the
// reply says why.
func (q *Queue) choose(ctx context.Context, s *step, worker string) (*unitRow, transcode.ClaimReply, error) {
	if q.workers.drained(worker) {
		return nil, transcode.ClaimReply{Refused: "this worker is drained"}, nil
	}
	me, _ := q.workers.get(worker)
	labels, err := s.labelsFor(ctx, me)
	if err != nil {
		return nil, transcode.ClaimReply{}, err
	}
	rows, err := s.tx.QueryContext(ctx, offers, me.Hello.MuxID, labels)
	if err != nil {
		return nil, transcode.ClaimReply{}, err
	}
	defer rows.Close()
	all := q.workers.list()
	refused := transcode.ClaimReply{Refused: "nothing is to be done", Gone: true}
	for n := 0; n < maxOffers && rows.Next(); n++ {
		var failedOn string
		u, err := scanUnit(offer{rows, &failedOn})
		if err != nil {
			return nil, transcode.ClaimReply{}, err
		}
		why := unfit(u, me, all, strings.Split(failedOn, ","))
		if why == "" {
			return &u, transcode.ClaimReply{}, nil
		}
		refused = transcode.ClaimReply{Refused: fmt.Sprintf("job %d, unit %s: %s", u.key.job, u.key.unit, why)}
	}
	if err := rows.Err(); err != nil {
		return nil, transcode.ClaimReply{}, err
	}
	if refused.Gone {
		u, err := q.double(ctx, s, me)
		if u == nil && err == nil {
			refused, err = s.forOthers(ctx, me, labels, refused)
		}
		return u, refused, err
	}
	return nil, refused, nil
}

// An offer is a row of offers: a unit, and who failed at it.
type offer struct {
	rows     *sql.Rows
	failedOn *string
}

func (o offer) Scan(dest ...any) error { return o.rows.Scan(append(dest, o.failedOn)...) }

// unfit says why a worker should leave a unit to another of all there are; "" if
// it should not.
func unfit(u unitRow, me Worker, all []Worker, failedOn []string) string {
	if !able(u.spec, u.request, me) {
		return fmt.Sprintf("it needs %s; you have %q", u.spec.NeedsEncoder(), me.Hello.Encoders)
	}
	failed, room := slices.Contains(failedOn, me.Name), hasRoom(u.spec, me.Hello.Memory)
	if room && !failed {
		return ""
	}
	for _, other := range all {
		switch {
		case !other.free() || !able(u.spec, u.request, other) || !hasRoom(u.spec, other.Hello.Memory):
		case failed && !slices.Contains(failedOn, other.Name):
			return "you have failed at it, and " + other.Name + " has not"
		case !room && other.Hello.Memory != 0:
			return fmt.Sprintf("its encoders need more memory than %d MB, which others have", me.Hello.Memory>>20)
		}
	}
	return ""
}

// able reports whether a worker may do a unit of a request, and has what it needs.
func able(u transcode.Unit, r transcode.Request, w Worker) bool {
	encoder := u.NeedsEncoder()
	return r.For(w.Hello.MuxID, w.Labels) && (encoder == "" || slices.Contains(w.Hello.Encoders, encoder))
}

// hasRoom reports whether a machine with this much memory can be expected to do
// a unit beside all else that runs there; 0 is not known.
func hasRoom(u transcode.Unit, memory int64) bool {
	return memory == 0 || u.Video == nil || u.NeedsEncoder() != "" || u.Video.MemoryBytes(transcode.MemoryPerPixelFrugal) < memory*3/4
}

// Beside a running attempt another is begun where nothing else is left to do
// and it will be done sooner: by so much of its own time, and by so long.
const (
	headStart    = 1.25
	minHeadStart = time.Second
)

// double returns a running unit that this worker would be done with sooner than
// the one that has it: the one that gains most.
func (q *Queue) double(ctx context.Context, s *step, me Worker) (*unitRow, error) {
	c, ok := q.slowest(me, q.claims.all(), s.now)
	if !ok {
		return nil, nil
	}
	u, err := s.unit(ctx, c.key.unitKey)
	if err != nil || u.second > 0 || !u.runs(c.worker, c.key.attempt) {
		return nil, err
	}
	var paused bool
	if err := s.tx.QueryRowContext(ctx, `SELECT paused FROM jobs WHERE id = ?`, u.key.job).Scan(&paused); err != nil || paused {
		return nil, err
	}
	return &u, nil
}

// slowest returns the claim that a worker would gain most on.
func (q *Queue) slowest(me Worker, all []claim, now time.Time) (slowest claim, ok bool) {
	perUnit := map[unitKey]int{}
	for _, c := range all {
		perUnit[c.key.unitKey]++
	}
	var most time.Duration
	for _, c := range all {
		if perUnit[c.key.unitKey] > 1 || c.worker == me.Name || !able(c.spec, c.request, me) || !hasRoom(c.spec, me.Hello.Memory) {
			continue
		}
		mine, known := q.workers.takes(me.Name, c.spec)
		if !known {
			continue
		}
		left := q.left(c, now)
		if gain := left - time.Duration(headStart*float64(mine)) - minHeadStart; gain > most {
			most, slowest, ok = gain, c, true
		}
	}
	return slowest, ok
}

// left estimates how long a claim will yet take. One whose worker has fallen
// silent is not counted on.
func (q *Queue) left(c claim, now time.Time) time.Duration {
	const forever = 1000 * time.Hour
	if silent := now.Sub(later(c.heard, c.granted)); silent > q.claimTTL/4 {
		return forever
	}
	if c.fps > 0 {
		return time.Duration(min(float64(c.total-c.frames)/c.fps, 1e6) * float64(time.Second))
	}
	if all, known := q.workers.takes(c.worker, c.spec); known {
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

// worthDoubling returns how many workers have nothing to do and would be sooner
// done with what another does.
func (q *Queue) worthDoubling(now time.Time) int {
	all := q.claims.all()
	if len(all) == 0 {
		return 0
	}
	busy := map[string]bool{}
	for _, c := range all {
		busy[c.worker] = true
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
