package worker

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"pibootd/pkg/transcode"
)

const (
	testWorker = "10000000abcd0001"
	testToken  = "secret"
	patience   = time.Minute // of a test that waits for something that must come
)

// A testQueue is a real server that plays the queue's part as a test says. It
// allows a worker what the queue does and nothing more.
type testQueue struct {
	*testing.T
	dir    string
	port   int
	server *server.Server
	nc     *nats.Conn
	js     jetstream.JetStream

	hellos   chan transcode.Hello
	claims   chan transcode.Claim
	progress chan transcode.Progress
	dones    chan transcode.Done
	failures chan transcode.Failed
	logs     chan transcode.Logs

	announced atomic.Int64 // work messages

	every   atomic.Int64 // seconds between hellos; 0 means 1
	drain   atomic.Bool  // what is asked of the worker
	revoked atomic.Bool  // progress is answered: the attempt does not count

	// What is answered; set before start.
	claim   func(transcode.Claim) transcode.ClaimReply
	verdict transcode.Verdict
	silent  atomic.Bool // results are not answered
}

func newTestQueue(t *testing.T) *testQueue {
	return &testQueue{
		T: t, dir: t.TempDir(), port: server.RANDOM_PORT,
		hellos:   make(chan transcode.Hello, 1000),
		claims:   make(chan transcode.Claim, 1000),
		progress: make(chan transcode.Progress, 10000),
		dones:    make(chan transcode.Done, 1000),
		failures: make(chan transcode.Failed, 1000),
		logs:     make(chan transcode.Logs, 1000),
		verdict:  transcode.Verdict{Accepted: true},
	}
}

func workerPermissions(name string) *server.Permissions {
	var publish []string
	for _, s := range []string{"hello", "claim", "progress", "done", "failed", "logs"} {
		publish = append(publish, "pb."+s+"."+name)
	}
	publish = append(publish, "$JS.API.CONSUMER.MSG.NEXT.PB_WORK.>", "$JS.API.CONSUMER.INFO.PB_WORK.>", "$JS.ACK.PB_WORK.>")
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX." + name + ".>"}},
	}
}

// start starts the server, on the port and the store that it had before.
func (q *testQueue) start() {
	q.Helper()
	var err error
	q.server, err = server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: q.port, JetStream: true, StoreDir: q.dir, NoSigs: true, NoLog: true,
		Users: []*server.User{
			{Username: testWorker, Password: testToken, Permissions: workerPermissions(testWorker)},
			{Username: "queue", Password: "queue"},
		},
	})
	if err != nil {
		q.Fatal(err)
	}
	q.server.Start()
	q.Cleanup(q.stop)
	if !q.server.ReadyForConnections(patience) {
		q.Fatal("the NATS server does not start")
	}
	q.port = q.server.Addr().(*net.TCPAddr).Port
	q.connect()
}

// stop ends the server as kill -9 would, as far as a worker can tell.
func (q *testQueue) stop() {
	q.nc.Close()
	q.server.Shutdown()
	q.server.WaitForShutdown()
}

func (q *testQueue) connect() {
	q.Helper()
	var err error
	if q.nc, err = nats.Connect("", nats.InProcessServer(q.server), nats.UserInfo("queue", "queue")); err != nil {
		q.Fatal(err)
	}
	if q.js, err = jetstream.New(q.nc); err != nil {
		q.Fatal(err)
	}
	if _, err := q.js.CreateOrUpdateStream(q.Context(), jetstream.StreamConfig{
		Name: transcode.StreamWork, Subjects: []string{transcode.SubjectWork + ".>"}, Retention: jetstream.WorkQueuePolicy,
	}); err != nil {
		q.Fatal(err)
	}
	q.openLane(transcode.LaneAny)
	answer(q, transcode.SubjectHello, q.hellos, func(transcode.Hello) any {
		return transcode.HelloReply{EverySeconds: int(max(q.every.Load(), 1)), Drain: q.drain.Load(), Logs: true}
	})
	answer(q, transcode.SubjectClaim, q.claims, func(c transcode.Claim) any { return q.claim(c) })
	answer(q, transcode.SubjectProgress, q.progress, func(transcode.Progress) any {
		if !q.revoked.Load() {
			return nil
		}
		return transcode.Verdict{Reason: "the job was cancelled"}
	})
	answer(q, transcode.SubjectDone, q.dones, func(transcode.Done) any {
		if q.silent.Load() {
			return nil
		}
		return q.verdict
	})
	answer(q, transcode.SubjectLogs, q.logs, func(transcode.Logs) any { return q.verdict })
	answer(q, transcode.SubjectFailed, q.failures, func(transcode.Failed) any { return q.verdict })
}

// answer notes every message of a kind and answers it.
func answer[M any](q *testQueue, subject string, seen chan<- M, reply func(M) any) {
	q.Helper()
	_, err := q.nc.Subscribe(subject+".*", func(msg *nats.Msg) {
		var m M
		if err := json.Unmarshal(msg.Data, &m); err != nil || !strings.HasSuffix(msg.Subject, "."+testWorker) {
			q.Errorf("%s: %q: %v", msg.Subject, msg.Data, err)
			return
		}
		select {
		case seen <- m:
		default:
			q.Errorf("too many messages on %s", msg.Subject)
		}
		if reply == nil {
			return
		}
		said := reply(m)
		if said == nil {
			return
		}
		body, err := json.Marshal(said)
		if err == nil {
			err = msg.Respond(body)
		}
		if err != nil && !q.nc.IsClosed() {
			q.Errorf("answering %s: %v", msg.Subject, err)
		}
	})
	if err != nil {
		q.Fatal(err)
	}
}

func (q *testQueue) openLane(lane string) {
	q.Helper()
	if _, err := q.js.CreateOrUpdateConsumer(q.Context(), transcode.StreamWork, jetstream.ConsumerConfig{
		Durable: transcode.WorkConsumer(lane, transcode.PriorityNormal), FilterSubject: transcode.WorkFilter(lane, transcode.PriorityNormal),
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: patience, MaxDeliver: -1,
	}); err != nil {
		q.Fatal(err)
	}
}

// announce publishes a unit of job 1.
func (q *testQueue) announce(lane string, u transcode.Unit) {
	q.Helper()
	body, err := json.Marshal(transcode.Work{Job: 1, Unit: u.ID})
	if err != nil {
		q.Fatal(err)
	}
	if _, err := q.js.Publish(q.Context(), transcode.WorkSubject(lane, transcode.PriorityNormal, q.announced.Add(1)), body); err != nil {
		q.Fatal(err)
	}
}

// messages returns how many work messages there are still.
func (q *testQueue) messages() int {
	q.Helper()
	stream, err := q.js.Stream(context.Background(), transcode.StreamWork)
	if err != nil {
		q.Fatal(err)
	}
	return int(stream.CachedInfo().State.Msgs)
}

// grant grants every claim of units, the first attempt being number 1.
func grant(units ...transcode.Unit) func(transcode.Claim) transcode.ClaimReply {
	attempts := make(map[string]int)
	return func(c transcode.Claim) transcode.ClaimReply {
		for _, u := range units {
			if u.ID == c.Unit {
				attempts[u.ID]++
				return transcode.ClaimReply{Attempt: attempts[u.ID], Unit: u}
			}
		}
		return transcode.ClaimReply{Refused: "no such unit", Gone: true}
	}
}

// wait returns the next of what must come.
func wait[M any](t *testing.T, what string, c <-chan M) M {
	t.Helper()
	select {
	case m := <-c:
		return m
	case <-time.After(patience):
		t.Fatalf("no %s within %v", what, patience)
		panic("not reached")
	}
}

// A running worker of a test.
type running struct {
	*Worker
	media string
	logs  chan string // messages, for tests that wait for one
	end   context.CancelFunc
	ended chan error
}

// runWorker runs a worker on q with a media share that holds source, if that
// is not "", as in/a.mp4. change may change the worker before.
func runWorker(t *testing.T, q *testQueue, source string, change func(*Worker)) *running {
	t.Helper()
	media := t.TempDir()
	if source != "" {
		if err := os.Mkdir(filepath.Join(media, "in"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(source, filepath.Join(media, "in", "a.mp4")); err != nil {
			t.Fatal(err)
		}
	}
	w := &Worker{
		Config:  Config{Name: testWorker, Token: testToken, QueueURL: q.server.ClientURL(), MediaDir: media},
		Version: "test",
	}
	w.pace = pace{fetch: time.Second, refusal: 10 * time.Millisecond}
	if change != nil {
		change(w)
	}
	return startWorker(t, w)
}

// attemptDir is where an attempt of job 1 writes its files.
func (r *running) attemptDir(unit string, attempt int) string {
	return filepath.Join(r.media, transcode.ScratchOf(testWorker), transcode.ScratchName(1, unit, attempt))
}

// startWorker runs w, in a hurry, until the test ends.
func startWorker(t *testing.T, w *Worker) *running {
	t.Helper()
	r := &running{Worker: w, media: w.Config.MediaDir, logs: make(chan string, 10000), ended: make(chan error, 1)}
	w.Log = slog.New(&watched{Handler: testLog(t).Handler(), messages: r.logs, t: t})
	w.pace.progress, w.pace.retry = 10*time.Millisecond, 10*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	r.end = cancel
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.ended <- r.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-stopped })
	return r
}

// A watched handler tells of every message, and fails the test for what no
// worker may try.
type watched struct {
	slog.Handler
	messages chan<- string
	t        *testing.T
}

func (w *watched) Handle(ctx context.Context, record slog.Record) error {
	text := record.Message
	record.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	if strings.Contains(text, "Permissions Violation") {
		w.t.Errorf("the worker did what it may not: %s", text)
	}
	select {
	case w.messages <- text:
	default:
	}
	return w.Handler.Handle(ctx, record)
}

func (w *watched) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &watched{Handler: w.Handler.WithAttrs(attrs), messages: w.messages, t: w.t}
}

// waitLog waits for a log message that begins like this.
func (r *running) waitLog(t *testing.T, prefix string) {
	t.Helper()
	for !strings.HasPrefix(wait(t, "log message "+prefix, r.logs), prefix) {
	}
}
