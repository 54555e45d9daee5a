package broker

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"pibootd/pkg/transcode/broker/natstest"
)

const manual = "../../../docs/machines.md"

func externalTo(t *testing.T, url, credentials string) ExternalOptions {
	t.Helper()
	c, err := ParseCredentials([]byte(credentials))
	if err != nil {
		t.Fatal(err)
	}
	return ExternalOptions{URL: url, Credentials: c, Authenticate: authenticate, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// A worker that was removed is let in for a while at most.
func TestExternalServerAsksAgain(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, manual)
	o := externalTo(t, s.URL(), s.Credentials)
	var removed atomic.Bool
	o.Authenticate = func(worker, token string) bool { return !removed.Load() && authenticate(worker, token) }
	o.stay = 3 * time.Second // a token expires at a full second, and must not before the worker is there
	b, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	conn, err := connect(b, "pi1", goodToken("pi1"))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(gone) })
	removed.Store(true)
	wantCutOff(t, b, gone)
}

// The server tells nobody how many connections a worker has: what bounds them is how
// often it is let in, each time for a while.
func TestExternalServerLetsAWorkerInSoOften(t *testing.T) {
	t.Parallel()
	var refused refusals
	s := natstest.Start(t, manual)
	o := externalTo(t, s.URL(), s.Credentials)
	o.OnRefused = refused.add
	b, err := Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	let := 0
	for range 5 * loginsAtOnce {
		conn, err := connect(b, "pi1", goodToken("pi1"))
		if err == nil {
			defer conn.Close()
			let++
		}
	}
	if let < loginsAtOnce || let > 2*loginsAtOnce { // time passes
		t.Errorf("%d connections of one worker; want about %d", let, loginsAtOnce)
	}
	if n := refused.count(Refusal{"pi1", netip.MustParseAddr("127.0.0.1"), TooOften}); n != 5*loginsAtOnce-let {
		t.Errorf("%d were reported; want %d", n, 5*loginsAtOnce-let)
	}
	other, err := connect(b, "pi2", goodToken("pi2"))
	if err != nil {
		t.Fatalf("another worker: %v; want it let in", err)
	}
	other.Close()
	_, _ = connect(b, "pi2", "guess")
	if n := refused.count(Refusal{"pi2", netip.MustParseAddr("127.0.0.1"), WrongLogin}); n != 1 {
		t.Errorf("a wrong token was reported %d times; want once", n)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	b := newBudget(loginsPerPass * time.Minute)
	now := time.Unix(1000, 0)
	spend := func(times int, at time.Duration) (n int) {
		for range times {
			if b.spend("pi1", now.Add(at)) {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		at   time.Duration
		want int
	}{{0, loginsAtOnce}, {59 * time.Second, 0}, {time.Minute, 1}, {3 * time.Minute, 2}, {time.Hour, loginsAtOnce}} {
		if got := spend(100, tt.at); got != tt.want {
			t.Errorf("after %v: %d logins; want %d", tt.at, got, tt.want)
		}
	}
}

func TestExternalServerCannotBeUsed(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "nats://" + closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	s := natstest.Start(t, manual)
	for _, tt := range []struct{ url, credentials, want string }{
		{nobody, s.Credentials, `as "pibootd": nats: no servers available for connection; is it running, and is queue.url right?`},
		{s.URL(), strings.Replace(s.Credentials, natstest.Password, "guess", 1), "nats: Authorization Violation; it has to know the user and password of queue.credentials"},
	} {
		b, err := Connect(externalTo(t, tt.url, tt.credentials))
		if err == nil {
			b.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Connect = %v; want %s", err, tt.want)
		}
	}
}

func TestParseCredentials(t *testing.T) {
	t.Parallel()
	account, user := seed(t, nkeys.CreateAccount), seed(t, nkeys.CreateUser)
	for _, tt := range []struct{ text, want string }{
		{"user = \"a\"\npassword = \"b\"\nissuer = \"" + account + "\"", ""},
		{"user = \"a\"\npassword = \"\"\nissuer = \"" + account + "\"", "user or password is empty"},
		{"user = \"a\"\npassword = \"b\"\nissuer = \"" + user + "\"", "issuer is not the seed of an account's key; want the line with SA"},
		{"user = \"a\"\npassword = \"b\"\nissuer = \"SAxyz\"", "issuer is not the seed"},
		{"user = \"a\"\npassword = \"b\"", "issuer is not the seed"},
		{"user = \"a\"\nsecret = \"b\"", "it is not TOML with user, password, issuer"},
		{"pibootd:b", "it is not TOML"},
	} {
		_, err := ParseCredentials([]byte(tt.text))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("ParseCredentials(%q) = %v; want %q", tt.text, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), user) {
			t.Errorf("the error quotes the seed: %v", err)
		}
	}
}

func seed(t testing.TB, make func() (nkeys.KeyPair, error)) string {
	t.Helper()
	key, err := make()
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Questions come from a server that is not ours, and may be anything.
func FuzzCallout(f *testing.F) {
	c, err := ParseCredentials([]byte("user = \"a\"\npassword = \"b\"\nissuer = \"" + seed(f, nkeys.CreateAccount) + "\""))
	if err != nil {
		f.Fatal(err)
	}
	out, err := newCallout(ExternalOptions{Credentials: c, Authenticate: authenticate}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	key, err := nkeys.CreateServer()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("U", "Client", "pi1", goodToken("pi1"))
	f.Add("", "Leafnode", "pi1", goodToken("pi1"))
	f.Fuzz(func(t *testing.T, nkey, kind, worker, token string) {
		asked := jwt.NewAuthorizationRequestClaims(out.public)
		asked.UserNkey, asked.ClientInformation.Kind, asked.ClientInformation.Type = nkey, kind, "nats"
		asked.ConnectOptions.Username, asked.ConnectOptions.Password = worker, token
		question, err := asked.Encode(key)
		if err != nil {
			return
		}
		for _, text := range []string{question, nkey, kind + "." + worker + "." + token} {
			reply, err := out.decide([]byte(text))
			if err != nil {
				continue
			}
			answer, err := jwt.DecodeAuthorizationResponseClaims(string(reply))
			if err != nil {
				t.Fatalf("%q is answered by %q: %v", text, reply, err)
			}
			if answer.Jwt != "" && (!authenticate(worker, token) || kind != "Client") {
				t.Errorf("%q with %q is let in", worker, token)
			}
		}
	})
}
