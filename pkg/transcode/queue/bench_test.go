package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience bounds every wait of a test that would otherwise never end.
const patience = 60 * time.Second

// A bench is a daemon's queue on directories that outlive it.
type bench struct {
	*Queue
	t      testing.TB
	dir    string
	events chan UnitEvent
	comes  chan WorkerEvent
	stop   func()
}

// newDirs returns a directory with a media share that holds the source.
func newDirs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "media", sourceName)
	if err := os.MkdirAll(filepath.Dir(source), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(source, theFixture(t).source, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// goodToken is what a worker of this name is let in with.
func goodToken(worker string) string { return "token of " + worker }

func authenticate(worker, token string) bool {
	return strings.HasPrefix(worker, "pi") && token == goodToken(worker)
}

// start runs a queue on dir; change may alter its options.
func start(t testing.TB, dir string, change func(*Options)) *bench {
	t.Helper()
	b := open(t, dir, change)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	release := b.stop
	b.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		release()
	})
	t.Cleanup(func() { b.stop() })
	return b
}

// open opens a queue on dir that nobody runs.
func open(t testing.TB, dir string, change func(*Options)) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, events: make(chan UnitEvent, 1000), comes: make(chan WorkerEvent, 1000)}
	s, err := store.Open(t.Context(), filepath.Join(dir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	o := Options{
		Store: s, MediaDir: filepath.Join(dir, "media"), Log: log,
		OnUnit: func(e UnitEvent) { b.events <- e }, OnWorker: func(e WorkerEvent) { b.comes <- e },
		Revoke: func(*os.File) error { return nil }, // these workers write no more to what they have handed in
	}
	if change != nil {
		change(&o)
	}
	if o.Broker == nil {
		o.Broker, err = broker.Start(broker.Options{
			Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "js"), Authenticate: authenticate, Log: log,
		})
		if err != nil {
			t.Fatal(errors.Join(err, s.Close()))
		}
	}
	if b.Queue, err = Open(t.Context(), o); err != nil {
		o.Broker.Close()
		t.Fatal(errors.Join(err, s.Close()))
	}
	b.stop = sync.OnceFunc(func() {
		defer o.Broker.Close()
		if err := errors.Join(b.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { b.stop() })
	return b
}

// restart stops the queue and runs another on the same directories.
func (b *bench) restart(change func(*Options)) *bench {
	b.stop()
	return start(b.t, b.dir, change)
}

func (b *bench) submit(r transcode.Request) Job {
	b.t.Helper()
	job, _, err := b.Submit(b.t.Context(), r)
	if err != nil {
		b.t.Fatal(err)
	}
	return job
}

// waitEvent waits for an event of a unit.
func (b *bench) waitEvent(event, unit string) UnitEvent {
	b.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-b.events:
			if e.Event == event && e.Unit == unit {
				return e
			}
		case <-timeout:
			b.t.Fatalf("unit %s was not %s", unit, event)
		}
	}
}

// waitEnd waits until a job has ended.
func (b *bench) waitEnd(id int64) Job {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	var last Job
	for job, err := range b.Watch(ctx, id) {
		if err != nil {
			b.t.Fatal(err)
		}
		last = job
	}
	if !last.State.Ended() {
		b.t.Fatalf("job %d is still %s (%s)", id, last.State, last.Reason)
	}
	return last
}

func (b *bench) media(name string) string { return filepath.Join(b.dir, "media", name) }

// A member imitates a worker.
type member struct {
	t       testing.TB
	name    string
	media   string
	session string
	conn    *nats.Conn
	js      jetstream.JetStream
}

func connect(b *bench, name, token string) (*nats.Conn, error) {
	return nats.Connect(b.broker.URL(), nats.UserInfo(name, token),
		nats.CustomInboxPrefix("_INBOX."+name), nats.MaxReconnects(0), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
}

// join connects a worker and says hello, in this build's protocol if hello names
// none.
func (b *bench) join(name string, hello transcode.Hello) *member {
	b.t.Helper()
	m := b.connect(name)
	var reply transcode.HelloReply
	hello.Protocol = cmp.Or(hello.Protocol, transcode.Protocol)
	m.ask(transcode.SubjectHello, hello, &reply)
	if reply.EverySeconds < 1 {
		b.t.Errorf("hello every %d s; want at least 1", reply.EverySeconds)
	}
	return m
}

// connect connects a worker, which says nothing.
func (b *bench) connect(name string) *member {
	b.t.Helper()
	conn, err := connect(b, name, goodToken(name))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		b.t.Fatal(err)
	}
	return &member{t: b.t, name: name, media: filepath.Join(b.dir, "media"), conn: conn, js: js}
}

// ask sends a request and fails the test without an answer.
func (m *member) ask(subject string, request, reply any) {
	m.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		m.t.Fatal(err)
	}
	answer, err := m.conn.Request(subject+"."+m.name, body, patience)
	if err != nil {
		m.t.Fatalf("%s of %s: %v", subject, m.name, err)
	}
	if err := json.Unmarshal(answer.Data, reply); err != nil {
		m.t.Fatal(err)
	}
}

// fetch waits for a work message and acknowledges it.
func (m *member) fetch() {
	m.t.Helper()
	m.fetchLane(transcode.LaneAny)
}

func (m *member) fetchLane(lane string) {
	m.t.Helper()
	consumer, err := m.js.Consumer(m.t.Context(), transcode.StreamWork, transcode.WorkConsumer(lane, transcode.PriorityNormal))
	if err != nil {
		m.t.Fatal(err)
	}
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		m.t.Fatalf("%s fetches: %v", m.name, err)
	}
	m.ack(msg)
}

func (m *member) claim() transcode.ClaimReply {
	m.t.Helper()
	var reply transcode.ClaimReply
	m.ask(transcode.SubjectClaim, transcode.Claim{Session: m.session}, &reply)
	return reply
}

// take fetches a unit and claims it.
func (m *member) take() (transcode.Work, transcode.ClaimReply) {
	m.t.Helper()
	m.fetch()
	grant := m.claim()
	if grant.Refused != "" {
		m.t.Fatalf("claim by %s was refused: %s", m.name, grant.Refused)
	}
	return transcode.Work{Job: grant.Job, Unit: grant.Unit.ID}, grant
}

func (m *member) progress(w transcode.Work, attempt, frames int) {
	m.t.Helper()
	body, err := json.Marshal(transcode.Progress{Job: w.Job, Unit: w.Unit, Attempt: attempt, Frames: frames, FPS: 12.5})
	if err == nil {
		err = errors.Join(m.conn.Publish(transcode.SubjectProgress+"."+m.name, body), m.conn.Flush())
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// write puts the files of a unit where an attempt's files belong.
func (m *member) write(w transcode.Work, attempt int) {
	m.t.Helper()
	writeAttempt(m.t, m.media, m.name, w, attempt)
}

func writeAttempt(t testing.TB, media, worker string, w transcode.Work, attempt int) {
	t.Helper()
	dir := scratchDir(media, worker, w.Job, w.Unit, attempt)
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, data := range theFixture(t).files[w.Unit] {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// scratchDir is where a worker writes an attempt.
func scratchDir(media, worker string, job int64, unit string, attempt int) string {
	return filepath.Join(media, transcode.ScratchOf(worker), transcode.ScratchName(job, unit, attempt))
}

func (m *member) done(w transcode.Work, attempt int) transcode.Verdict {
	m.t.Helper()
	return m.hand(transcode.Done{Job: w.Job, Unit: w.Unit, Attempt: attempt, Result: theFixture(m.t).results[w.Unit]})
}

func (m *member) hand(d transcode.Done) transcode.Verdict {
	m.t.Helper()
	var verdict transcode.Verdict
	m.ask(transcode.SubjectDone, d, &verdict)
	return verdict
}

func (m *member) failed(f transcode.Failed) transcode.Verdict {
	m.t.Helper()
	var verdict transcode.Verdict
	m.ask(transcode.SubjectFailed, f, &verdict)
	return verdict
}

func (m *member) ack(msg jetstream.Msg) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	if err := msg.DoubleAck(ctx); err != nil {
		m.t.Fatalf("%s acknowledges: %v", m.name, err)
	}
}

// do does one unit.
func (m *member) do() transcode.Work {
	m.t.Helper()
	work, grant := m.take()
	m.write(work, grant.Attempt)
	if v := m.done(work, grant.Attempt); !v.Accepted {
		m.t.Fatalf("%v of %s was not accepted: %s", work, m.name, v.Reason)
	}
	return work
}
