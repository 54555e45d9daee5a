package broker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	// workerStay is how long a login is valid; then the server asks again.
	workerStay = 5 * time.Minute
	// maxCallout bounds an authorization request, in bytes. It may hold certificates.
	maxCallout        = 256 << 10
	maxCalloutWaiting = 2 * maxConns
)

// A callout is the gate of an external server, which asks it about every login (an
// auth callout of NATS).
type callout struct {
	authenticate func(worker, token string) bool
	refused      func(Refusal) // nil: not reported
	logins       *budget
	issuer       nkeys.KeyPair
	public       string // of issuer
	account      string
	stay         time.Duration
	log          *slog.Logger
}

func newCallout(o ExternalOptions, log *slog.Logger) (*callout, error) {
	public, err := o.Credentials.issuer.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("queue: reading the issuer's key: %w", err)
	}
	stay := cmp.Or(o.stay, workerStay)
	return &callout{o.Authenticate, o.OnRefused, newBudget(stay), o.Credentials.issuer, public, o.Credentials.Account, stay, log}, nil
}

// listen answers until conn is closed. A request that arrives while too many wait is
// dropped, because the client tries again.
func (c *callout) listen(conn *nats.Conn) error {
	sub, err := conn.Subscribe(server.AuthCalloutSubject, c.answer)
	if err == nil {
		err = sub.SetPendingLimits(maxCalloutWaiting, maxCalloutWaiting*maxCallout)
	}
	if err == nil {
		err = conn.FlushTimeout(connectTimeout)
	}
	if err != nil {
		return fmt.Errorf("queue: subscribing to %s: %w", server.AuthCalloutSubject, err)
	}
	return nil
}

// answer answers one request. It recovers from panics, because untrusted input must
// not end the daemon.
func (c *callout) answer(m *nats.Msg) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("queue's server not answered", "err", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	reply, err := c.decide(m.Data)
	if err == nil {
		err = m.Respond(reply)
	}
	if err != nil {
		c.log.Warn("queue's server not answered", "err", err)
	}
}

// decide returns the response to an authorization request.
func (c *callout) decide(question []byte) ([]byte, error) {
	if len(question) > maxCallout {
		return nil, fmt.Errorf("its question has %d bytes; want %d at most", len(question), maxCallout)
	}
	asked, err := jwt.DecodeAuthorizationRequestClaims(string(question))
	if err != nil {
		return nil, fmt.Errorf("reading its question: %w; is it encrypted? pibootd has no xkey", err)
	}
	if asked.Subject != c.public {
		return nil, fmt.Errorf("it trusts the issuer %q; the one of queue.credentials is %q", asked.Subject, c.public)
	}
	answer := jwt.NewAuthorizationResponseClaims(asked.UserNkey)
	if answer == nil {
		return nil, errors.New("its question is about nobody")
	}
	answer.Audience = asked.Server.ID
	if c.admits(asked) {
		if answer.Jwt, err = c.pass(asked).Encode(c.issuer); err != nil {
			return nil, fmt.Errorf("making a pass: %w", err)
		}
	} else {
		answer.Error = "unknown worker or wrong token"
	}
	text, err := answer.Encode(c.issuer)
	return []byte(text), err
}

// admits reports whether the request is a worker's that may log in. Servers that want
// to link with this one are refused, whatever token they have.
func (c *callout) admits(asked *jwt.AuthorizationRequestClaims) bool {
	if asked.ClientInformation.Kind != "Client" || asked.ClientInformation.Type != "nats" {
		return false
	}
	who := asked.ConnectOptions
	why := CheckLogin(c.authenticate, who.Username, who.Password)
	if why == "" && !c.logins.spend(who.Username, time.Now()) {
		why = TooOften
	}
	if why != "" && c.refused != nil {
		from, _ := netip.ParseAddr(asked.ClientInformation.Host) // zero, if it is none
		c.refused(Refusal{who.Username, from.Unmap(), why})
	}
	return why == ""
}

// pass gives a worker the same permissions as gate does.
func (c *callout) pass(asked *jwt.AuthorizationRequestClaims) *jwt.UserClaims {
	worker := asked.ConnectOptions.Username
	may := workerPermissions(worker)
	p := jwt.NewUserClaims(asked.UserNkey)
	p.Name = worker
	p.Audience = c.account
	// By the server's clock, which may differ from ours.
	p.Expires = time.Unix(asked.IssuedAt, 0).Add(c.stay).Unix()
	p.Pub.Allow = may.Publish.Allow
	p.Sub.Allow = may.Subscribe.Allow
	// Servers up to 2.15 at least hold workers to their own limits instead.
	p.Limits.Subs = maxSubs
	p.Limits.Payload = MaxPayload
	p.AllowedConnectionTypes = jwt.StringList{jwt.ConnectionTypeStandard}
	return p
}
