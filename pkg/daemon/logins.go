package daemon

import (
	"fmt"

	"pibootd/pkg/transcode/broker"
)

// authenticate reports whether token is that of the board, or other machine, that
// the worker is named after.
func (d *daemon) authenticate(worker, token string) bool {
	return d.state.registry.Authenticate(worker, token)
}

// refused records on a board's timeline that the queue refused a login with its
// name, or closed one of too many connections.
func (d *daemon) refused(r broker.Refusal) {
	rule := string(r.Reason)
	what := rule
	switch r.Reason {
	case broker.WrongLogin:
		what = "wrong token" // a wrong name is on nobody's timeline
	case broker.OtherName:
		what = fmt.Sprintf("%s: %.100q", r.Reason, r.Worker)
	}
	if r.From.IsValid() {
		what = "from " + r.From.String() + ": " + what
	}
	switch r.Reason {
	case broker.TooMany, broker.TooOften:
		d.policy.Broke(r.Worker, rule, what)
	default:
		d.policy.LoginRefused(r.Worker, r.From, rule, what)
	}
}

// weight returns the share of its time for which a worker transcodes.
func (d *daemon) weight(worker string) float64 {
	return d.state.registry.WorkerSettings(worker).Share()
}

// labels returns the labels of a worker's board or machine, as they are now.
func (d *daemon) labels(worker string) []string {
	return d.state.registry.WorkerSettings(worker).Labels
}
