package daemon

import (
	"fmt"

	"pibootd/pkg/transcode/broker"
)

// authenticate tells whether a worker is the board, or the other machine, that
// it says it is.
func (d *daemon) authenticate(worker, token string) bool {
	return d.state.registry.Authenticate(worker, token)
}

// refused puts on a board's timeline that somebody with its name was not let in,
// or has more connections than it needs.
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
		d.policy.LoginRefused(r.Worker, rule, what)
	}
}

// weight returns the share of its time that a worker is to work in.
func (d *daemon) weight(worker string) float64 {
	return d.state.registry.WorkerSettings(worker).Share()
}

// labels returns the labels of a worker's board or machine, as they are now.
func (d *daemon) labels(worker string) []string {
	return d.state.registry.WorkerSettings(worker).Labels
}
