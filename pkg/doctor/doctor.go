// Package doctor looks a running installation over and says in words what is
// wrong with it and what to do: the network, who else answers DHCP on it, the
// disks, and each board's boot files, exports, last boot and worker.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
)

// A Level says how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // boards may boot, but not as their owner thinks
	Problem Level = "problem" // something does not work
)

// A Finding is one thing that was looked at.
type Finding struct {
	Subject string `json:"subject"` // network, dhcp, disk, ports, nfs, queue, templates, boards, muxers, or a board's name
	Level   Level  `json:"level"`
	Text    string `json:"text"`           // what was found
	Todo    string `json:"todo,omitempty"` // what to do about it
}

// Failing is a problem that err reports, with the hint that err carries, if any.
func Failing(subject string, err error) Finding {
	f := Finding{Subject: subject, Level: Problem, Text: err.Error()}
	if hinted := (interface{ Hint() string })(nil); errors.As(err, &hinted) {
		f.Todo = hinted.Hint()
	}
	return f
}

// A Doctor examines one installation. Set its fields before use; its methods
// are safe for concurrent use.
type Doctor struct {
	Fleet    *fleet.Fleet
	Timeline *timeline.Log
	Workers  func() []queue.Worker
	Broker   *broker.Broker // nil: nothing is said of the queue's server
	// MuxerTroubles tells which muxers bring nothing to an end; nil: nobody knows.
	MuxerTroubles func(context.Context) ([]queue.LegacyTrouble, error)
	Interface     string
	Network       netip.Prefix // this machine's address on it
	StateDir      string
	MediaDir      string
	DHCP          config.DHCPMode
	NFS           config.Driver // Embedded or Kernel
	Ports         string        // that the daemon has bound, as they are to be shown

	// FindOtherServers looks for other DHCP servers; nil means dhcp.FindOtherServers.
	FindOtherServers func(ctx context.Context, iface string) ([]dhcp.OtherServer, error)
}

// maxProofs is how many boards are examined at a time, and proofTime how long
// exports are tried in all: a proof takes a fraction of a second, or 20 s each
// where nothing answers.
const (
	maxProofs = 4
	proofTime = time.Minute
)

// Examine looks at the machine, and at the boards that refs name, or at all.
// The findings come in the order of Subject's comment. It takes some seconds,
// and little more than a minute at most. The error is one about refs, or ctx's.
func (d *Doctor) Examine(ctx context.Context, refs []string) ([]Finding, error) {
	boards, err := d.boards(refs)
	if err != nil {
		return nil, err
	}
	var g errgroup.Group
	var network, conflicts, muxers []Finding
	g.Go(func() error { network = d.network(ctx); return nil })
	g.Go(func() error { conflicts = d.conflicts(ctx, boards); return nil })
	g.Go(func() error { muxers = d.muxers(ctx); return nil })
	ofBoards := make([][]Finding, len(boards))
	deadline := time.Now().Add(proofTime)
	g.Go(func() error {
		var proofs errgroup.Group
		proofs.SetLimit(maxProofs)
		for i, board := range boards {
			proofs.Go(func() error { ofBoards[i] = d.board(ctx, board, deadline); return nil })
		}
		return proofs.Wait()
	})
	machine := append(Disks(d.StateDir, d.MediaDir), d.services()...)
	_ = g.Wait() // the findings are their errors
	all := slices.Concat(network, machine, muxers)
	for _, findings := range ofBoards {
		all = append(all, findings...)
	}
	return append(all, conflicts...), ctx.Err()
}

func (d *Doctor) boards(refs []string) ([]registry.Pi, error) {
	if len(refs) == 0 {
		return d.Fleet.Registry.All(), nil
	}
	var boards []registry.Pi
	for _, ref := range refs {
		board, err := d.Fleet.Registry.Find(ref)
		if err != nil {
			return nil, err
		}
		boards = append(boards, board)
	}
	return boards, nil
}

// services are what pibootd serves with and from, and whom it does not.
func (d *Doctor) services() []Finding {
	ports := Finding{Subject: "ports", Level: OK, Text: "bound on " + d.Network.Addr().String() + ": " + d.Ports}
	server := Finding{Subject: "nfs", Level: OK, Text: "pibootd itself serves NFS"}
	if d.NFS == config.Kernel {
		server.Text = "this machine's nfsd serves NFS"
	}
	templates := Finding{Subject: "templates", Level: OK, Text: "there are templates to clone roots from"}
	switch all, err := d.Fleet.Templates.List(); {
	case err != nil:
		templates.Level, templates.Text = Problem, err.Error()
	case len(all) == 0:
		templates.Level, templates.Text = Warning, "there is no template to clone a root from"
		templates.Todo = "pibootd template build minimal, or pibootd template import"
	}
	found := append([]Finding{ports, server}, append(d.queue(), templates)...)
	if unknown := len(d.Fleet.Registry.Discovered()); unknown > 0 {
		found = append(found, Finding{
			Subject: "boards", Level: OK, Text: fmt.Sprintf("%d that are not registered have asked for an address", unknown),
			Todo: "pibootd list-pis --discovered, pibootd approve-pi",
		})
	}
	return found
}

// queue says whether the queue's server is reached.
func (d *Doctor) queue() []Finding {
	if d.Broker == nil {
		return nil
	}
	if b := d.Broker; !b.Reached() {
		return []Finding{{Subject: "queue", Level: Problem, Text: "its server is not reached at " + b.URL(), Todo: "start that server: pibootd and the workers find it by themselves"}}
	}
	return []Finding{{Subject: "queue", Level: OK, Text: "workers fetch work at " + d.Broker.URL()}}
}

// when says when something was, short and without a date if it was today.
func when(t time.Time) string {
	if now := time.Now(); t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return "at " + t.Format("15:04:05")
	}
	return "on " + t.Format("2006-01-02 15:04")
}
