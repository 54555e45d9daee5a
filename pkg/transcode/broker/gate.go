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

// A gate decides who may connect, and which subjects a worker may use.
type gate struct {
	authenticate func(worker, token string) bool
	refused      func(Refusal) // may be nil
	acceptor     *acceptor
	own          string // the daemon's own token, of this run
}

// ownUser is the user name of the daemon itself. No worker can have it.
const ownUser = "_pibootd"

// Check implements server.Authentication.
func (g *gate) Check(client server.ClientAuthentication) bool {
	addr := client.RemoteAddress()
	if addr == nil || client.Kind() != server.CLIENT {
		return false
	}
	o := client.GetOpts()
	// Only the daemon connects by a pipe in memory, without the acceptor.
	if o.Username == ownUser {
		return addr.Network() == "pipe" && subtle.ConstantTimeCompare([]byte(o.Password), []byte(g.own)) == 1
	}
	from := endpoint(addr)
	if why := CheckLogin(g.authenticate, o.Username, o.Password); why != "" {
		g.report(o.Username, from, why)
		return false
	}
	crowded, err := g.acceptor.admit(from, o.Username)
	if errors.Is(err, errNoPlace) {
		g.report(o.Username, from, NoPlace)
	}
	if err != nil {
		return false
	}
	if crowded {
		g.report(o.Username, from, TooMany)
	}
	client.RegisterUser(&server.User{
		Username:    o.Username,
		Permissions: workerPermissions(o.Username),
	})
	return true
}

func (g *gate) report(worker string, from netip.AddrPort, why RefusalReason) {
	if g.refused != nil {
		g.refused(Refusal{worker, from.Addr(), why})
	}
}

// CheckLogin says why a worker is refused; "" if it is let in. The broker and the
// HTTP server both use it, so that they accept the same names.
func CheckLogin(authenticate func(worker, token string) bool, worker, token string) RefusalReason {
	if !canonical(worker) {
		return OtherName
	}
	if !ValidWorker(worker) || !authenticate(worker, token) {
		return WrongLogin
	}
	return ""
}

// canonical reports whether a name is in its canonical spelling. Registered names are
// matched by meaning but failures are counted by spelling, so one machine under two
// spellings would count as two.
func canonical(worker string) bool {
	serial, err := pi.ParseSerial(worker)
	return err != nil && worker == strings.ToLower(worker) || err == nil && worker == serial.String()
}

// workerPermissions lets a worker publish on its own subjects, fetch and acknowledge
// work, and subscribe to its own inbox.
func workerPermissions(worker string) *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			transcode.SubjectHello + "." + worker,
			transcode.SubjectClaim + "." + worker,
			transcode.SubjectProgress + "." + worker,
			transcode.SubjectDone + "." + worker,
			transcode.SubjectFailed + "." + worker,
			transcode.SubjectLogs + "." + worker,
			transcode.SubjectLive + "." + worker,
			transcode.SubjectTunnel + "." + worker,
			"$JS.API.CONSUMER.MSG.NEXT." + transcode.StreamWork + ".>",
			"$JS.API.CONSUMER.INFO." + transcode.StreamWork + ".>",
			"$JS.ACK." + transcode.StreamWork + ".>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{Inbox(worker) + ">"}},
	}
}

// Inbox returns the prefix of the subjects that a worker may subscribe to.
func Inbox(worker string) string { return "_INBOX." + worker + "." }

// ValidWorker reports whether name can be a worker's: one token of a subject, because
// a name such as * or a.> would match the subjects of others, and not the name of a
// legacy muxer.
func ValidWorker(name string) bool {
	return pi.IsLabel(name) && canonical(name) && !transcode.IsLegacyMuxer(name)
}
