// Package doctor examines a running installation and reports in words what is wrong
// with it and what to do: the network, other DHCP servers on it, the disks, and
// each board's boot files, exports, last boot and worker.
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
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode/broker"
	"pibootd/pkg/transcode/queue"
)

// A Level is the severity of a finding.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Warning Level = "warning" // boards may boot, but not as their owner expects
	Problem Level = "problem" // something does not work
)

// A Finding is the result of one examination.
type Finding struct {
	Subject string `json:"subject"` // network, dhcp, disk, ports, nfs, queue, watch folder, templates, boards, muxers, or a board's name
	Level   Level  `json:"level"`
	Text    string `json:"text"`           // what was found
	Todo    string `json:"todo,omitempty"` // what to do about it
}

// Failing returns the problem that err reports, with the hint in err, if any.
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
	// Diagnoses says how far each board has come.
	Diagnoses interface {
		Of(context.Context, registry.Pi) (diagnosis.Diagnosis, error)
	}
	Broker *broker.Broker // nil: the queue's server is not examined
	// MuxerTroubles returns the muxers that complete nothing; nil: unknown.
	MuxerTroubles func(context.Context) ([]queue.LegacyTrouble, error)
	// Refused returns the entries of the watch folder that are never accepted, and why;
	// nil: there is no watch folder.
	Refused   func() map[string]string
	Interface string
	Network   netip.Prefix // this machine's address on it
	StateDir  string
	MediaDir  string
	DHCP      config.DHCPMode
	NFS       config.Driver // Embedded or Kernel
	Ports     string        // bound by the daemon, as text
	// NoLogs are the errors by which the daemon cannot receive boards' logs.
	NoLogs []error

	// FindOtherServers looks for other DHCP servers; nil means dhcp.FindOtherServers.
	FindOtherServers func(ctx context.Context, iface string) ([]dhcp.OtherServer, error)
}

// maxProofs is the number of boards that are examined at a time, and proofTime
// limits the time for all exports: a proof takes a fraction of a second, but 20 s
// if the server does not answer.
const (
	maxProofs = 4
	proofTime = time.Minute
)

// Examine examines the machine, and the boards that refs name, or all boards if
// refs is empty. The findings are in the order of Subject's comment. Examine takes
// some seconds, and at most little more than a minute. An error is about refs, or
// is ctx's.
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
	ofBoards, codes := make([][]Finding, len(boards)), make([]diagnosis.Code, len(boards))
	deadline := time.Now().Add(proofTime)
	g.Go(func() error {
		var proofs errgroup.Group
		proofs.SetLimit(maxProofs)
		for i, board := range boards {
			proofs.Go(func() error { ofBoards[i], codes[i] = d.board(ctx, board, deadline); return nil })
		}
		return proofs.Wait()
	})
	machine := append(Disks(d.StateDir, d.MediaDir), d.services()...)
	machine = append(machine, d.watchFolder()...)
	_ = g.Wait() // never fails, because findings report the errors
	d.blameServers(network, codes)
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

// services returns findings about ports, NFS, the queue's server and templates, and
// about boards that asked for an address and are not registered.
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
	for _, err := range d.NoLogs {
		missing := Failing("logs", err)
		missing.Level = Warning // boards boot all the same
		found = append(found, missing)
	}
	if unknown := len(d.Fleet.Registry.Discovered()); unknown > 0 {
		found = append(found, Finding{
			Subject: "boards", Level: OK, Text: fmt.Sprintf("%d that are not registered have asked for an address", unknown),
			Todo: "pibootd list-pis --discovered, pibootd approve-pi",
		})
	}
	return found
}

// queue reports whether the queue's server can be reached.
func (d *Doctor) queue() []Finding {
	if d.Broker == nil {
		return nil
	}
	if b := d.Broker; !b.Reached() {
		return []Finding{{Subject: "queue", Level: Problem, Text: "its server is not reached at " + b.URL(), Todo: "start that server: pibootd and the workers find it by themselves"}}
	}
	return []Finding{{Subject: "queue", Level: OK, Text: "workers fetch work at " + d.Broker.URL()}}
}

// when formats a time briefly, without the date if it is today.
func when(t time.Time) string {
	if now := time.Now(); t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return "at " + t.Format("15:04:05")
	}
	return "on " + t.Format("2006-01-02 15:04")
}
