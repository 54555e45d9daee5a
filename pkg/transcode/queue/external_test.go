package queue

import (
	"log/slog"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/broker/natstest"
)

const manual = "../../../docs/machines.md"

// startExternal runs a queue on a server that is not its own.
func startExternal(t *testing.T, s *natstest.Server, extra string) *bench {
	t.Helper()
	return start(t, newDirs(t), func(o *Options) { o.Broker = connectExternal(t, s, extra) })
}

func connectExternal(t *testing.T, s *natstest.Server, extra string) *broker.Broker {
	t.Helper()
	c, err := broker.ParseCredentials([]byte(s.Credentials + extra))
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Connect(broker.ExternalOptions{
		URL: s.URL(), Credentials: c, Authenticate: authenticate, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Who may do what is the same as with the embedded server.
func TestExternalServerAsksWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	b := startExternal(t, natstest.Start(t, manual), "")
	onlyKnownWorkersConnect(t, b)
	workerSpeaksForItselfOnly(t, b)
	if err := b.broker.Disconnect("pi1"); err != nil {
		t.Errorf("Disconnect = %v", err)
	}
}

// The server may have accounts; the daemon and its workers meet in one.
func TestExternalServerWithAccounts(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, manual,
		"users: [ {", "# {", // the account has them
		"auth_callout {", "auth_callout { account: VIDEO,",
		"authorization {", `accounts { VIDEO { jetstream: enabled, users: [ { user: "pibootd", password: "`+natstest.Password+`" } ] } }
authorization {`)
	b := startExternal(t, s, "account = \"VIDEO\"\n")
	b.submit(fixtureRequest)
	b.join("pi1", transcode.Hello{}).do()
}

// The reason is plain where the server has no JetStream.
func TestExternalServerWithoutJetStream(t *testing.T) {
	t.Parallel()
	b := connectExternal(t, natstest.Start(t, manual, "jetstream {", "#"), "")
	defer b.Close()
	q := &Queue{broker: b, conn: b.Conn(), lanes: map[string]bool{}}
	if err := q.openStream(t.Context()); err == nil || !strings.Contains(err.Error(), "the server needs jetstream in its configuration") {
		t.Errorf("without JetStream: %v; want that the server needs it", err)
	}
}
