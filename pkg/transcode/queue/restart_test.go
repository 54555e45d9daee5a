package queue

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// daemonDir names the variable that makes the test binary a daemon, which tests
// can kill without warning.
const daemonDir = "PIBOOTD_QUEUE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(daemonDir); dir != "" {
		fmt.Fprintln(os.Stderr, daemon(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// daemon runs a queue on dir until it is killed. It says on stdout where it
// listens, and submits the fixture's request.
func daemon(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, filepath.Join(dir, "pibootd.db"))
	if err != nil {
		return err
	}
	broker, err := broker.Start(broker.Options{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: filepath.Join(dir, "js"), Authenticate: authenticate,
	})
	if err != nil {
		return err
	}
	q, err := Open(ctx, Options{Store: s, MediaDir: filepath.Join(dir, "media"), Broker: broker})
	if err != nil {
		return err
	}
	if _, _, err := q.Submit(ctx, fixtureRequest); err != nil {
		return err
	}
	fmt.Println(broker.Addr())
	return q.Run(ctx)
}

// A killable is a daemon in a process of its own.
type killable struct {
	t    *testing.T
	addr string
	cmd  *exec.Cmd
}

func startKillable(t *testing.T, dir string) *killable {
	t.Helper()
	k := &killable{t: t, cmd: exec.Command(os.Args[0])}
	k.cmd.Env = append(os.Environ(), daemonDir+"="+dir)
	k.cmd.Stderr = t.Output()
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.kill)
	if k.addr, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the daemon did not start: %v", err)
	}
	k.addr = strings.TrimSpace(k.addr)
	return k
}

// kill is kill -9. Doing it twice is doing it once.
func (k *killable) kill() {
	if k.cmd.ProcessState == nil {
		_ = k.cmd.Process.Kill()
		_ = k.cmd.Wait()
	}
}

// join connects a worker to a daemon in another process.
func (k *killable) join(dir, name string) *member {
	k.t.Helper()
	conn, err := nats.Connect("nats://"+k.addr, nats.UserInfo(name, goodToken(name)),
		nats.CustomInboxPrefix("_INBOX."+name), nats.MaxReconnects(0))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		k.t.Fatal(err)
	}
	m := &member{t: k.t, name: name, media: filepath.Join(dir, "media"), conn: conn, js: js}
	var reply transcode.HelloReply
	m.ask(transcode.SubjectHello, transcode.Hello{Protocol: transcode.Protocol}, &reply)
	return m
}

// The daemon is killed again and again: before a claim, while one runs, after a
// result was accepted and before its message was acknowledged, and right after
// the last result. The worker hands in what it had claimed as if nothing were.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	dir := newDirs(t)
	k := startKillable(t, dir)
	again := func() *member {
		t.Helper()
		k.kill()
		k = startKillable(t, dir)
		return k.join(dir, "pi1")
	}
	units := 1 + len(theFixture(t).plan.Units)
	m := again()
	work, grant := m.take()
	for i := range units {
		m = again()
		m.write(work, grant.Attempt)
		for range 2 {
			if v := m.done(work, grant.Attempt); !v.Accepted {
				t.Fatalf("result of %v after a kill: %s", work, v.Reason)
			}
			if i < units-1 {
				m = again()
			}
		}
		if i < units-1 {
			work, grant = m.next()
		}
	}
	k.kill()
	b := start(t, dir, nil)
	job := b.waitEnd(1)
	for _, u := range job.Units {
		if u.Attempt != 1 {
			t.Errorf("%s: attempt %d; want the first to have been good enough", u.ID, u.Attempt)
		}
	}
	b.stop()
	b.checkFiles("hls/clip")
	b.checkSwept(job.ID)
}

// next takes the next unit, past messages with nothing behind them.
func (m *member) next() (transcode.Work, transcode.ClaimReply) {
	m.t.Helper()
	for {
		m.fetch()
		reply := m.claim()
		if reply.Refused == "" {
			return transcode.Work{Job: reply.Job, Unit: reply.Unit.ID}, reply
		}
		if !reply.Gone {
			m.t.Fatalf("claim: %+v; want it granted or gone", reply)
		}
	}
}

// What JetStream has stored can be thrown away between two runs.
func TestStreamIsRebuilt(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	job := b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	m.do()
	work, grant := m.take()
	b.stop()
	if err := os.RemoveAll(filepath.Join(b.dir, "js")); err != nil {
		t.Fatal(err)
	}
	b = b.restart(nil)
	m = b.join("pi1", transcode.Hello{})
	m.write(work, grant.Attempt)
	if v := m.done(work, grant.Attempt); !v.Accepted {
		t.Fatal(v.Reason)
	}
	m.do()
	m.do()
	b.waitEnd(job.ID)
	b.stop()
	b.checkFiles("hls/clip")
	b.checkSwept(job.ID)
}

// The worker of a claim did not survive the daemon's restart.
func TestClaimOfLostWorkerExpiresAfterRestart(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	b.submit(fixtureRequest)
	b.join("pi1", transcode.Hello{}).take()
	b = b.restart(soon)
	b.waitEvent(EventExpired, "probe")
	if _, grant := b.join("pi2", transcode.Hello{}).take(); grant.Attempt != 2 {
		t.Errorf("claim: %+v; want attempt 2", grant)
	}
}

// Messages that the stream has lost while the daemon runs come back.
func TestLostMessagesAreAnnouncedAgain(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	m.do()
	if err := b.stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds everything announced
		if err := b.reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	info, err := b.stream.Info(t.Context())
	if want := uint64(len(theFixture(t).plan.Units)); err != nil || info.State.Msgs < want {
		t.Errorf("%d messages, %v; want %d at least", info.State.Msgs, err, want)
	}
}

// A worker dies with the message that announces a unit, and the server's clock is set back, so that it
// does not deliver that again. Another worker is woken all the same.
func TestUnitOfAMessageThatNobodyAcknowledges(t *testing.T) {
	t.Parallel()
	b := start(t, newDirs(t), nil)
	b.submit(fixtureRequest)
	dead := b.join("pi1", transcode.Hello{})
	consumer, err := dead.js.Consumer(t.Context(), transcode.StreamWork, transcode.WorkConsumer(transcode.LaneAny, transcode.PriorityNormal))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.Next(jetstream.FetchMaxWait(patience)); err != nil {
		t.Fatal(err)
	}
	if err := b.reconcile(t.Context()); err != nil { // it notes the message
		t.Fatal(err)
	}
	b.lanesMu.Lock()
	last := b.stalls[transcode.LaneAny]
	b.stalls[transcode.LaneAny] = stall{last.message, last.since.Add(-2 * ackWait)} // that time has passed
	b.lanesMu.Unlock()
	if err := b.reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if info, err := consumer.Info(t.Context()); err != nil || info.NumPending == 0 {
		t.Errorf("%d messages wait for a worker, %v; want one", info.NumPending, err)
	}
}
