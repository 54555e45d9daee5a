package queue

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"

	"github.com/nats-io/nats.go"
)

func TestOnlyKnownWorkersConnect(t *testing.T) {
	t.Parallel()
	onlyKnownWorkersConnect(t, start(t, newDirs(t), nil))
}

func onlyKnownWorkersConnect(t *testing.T, b *bench) {
	t.Helper()
	for _, c := range []struct{ name, token string }{
		{"pi1", "guess"},
		{"pi1", ""},
		{"", ""},
		{"stranger", goodToken("stranger")},
		{"pi*", goodToken("pi*")},
		{"pi.>", goodToken("pi.>")},
		{"piA", goodToken("piA")},
		{"pi_a", goodToken("pi_a")},
		{"pi1.pi2", goodToken("pi1.pi2")},
		{"pi" + strings.Repeat("x", pi.MaxLabel), goodToken("pi" + strings.Repeat("x", pi.MaxLabel))},
	} {
		conn, err := nats.Connect(b.broker.URL(), nats.UserInfo(c.name, c.token))
		if err == nil {
			conn.Close()
		}
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("connecting as %q with %q: %v; want %v", c.name, c.token, err, nats.ErrAuthorization)
		}
	}
}

func TestWorkerSpeaksForItselfOnly(t *testing.T) {
	t.Parallel()
	workerSpeaksForItselfOnly(t, start(t, newDirs(t), nil))
}

func workerSpeaksForItselfOnly(t *testing.T, b *bench) {
	t.Helper()
	b.submit(fixtureRequest)
	m := b.join("pi1", transcode.Hello{})
	for _, subject := range []string{
		"pb.claim.pi2", "pb.done.pi2", "pb.logs.pi2", "pb.claim", "pb.work.any.no.probe.1.probe", "_INBOX.pi2.x",
		"$JS.API.STREAM.DELETE.PB_WORK", "$JS.API.STREAM.PURGE.PB_WORK", "$JS.API.STREAM.CREATE.mine", "$JS.API.STREAM.MSG.GET.PB_WORK",
		"$JS.API.CONSUMER.CREATE.PB_WORK.mine", "$JS.API.CONSUMER.DURABLE.CREATE.PB_WORK.mine",
		"$JS.API.CONSUMER.DELETE.PB_WORK.work_any_no", "$JS.API.CONSUMER.MSG.NEXT.OTHER.x", "$SYS.REQ.SERVER.PING",
	} {
		if err := m.violates(func() error { return m.conn.Publish(subject, []byte("{}")) }); err != nil {
			t.Errorf("publishing on %s: %v", subject, err)
		}
	}
	for _, subject := range []string{"pb.>", ">", "_INBOX.>", "_INBOX.pi2.>", "$JS.>", "$SYS.>"} {
		subscribe := func() error { _, err := m.conn.SubscribeSync(subject); return err }
		if err := m.violates(subscribe); err != nil {
			t.Errorf("subscribing to %s: %v", subject, err)
		}
	}
	m.do() // it is still welcome
}

// violates does something and returns an error unless the server forbids it.
func (m *member) violates(f func() error) error {
	forbidden := make(chan error, 1)
	m.conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { forbidden <- err })
	if err := errors.Join(f(), m.conn.Flush()); err != nil {
		return err
	}
	select {
	case err := <-forbidden:
		if errors.Is(err, nats.ErrPermissionViolation) {
			return nil
		}
		return err
	case <-time.After(5 * time.Second):
		return errors.New("the server has let it through")
	}
}

// A worker can name any subject for the answer to what it asks. It must not be
// able to make the queue, or the stream, speak in another worker's place.
func TestReplySubjectIsNotForged(t *testing.T) {
	t.Parallel()
	blamed := make(chan string, 100)
	b := start(t, newDirs(t), func(o *Options) { o.OnMisuse = func(worker, what string) { blamed <- worker + ": " + what } })
	b.submit(fixtureRequest)
	evil, good := b.join("pi1", transcode.Hello{}), b.join("pi2", transcode.Hello{})
	next := "$JS.API.CONSUMER.MSG.NEXT.PB_WORK." + transcode.WorkConsumer(transcode.LaneAny, transcode.PriorityNormal)
	if err := evil.conn.PublishRequest(next, "pb.claim.pi2", []byte(`{"batch":1}`)); err != nil {
		t.Fatal(err)
	}
	claim, err := json.Marshal(transcode.Claim{Job: 1, Unit: "probe"})
	if err != nil {
		t.Fatal(err)
	}
	if err := evil.conn.PublishRequest("pb.claim.pi1", "pb.claim.pi2", claim); err != nil {
		t.Fatal(err)
	}
	for _, odd := range []struct{ subject, body string }{
		{"pb.hello.pi1", "no JSON"}, {"pb.hello.pi1", `{"mux_id":-1}`}, {"pb.claim.pi1", strings.Repeat(" ", maxSmall+1)},
	} {
		if err := evil.conn.PublishRequest(odd.subject, "_INBOX.pi1.x", []byte(odd.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := evil.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	// Claims are answered in order, so those are behind us when this is answered.
	if reply := good.claim(); reply.Attempt != 1 {
		t.Errorf("claim: %+v; want it granted", reply)
	}
	if got := b.claims.byWorker(); len(got) != 1 || got["pi2"].key.job != 1 {
		t.Errorf("claims: %+v; want the one of pi2", got)
	}
	evil.ask(transcode.SubjectHello, transcode.Hello{Protocol: transcode.Protocol}, new(transcode.HelloReply)) // the hellos are behind us, too
	close(blamed)
	var got []string
	for what := range blamed {
		got = append(got, what)
	}
	slices.Sort(got)
	const rule = "pi1: a message to the queue is against its rules: "
	want := []string{
		rule + "muxer id -1; want 0 to 1048576",
		rule + "pb.claim has 65537 bytes; want 65536 at most",
		rule + "reading transcode.Hello: invalid character 'o' in literal null (expecting 'u')",
		rule + `reply subject "pb.claim.pi2"; want one of _INBOX.pi1.>`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("blamed are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
