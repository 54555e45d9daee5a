package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/transcode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pibootd/internal/pause"
)

// A simulation has workers that sleep instead of encoding, on a real queue,
// broker and store.
type simulation struct {
	nodes  int
	dead   int // of the nodes: they fall silent in the middle of their second unit
	film   float64
	speeds func(i int) float64 // frames per second of node i
	ttl    time.Duration

	progressive bool
}

// simulated is what came of it. Times are from the first video unit on.
type simulated struct {
	took    time.Duration
	ideal   time.Duration // all frames at the speed of all that did not die
	chunk   time.Duration // one unit on a node of average speed
	units   int
	doubled int
	lost    losses
}

// losses say what the time of those that did not die went to beside attempts
// that were accepted: in seconds of all of them together, as ideal is.
type losses struct {
	begin, between, doubled, end time.Duration
}

func (s simulation) run(t testing.TB) simulated {
	t.Helper()
	b := start(t, newDirs(t), func(o *Options) { o.ClaimTTL = s.ttl; o.OnUnit = nil })
	request := fixtureRequest
	request.SegmentSeconds = 0 // the usual
	request.Progressive = s.progressive
	job := b.submit(request)
	probe := filmProbe(s.film)
	grant, err := b.claim(t.Context(), "pi0", "")
	if err != nil || grant.Refused != "" {
		t.Fatalf("claim: %+v, %v", grant, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range s.nodes {
		n := &node{bench: b, name: fmt.Sprintf("pi%d", i+1), speed: s.speeds(i), dies: i < s.dead}
		if err := n.connect(); err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer n.conn.Close()
			if err := n.work(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("%s: %v", n.name, err)
			}
		})
	}
	began := time.Now()
	v, err := b.accept(t.Context(), "pi0", transcode.Done{Job: job.ID, Unit: "probe", Attempt: grant.Attempt, Result: transcode.Result{Probe: &probe}})
	if err != nil || !v.Accepted {
		t.Fatalf("probe: %+v, %v", v, err)
	}
	for now, err := range b.Watch(ctx, job.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if now.State == Publishing {
			break // or it ends at once: nothing can be played of this
		}
	}
	return s.sum(t, b, job.ID, began, time.Since(began))
}

// filmProbe is what a worker finds in a film of 1080p without sound.
func filmProbe(seconds float64) transcode.Probe {
	return transcode.Probe{
		Format: "mov", Seconds: seconds, BitrateBPS: 20_000_000,
		Video: &transcode.VideoStream{Codec: "h264", Width: 1920, Height: 1080, Rate: transcode.Rational{Num: 25, Den: 1}, PixelFormat: "yuv420p", BitrateBPS: 20_000_000, EndSeconds: seconds},
	}
}

func (s simulation) sum(t testing.TB, b *bench, id int64, began time.Time, took time.Duration) simulated {
	job, err := b.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range job.Units {
		if u.State != done {
			t.Fatalf("unit %+v of a job that is %s because %s; want it done", u, job.State, job.Reason)
		}
	}
	speed := 0.0
	for i := s.dead; i < s.nodes; i++ {
		speed += s.speeds(i)
	}
	seconds := func(x float64) time.Duration { return time.Duration(x * float64(time.Second)) }
	out := simulated{took: took, units: len(job.Units) - 1, ideal: seconds(float64(job.TotalFrames) / speed)}
	out.chunk = seconds(float64(job.TotalFrames) / float64(out.units) / (speed / float64(s.nodes-s.dead)))
	if err := b.store.QueryRow(t.Context(), `SELECT count(*) FROM attempts WHERE outcome = ?`, EventStraggler).Scan(&out.doubled); err != nil {
		t.Fatal(err)
	}
	out.lost = s.losses(t, b, began, took, speed)
	return out
}

// losses reads what every worker did when. speed is that of all that live.
func (s simulation) losses(t testing.TB, b *bench, began time.Time, took time.Duration, speed float64) losses {
	rows, err := b.store.Query(t.Context(), `SELECT worker, started, ended, outcome FROM attempts WHERE unit <> 'probe' ORDER BY worker, started`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var l losses
	free := map[string]int64{} // when each was last done with something
	share := map[string]float64{}
	for i := s.dead; i < s.nodes; i++ {
		name := fmt.Sprintf("pi%d", i+1)
		free[name], share[name] = began.UnixNano(), s.speeds(i)/speed
	}
	add := func(to *time.Duration, worker string, ns int64) { *to += time.Duration(float64(ns) * share[worker]) }
	seen := map[string]bool{}
	for rows.Next() {
		var worker, outcome string
		var started, ended int64
		if err := rows.Scan(&worker, &started, &ended, &outcome); err != nil {
			t.Fatal(err)
		}
		if share[worker] == 0 {
			continue
		}
		waited := &l.between
		if !seen[worker] {
			waited = &l.begin
		}
		seen[worker] = true
		add(waited, worker, started-free[worker])
		if outcome != EventDone {
			add(&l.doubled, worker, ended-started)
		}
		free[worker] = ended
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for name, then := range free {
		add(&l.end, name, began.Add(took).UnixNano()-then)
	}
	return l
}

// A node is a worker that sleeps.
type node struct {
	*bench
	name  string
	speed float64
	dies  bool
	conn  *nats.Conn
	next  jetstream.Consumer
}

func (n *node) connect() (err error) {
	if n.conn, err = connect(n.bench, n.name, goodToken(n.name)); err != nil {
		return err
	}
	js, err := jetstream.New(n.conn)
	if err != nil {
		return err
	}
	if n.next, err = js.Consumer(n.t.Context(), transcode.StreamWork, transcode.WorkConsumer(transcode.LaneAny, transcode.PriorityNormal)); err != nil {
		return err
	}
	var reply transcode.HelloReply
	return n.ask(n.t.Context(), transcode.SubjectHello, transcode.Hello{Protocol: transcode.Protocol}, &reply)
}

// ask asks until it is answered, as a worker does.
func (n *node) ask(ctx context.Context, subject string, request, reply any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := n.conn.RequestWithContext(within, subject+"."+n.name, body)
		cancel()
		if err == nil {
			return json.Unmarshal(answer.Data, reply)
		}
	}
	return ctx.Err()
}

// work does units until ctx ends, or the node dies.
func (n *node) work(ctx context.Context) error {
	for units := 1; ; {
		msg, err := n.next.Next(jetstream.FetchContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		if err := msg.DoubleAck(ctx); err != nil {
			return err
		}
		var grant transcode.ClaimReply
		if err := n.ask(ctx, transcode.SubjectClaim, transcode.Claim{}, &grant); err != nil {
			return err
		}
		if grant.Refused != "" {
			continue
		}
		if units++; n.dies && units > 2 {
			return nil
		}
		if err := n.encode(ctx, grant); err != nil {
			return err
		}
	}
}

// encode sleeps as long as the unit takes, and tells how far it is.
func (n *node) encode(ctx context.Context, g transcode.ClaimReply) error {
	began, frames := time.Now(), float64(g.Unit.Frames())
	takes := time.Duration(frames / n.speed * float64(time.Second))
	inbox := n.conn.NewInbox()
	sub, err := n.conn.SubscribeSync(inbox)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	for time.Since(began) < takes {
		if !pause.For(ctx, min(takes-time.Since(began), min(n.claimTTL/10, time.Second))) {
			return ctx.Err()
		}
		p := transcode.Progress{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Frames: int(time.Since(began).Seconds() * n.speed), FPS: n.speed}
		body, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if err := n.conn.PublishRequest(transcode.SubjectProgress+"."+n.name, inbox, body); err != nil {
			return err
		}
		if told, _ := sub.NextMsg(time.Microsecond); told != nil {
			return nil // it no longer counts
		}
	}
	result, err := n.result(g)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a faster node's result was accepted meanwhile, and the directory of this one removed
	}
	if err != nil {
		return err
	}
	var v transcode.Verdict
	return n.ask(ctx, transcode.SubjectDone, transcode.Done{Job: g.Job, Unit: g.Unit.ID, Attempt: g.Attempt, Result: result}, &v)
}

// result makes files that nobody looks into, of every rendition.
func (n *node) result(g transcode.ClaimReply) (transcode.Result, error) {
	var all transcode.Result
	for i, p := range transcode.Pieces(g.Unit, all) {
		r, err := n.pretend(p.Unit, filepath.Join(scratchDir(n.media(""), n.name, g.Job, g.Unit.ID, g.Attempt), p.Dir))
		if err != nil {
			return all, err
		}
		if i == 0 {
			all = r
		} else {
			all.Others = append(all.Others, r)
		}
	}
	return all, nil
}

func (n *node) pretend(u transcode.Unit, dir string) (transcode.Result, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return transcode.Result{}, err
	}
	r, grid := transcode.Result{Codecs: "avc1.4d400d"}, u.Video.Grid
	first, end := u.Video.Segments()
	for i := first; i < end; i++ {
		from, to := grid.Segment(i)
		name := u.Container().SegmentName(i)
		content := []byte(u.Dir() + name)
		sum := sha256.Sum256(content)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return r, err
		}
		r.Segments = append(r.Segments, transcode.Segment{
			Name: name, SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Frames: to - from, Key: true,
			FirstPTS: grid.PTS(from), LastPTS: grid.PTS(to - 1), Seconds: grid.Seconds(to - from),
		})
	}
	return r, nil
}

// mixed are speeds from half of the average to one and a half of it.
func mixed(average float64) func(i int) float64 {
	return func(i int) float64 {
		return average * (0.5 + rand.New(rand.NewPCG(1, uint64(i))).Float64())
	}
}

// Twenty boards of mixed speeds, one of which dies, finish what they begin.
func TestSimulatedCluster(t *testing.T) {
	t.Parallel()
	s := simulation{nodes: 20, dead: 1, film: 600, speeds: mixed(3000), ttl: 4 * time.Second}
	got := s.run(t)
	t.Logf("%d units in %v; ideal %v; %d stragglers", got.units, got.took, got.ideal, got.doubled)
}
