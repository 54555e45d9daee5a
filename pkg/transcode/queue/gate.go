package queue

import (
	"pibootd/pkg/transcode"

	"github.com/nats-io/nats-server/v2/server"
)

// A gate decides who may connect and what a worker may say.
type gate struct {
	authenticate func(worker, token string) bool
}

// Check implements server.Authentication.
func (g *gate) Check(client server.ClientAuthentication) bool {
	// Only the daemon has a connection that is a pipe in its own memory.
	if addr := client.RemoteAddress(); addr != nil && addr.Network() == "pipe" {
		return true
	}
	if client.Kind() != server.CLIENT {
		return false
	}
	o := client.GetOpts()
	if !validWorker(o.Username) || !g.authenticate(o.Username, o.Password) {
		return false
	}
	client.RegisterUser(&server.User{
		Username:    o.Username,
		Permissions: workerPermissions(o.Username),
	})
	return true
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
		Subscribe: &server.SubjectPermission{Allow: []string{inbox(worker) + ">"}},
	}
}

// inbox returns what the subjects that a worker hears begin with.
func inbox(worker string) string { return "_INBOX." + worker + "." }

const maxWorkerName = 64

// validWorker reports whether name is one token of a subject, so that what it
// is put into says what it seems to: a name such as * or a.> would match others.
func validWorker(name string) bool {
	if name == "" || len(name) > maxWorkerName {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
