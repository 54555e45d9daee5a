package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/registry"
)

// levels are the severities of what is known of a board's boot.
var levels = map[diagnosis.State]Level{
	diagnosis.Well: OK, diagnosis.Booting: OK, diagnosis.Off: OK, diagnosis.Slow: Warning, diagnosis.Stuck: Problem,
}

// boot reports how far a board has come.
func (d *Doctor) boot(ctx context.Context, board registry.Pi) (Finding, diagnosis.Code) {
	f := Finding{Subject: board.Name, Level: Problem}
	found, err := d.Diagnoses.Of(ctx, board)
	if err != nil {
		f.Text = err.Error()
		return f, ""
	}
	f.Level, f.Text, f.Todo = levels[found.State], found.Sentence, found.Action
	if f.Level == OK && f.Todo != "" {
		f.Level = Warning
	}
	return f, found.Code
}

// asItShould is said of another DHCP server that belongs there.
const asItShould = ", as the network's own DHCP server should"

// blameServers turns what was said of other DHCP servers into a warning if a board that is examined
// has listened to one of them.
func (d *Doctor) blameServers(network []Finding, codes []diagnosis.Code) {
	ours := []diagnosis.Code{diagnosis.OtherServer, diagnosis.OtherAddress, diagnosis.StrayMount, diagnosis.OfferIgnored}
	if d.DHCP == config.Proxy || !slices.ContainsFunc(codes, func(c diagnosis.Code) bool { return slices.Contains(ours, c) }) {
		return
	}
	for i := range network {
		f := &network[i]
		if text, ok := strings.CutSuffix(f.Text, asItShould); ok {
			f.Level, f.Text = Warning, text+", and a board may have accepted it"
			f.Todo = fmt.Sprintf("have that server ignore the boards' Ethernet addresses, or give them those of %s", d.Fleet.Addresses)
		}
	}
}
