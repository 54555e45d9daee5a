package broker

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/pelletier/go-toml/v2"
)

// ExternalOptions say how to reach an external NATS server.
type ExternalOptions struct {
	// URL is one of nats:// or tls://, or several of one cluster's servers with
	// commas between them, as workers can reach them too.
	URL         string
	Credentials Credentials
	// Authenticate is called at every login of a worker.
	Authenticate func(worker, token string) bool
	OnRefused    func(Refusal) // called for each refused login; may be nil
	Log          *slog.Logger  // nil discards

	stay time.Duration // validity of a login; 0 means workerStay
}

// Credentials let the daemon log in to an external server and decide about the logins
// of others.
type Credentials struct {
	User     string
	Password string
	Account  string        // of the daemon and its workers
	issuer   nkeys.KeyPair // whose signature the server trusts
}

// ParseCredentials reads the file of queue.credentials. Errors do not quote it.
func ParseCredentials(text []byte) (Credentials, error) {
	var file struct {
		User     string `toml:"user"`
		Password string `toml:"password"`
		Issuer   string `toml:"issuer"`
		Account  string `toml:"account"`
	}
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return Credentials{}, errors.New(`it is not TOML with user, password, issuer and perhaps account, as in user = "pibootd"`)
	}
	if file.User == "" || file.Password == "" {
		return Credentials{}, errors.New("user or password is empty; want those that the server's configuration has for pibootd")
	}
	issuer, err := nkeys.FromSeed([]byte(file.Issuer))
	if err == nil {
		var public string
		public, err = issuer.PublicKey()
		if err == nil && !nkeys.IsValidPublicAccountKey(public) {
			err = errors.New("another kind of key")
		}
	}
	if err != nil {
		return Credentials{}, errors.New("issuer is not the seed of an account's key; want the line with SA that nk -gen account prints")
	}
	if file.Account == "" {
		file.Account = server.DEFAULT_GLOBAL_ACCOUNT
	}
	return Credentials{User: file.User, Password: file.Password, Account: file.Account, issuer: issuer}, nil
}

// connectTimeout is how long each server of a URL is tried.
const connectTimeout = 5 * time.Second

// Connect connects to the server and answers its authorization requests. It fails if
// no server of the URL can be reached now; a connection that is lost later is retried
// until Close.
func Connect(o ExternalOptions) (*Broker, error) {
	if o.Authenticate == nil || o.Credentials.issuer == nil {
		return nil, errors.New("queue: ExternalOptions without Authenticate or Credentials; want both")
	}
	log := cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	conn, err := nats.Connect(o.URL, externalOptions(o, log)...)
	if err != nil {
		return nil, unreachable(o, err)
	}
	c, err := newCallout(o, log)
	if err == nil {
		err = c.listen(conn)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	if most := conn.MaxPayload(); most < MaxPayload {
		log.Warn("the queue's server takes small messages only: the sound of very long videos will not fit", "max_payload", most, "want", MaxPayload)
	}
	return &Broker{conn: conn, url: o.URL}, nil
}

func externalOptions(o ExternalOptions, log *slog.Logger) []nats.Option {
	return []nats.Option{
		nats.Name("pibootd"),
		nats.UserInfo(o.Credentials.User, o.Credentials.Password),
		nats.Timeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.MaxReconnects(-1),
		// So that the daemon reconnects once the server's configuration is corrected.
		nats.IgnoreAuthErrorAbort(),
		// Nothing is buffered, because messages are repeated.
		nats.ReconnectBufSize(-1),
		nats.NoCallbacksAfterClientClose(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("queue's server lost", "addr", o.URL, "err", err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warn("nats client", "err", err) }),
	}
}

// unreachable says which server was tried and what to check.
func unreachable(o ExternalOptions, err error) error {
	check := "is it running, and is queue.url right?"
	if errors.Is(err, nats.ErrAuthorization) {
		check = "it has to know the user and password of queue.credentials, and the user has to be one of its auth_users"
	}
	return fmt.Errorf("queue: connecting to %s as %q: %w; %s", o.URL, o.Credentials.User, err, check)
}
