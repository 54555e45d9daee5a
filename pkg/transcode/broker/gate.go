package broker

import (
	"crypto/subtle"
	"errors"
	"net/netip"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"

	"github.com/nats-io/nats-server/v2/server"
)

// A gate decides who may connect and what a worker may say.
type gate struct {
	authenticate func(worker, token string) bool
	refused      func(Refusal) // nil: nobody is told
	acceptor     *acceptor
	own          string // the daemon's own token, of this run
}

// ownUser is who the daemon itself is. No worker can be called so.
const ownUser = "_pibootd"

// Check implements server.Authentication.
func (g *gate) Check(client server.ClientAuthentication) bool {
	addr := client.RemoteAddress()
	if addr == nil || client.Kind() != server.CLIENT {
		return false
	}
	o := client.GetOpts()
	// Only the daemon has a connection that nobody has accepted: a pipe in its own
	// memory.
	if o.Username == ownUser {
		return addr.Network() == "pipe" && subtle.ConstantTimeCompare([]byte(o.Password), []byte(g.own)) == 1
	}
	from := endpoint(addr)
	if why := CheckLogin(g.authenticate, o.Username, o.Password); why != "" {
		g.tell(o.Username, from, why)
		return false
	}
	crowded, err := g.acceptor.admit(from, o.Username)
	if errors.Is(err, errNoPlace) {
		g.tell(o.Username, from, NoPlace)
	}
	if err != nil {
		return false
	}
	if crowded {
		g.tell(o.Username, from, TooMany)
	}
	client.RegisterUser(&server.User{
		Username:    o.Username,
		Permissions: workerPermissions(o.Username),
	})
	return true
}

func (g *gate) tell(worker string, from netip.AddrPort, why RefusalReason) {
	if g.refused != nil {
		g.refused(Refusal{worker, from.Addr(), why})
	}
}

// CheckLogin says why a worker is not let in; "" if it is. Each door asks it, so
// that what is one worker at one of them is one at all.
func CheckLogin(authenticate func(worker, token string) bool, worker, token string) RefusalReason {
	if !canonical(worker) {
		return OtherName
	}
	if !ValidWorker(worker) || !authenticate(worker, token) {
		return WrongLogin
	}
	return ""
}

// canonical reports whether a name is spelled as it is everywhere else. What it
// reads as decides who gets in, and what it is made of, who has failed: so one
// machine under two spellings would be two.
func canonical(worker string) bool {
	serial, err := pi.ParseSerial(worker)
	return err != nil && worker == strings.ToLower(worker) || err == nil && worker == serial.String()
}

// workerPermissions lets a worker speak for itself alone, fetch work and
// acknowledge it, and hear only what is sent to it.
func workerPermissions(worker string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			transcode.SubjectHello + "." + worker,
			transcode.SubjectClaim + "." + worker,
			transcode.SubjectProgress + "." + worker,
			transcode.SubjectDone + "." + worker,
			transcode.SubjectFailed + "." + worker,
			"$JS.API.CONSUMER.MSG.NEXT." + transcode.StreamWork + ".>",
			"$JS.API.CONSUMER.INFO." + transcode.StreamWork + ".>",
			"$JS.ACK." + transcode.StreamWork + ".>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{Inbox(worker) + ">"}},
	}
}

// Inbox returns what the subjects that a worker hears begin with.
func Inbox(worker string) string { return "_INBOX." + worker + "." }

// ValidWorker reports whether name is one token of a subject, so that what it
// is put into says what it seems to: a name such as * or a.> would match others.
// Boards' serial numbers and machines' names are labels, and muxers of others do
// not come this way.
func ValidWorker(name string) bool {
	return pi.IsLabel(name) && canonical(name) && !transcode.IsLegacyMuxer(name)
}
