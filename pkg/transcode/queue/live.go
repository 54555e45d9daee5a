package queue

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// A live stream is a job whose units come and go: one that receives its source, and one
// for each rendition of each part (transcode.Live). Units of parts that have left the
// window are removed with their files. What players ask for is answered from memory,
// which is filled from the units at the start.

const (
	// liveTTL is how long a claim on a unit of a live stream lasts without progress.
	liveTTL = 5 * time.Second
	// liveGrace is how long a segment stays that has left the window, for players that are
	// about to read it, and a stream that has ended.
	liveGrace = 60 * time.Second
	// defaultLiveLate leaves time to find out that a worker has gone, and for another one to
	// make the part.
	defaultLiveLate = 20 * time.Second
	// maxLive bounds the live streams.
	maxLive = 16
)

// ErrNoLive reports that there is no live stream of this name.
var ErrNoLive = errors.New("no such live stream")

// A liveStreams has the live streams that players can ask for.
type liveStreams struct {
	mu    sync.Mutex
	byJob map[int64]*liveStream
}

func newLiveStreams() *liveStreams { return &liveStreams{byJob: map[int64]*liveStream{}} }

func (l *liveStreams) get(job int64) *liveStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byJob[job]
}

func (l *liveStreams) put(s *liveStream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byJob[s.job] = s
}

func (l *liveStreams) drop(job int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byJob, job)
}

func (l *liveStreams) all() []*liveStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*liveStream, 0, len(l.byJob))
	for _, s := range l.byJob {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *liveStream) int { return cmp.Compare(a.job, b.job) })
	return list
}

// named returns the newest stream of this name, or nil.
func (l *liveStreams) named(name string) *liveStream {
	list := l.all()
	for _, s := range slices.Backward(list) {
		if s.request.Name == name {
			return s
		}
	}
	return nil
}

// holds reports whether the files of a job are a live stream's that players still read.
func (l *liveStreams) holds(job int64) bool { return l.get(job) != nil }

// A liveStream is what players and its source need of a live stream.
type liveStream struct {
	job     int64
	request transcode.Request

	mu         sync.Mutex
	plan       *transcode.LivePlan // nil: nothing has been received
	parts      []*livePart         // of all renditions, in order
	inits      map[string][]byte   // by rendition and session
	codecs     map[string]string   // by rendition
	changed    chan struct{}       // closed at the next change
	ended      time.Time           // zero: it goes on
	stopping   time.Time           // zero: it goes on
	publishing bool                // its files are needed until its job has ended
	source     *liveSession        // what is being received; nil: nothing
	next       struct{ session, segment int }
	received   float64 // seconds, over all sessions
	// unproved is since when it runs without knowing whether the workers are fast enough;
	// zero: they are.
	unproved time.Time

	inlet *inlet // nil: it does not listen

	dialing sync.Mutex // held while tunnel is replaced
	tunnel  *tunnel    // to the source; nil: none
	pipe    *os.File   // the source, if it is a named pipe that was opened
}

// A livePart is a part of one rendition.
type livePart struct {
	transcode.LivePart
	seconds float64
	state   string // pending, done or failed
	file    string // in the media share; of one that is done
	bytes   int64
	codecs  string
	key     unitKey
	since   time.Time // when it was received, or the daemon started
}

func newLiveStream(job int64, r transcode.Request) *liveStream {
	return &liveStream{job: job, request: r, publishing: r.Live.Keep, inits: map[string][]byte{}, codecs: map[string]string{}, changed: make(chan struct{})}
}

// notifyLocked wakes those who wait for a change.
func (s *liveStream) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// A Live is a live stream as it is listed.
type Live struct {
	Name    string            `json:"name"`
	Job     int64             `json:"job"`
	Source  string            `json:"source"`
	State   string            `json:"state"` // waiting, live, stopping or ended
	Started time.Time         `json:"started,omitzero"`
	Request transcode.Request `json:"request"`
	// Renditions are the names of its renditions, the highest first; empty until something
	// has been received.
	Renditions []string `json:"renditions"`
	Ingest     string   `json:"ingest,omitempty"` // the worker that receives its source
	// Encoder is the address from which an encoder sends the stream; "" if it does not listen,
	// or nobody sends.
	Encoder string `json:"encoder,omitempty"`
	// Seconds is how much was received, over all connections; BehindSeconds is how much of
	// that is not encoded yet.
	Seconds       float64 `json:"seconds"`
	BehindSeconds float64 `json:"behind_seconds"`
	Connections   int     `json:"connections"` // from which something came
	URL           string  `json:"url"`         // path of its master playlist at pibootd's own HTTP server
}

// AddLive starts a live stream. The name is its own until it has ended.
func (q *Queue) AddLive(ctx context.Context, r transcode.Request) (Live, error) {
	if r.Live == nil {
		r.Live = &transcode.Live{}
	}
	if r.Name == "" || strings.ContainsAny(r.Name, "?#%") {
		return Live{}, fmt.Errorf("queue: %w", pi.InvalidField("name", fmt.Errorf("name %.200q of a live stream; want one, without ?, # and %%", r.Name)))
	}
	if err := r.Check(); err != nil {
		return Live{}, fmt.Errorf("queue: %w", err)
	}
	r.Labels = normalLabels(r.Labels)
	if s := q.live.named(r.Name); s != nil && !s.over() {
		return Live{}, fmt.Errorf("queue: %w", pi.Conflicting("name", fmt.Errorf("live stream %q is running already; stop it first, or choose another name", r.Name)))
	}
	u, err := q.ingestUnit(ctx, &r)
	var in *inlet
	if err == nil && r.Live.Listen {
		in, err = q.newInlet(r.Name)
	}
	if err != nil {
		return Live{}, fmt.Errorf("queue: %w", err)
	}
	if err := q.write(ctx, func(t *transaction) error { return t.addLive(ctx, r, u, in) }); err != nil {
		return Live{}, fmt.Errorf("queue: adding live stream %q: %w", r.Name, err)
	}
	return q.Live(r.Name)
}

// ingestUnit returns the unit that receives the source of r, and hides in r what of its URL
// may be secret.
func (q *Queue) ingestUnit(ctx context.Context, r *transcode.Request) (transcode.Unit, error) {
	if r.Live.Listen {
		r.Source = listenSource
		u := transcode.NewIngestUnit(*r)
		u.Ingest.Listen = true
		return u, nil
	}
	if !transcode.IsLiveURL(r.Source) {
		u := transcode.NewIngestUnit(*r)
		if q.checkPipe(r.Source) == nil {
			return u, nil
		}
		u.Ingest.File = true
		if err := q.checkSource(r.Source); err != nil {
			return u, pi.InvalidField("source", err)
		}
		return u, nil
	}
	parsed, err := transcode.ParseLiveURL(r.Source)
	if err != nil {
		return transcode.Unit{}, err
	}
	if parsed.Scheme == "srt" {
		if _, err := srtConfig(parsed); err != nil {
			return transcode.Unit{}, err
		}
	}
	address, err := q.pinSource(ctx, parsed)
	if err != nil {
		return transcode.Unit{}, err
	}
	secret := r.Source
	r.Source = transcode.ShownLiveURL(parsed)
	u := transcode.NewIngestUnit(*r)
	u.Source, u.Ingest.URL, u.Ingest.Address = "", secret, address.String()
	return u, nil
}

// checkPipe returns an error if a path in the media share is no named pipe.
func (q *Queue) checkPipe(source string) error {
	if !fs.ValidPath(source) || transcode.IsReserved(source) {
		return fs.ErrInvalid
	}
	info, err := q.media.Lstat(source)
	if err == nil && info.Mode().Type() != fs.ModeNamedPipe {
		err = fs.ErrInvalid
	}
	return err
}

// addLive stores a live stream with the unit that receives its source.
func (t *transaction) addLive(ctx context.Context, r transcode.Request, ingest transcode.Unit, in *inlet) error {
	var running int
	var id int64
	if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM jobs WHERE ended = 0 AND `+isLive).Scan(&running); err != nil {
		return err
	}
	if running >= maxLive {
		return pi.Conflicting("", fmt.Errorf("%d live streams are running; want %d at most: stop one", running, maxLive))
	}
	err := t.tx.QueryRowContext(ctx, `INSERT INTO jobs (state, request, mux, labels, identity, priority, created) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
		Queued, column[transcode.Request]{r}, r.MuxID, joinLabels(r.Labels), "live "+r.Name, int(High), t.now.UnixNano()).Scan(&id)
	if err != nil {
		return err
	}
	s := newLiveStream(id, r)
	s.inlet = in
	t.announce, t.changed, t.began = true, append(t.changed, id), append(t.began, s)
	return t.addUnit(ctx, id, 0, ingest)
}

// isLive is the condition of jobs that are live streams.
const isLive = `json_extract(request, '$.live') IS NOT NULL`

// StopLive ends a live stream: what has been received is still encoded. The error matches
// ErrNoLive if none of this name is running.
func (q *Queue) StopLive(ctx context.Context, name string) (Live, error) {
	s := q.live.named(name)
	if s == nil || s.over() {
		return Live{}, fmt.Errorf("queue: stopping %.200q: %w", name, ErrNoLive)
	}
	end, err := q.liveTurns.Begin(ctx, s.job)
	if err != nil {
		return Live{}, err
	}
	defer end()
	q.endSession(ctx, s)
	err = q.write(ctx, func(t *transaction) error {
		u, err := t.unit(ctx, unitKey{s.job, transcode.IngestUnitID})
		if err != nil || u.state == done {
			return err
		}
		if u.state == running {
			if err := t.endAttempt(ctx, u, attemptKey{u.key, u.attempt}, ending{outcome: EventCancelled, detail: "the live stream is stopped"}); err != nil {
				return err
			}
		}
		t.liveStopped = append(t.liveStopped, s.job)
		return t.exec(ctx, `UPDATE units SET state = ? WHERE job = ? AND unit = ?`, done, s.job, transcode.IngestUnitID)
	})
	if err != nil {
		return Live{}, fmt.Errorf("queue: stopping live stream %q: %w", name, err)
	}
	return s.describe(q), q.endDrained(ctx, s, time.Now())
}

// Live returns the newest live stream of this name. The error matches ErrNoLive if there
// is none.
func (q *Queue) Live(name string) (Live, error) {
	s := q.live.named(name)
	if s == nil {
		return Live{}, fmt.Errorf("queue: live stream %.200q: %w", name, ErrNoLive)
	}
	return s.describe(q), nil
}

// Lives returns the live streams that players can ask for.
func (q *Queue) Lives() []Live {
	list := []Live{}
	for _, s := range q.live.all() {
		list = append(list, s.describe(q))
	}
	return list
}

func (s *liveStream) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.ended.IsZero()
}

func (s *liveStream) describe(q *Queue) Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Live{
		Name: s.request.Name, Job: s.job, Source: s.request.Source, State: "waiting", Request: s.request, Renditions: []string{},
		Seconds: s.received, Connections: s.next.session, URL: LivePath(s.request.Name),
	}
	for _, c := range q.claims.all() {
		if c.key.unitKey == (unitKey{s.job, transcode.IngestUnitID}) {
			l.Ingest = c.worker
		}
	}
	if s.plan != nil {
		l.State = "live"
		for _, r := range s.plan.Plan.Renditions {
			l.Renditions = append(l.Renditions, r.Name)
		}
		l.BehindSeconds = s.behindLocked()
	}
	if s.inlet != nil {
		if l.Encoder = s.inlet.encoder(); l.Encoder == "" {
			l.State = "waiting"
		}
	}
	switch {
	case !s.ended.IsZero():
		l.State = "ended"
	case !s.stopping.IsZero():
		l.State = "stopping"
	}
	if len(s.parts) > 0 {
		l.Started = time.UnixMilli(s.parts[0].Time)
	}
	return l
}

// behindLocked returns how much of a stream that has a plan was received and is not encoded
// yet, in seconds.
func (s *liveStream) behindLocked() (seconds float64) {
	for _, p := range s.parts {
		if p.state == pending {
			seconds += p.seconds / float64(len(s.plan.Plan.Renditions))
		}
	}
	return seconds
}

// loadLive reads the live streams of the store. Their sources have to be connected again,
// because what was received and was no part yet is lost.
func (q *Queue) loadLive(ctx context.Context) error {
	rows, err := q.store.Query(ctx, `SELECT id, request, plan, state FROM jobs WHERE ended = 0 AND `+isLive+` ORDER BY id`)
	if err != nil {
		return fmt.Errorf("queue: reading live streams: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var request column[transcode.Request]
		var plan column[*transcode.LivePlan]
		var state State
		if err := rows.Scan(&id, &request, &plan, &state); err != nil {
			return fmt.Errorf("queue: reading live streams: %w", err)
		}
		s := newLiveStream(id, request.V)
		s.plan = plan.V
		if state == Publishing {
			s.ended = time.Now()
		}
		err := q.loadParts(ctx, s)
		if err == nil && s.request.Live.Listen {
			s.inlet, err = q.newInlet(s.request.Name)
		}
		if err != nil {
			return fmt.Errorf("queue: reading live stream %q: %w", request.V.Name, err)
		}
		q.live.put(s)
	}
	return rows.Err()
}

func (q *Queue) loadParts(ctx context.Context, s *liveStream) error {
	rows, err := q.store.Query(ctx, `SELECT unit, spec, state, attempt, result FROM units WHERE job = ? ORDER BY seq`, s.job)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var unit, state string
		var spec column[transcode.Unit]
		var result column[transcode.Result]
		var attempt int
		if err := rows.Scan(&unit, &spec, &state, &attempt, &result); err != nil {
			return err
		}
		if spec.V.Live == nil {
			if state == done {
				s.stopping = time.Now()
			}
			continue
		}
		p := newLivePart(s, spec.V)
		s.parts = append(s.parts, p)
		s.received = max(s.received, p.Received)
		s.next.session, s.next.segment = max(s.next.session, p.Session+1), max(s.next.segment, p.Segment+1)
		switch state {
		case done:
			q.completePart(s, p, attempt, result.V)
		case failed:
			p.state = failed
		}
	}
	return rows.Err()
}

func newLivePart(s *liveStream, u transcode.Unit) *livePart {
	p := &livePart{LivePart: *u.Live, state: pending, key: unitKey{s.job, u.ID}, since: time.Now()}
	if u.Video != nil {
		p.seconds = u.Video.Grid.Seconds(u.Video.EndFrame - u.Video.FirstFrame)
	}
	return p
}

// column scans the plan of a live stream that has none yet as nil.
var _ sql.Scanner = &column[*transcode.LivePlan]{}
