package boot

import (
	"cmp"
	"net/netip"
	"path"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// Violations are recorded on the timeline of the board that they concern, by
// timeline.Log.RecordLimited: at most once a minute for a board, kind and rule, so
// that these three can be called for each packet.

// Broke records that a board, or another machine's worker, broke a rule. who is a
// serial number or the name of a registered machine; others have no timeline. rule
// is a short constant that distinguishes violations that must not hide each other,
// such as "quota"; what is a sentence for people.
func (p *Policy) Broke(who, rule, what string) {
	p.recordOf(who, timeline.Event{Kind: timeline.Misuse, Detail: what}, rule)
}

// LoginRefused records that a login in the name of who was refused to an address; zero: it is
// unknown. It does nothing if no board or machine of that name is registered.
func (p *Policy) LoginRefused(who string, from netip.Addr, rule, what string) {
	p.recordOf(who, timeline.Event{Kind: timeline.LoginRefused, Addr: from, Detail: what}, rule)
}

// Stranger records that an address which is not the board's asked for something
// of the board.
func (p *Policy) Stranger(board registry.Pi, from netip.Addr, rule, what string) {
	p.stranger(board, timeline.Event{Addr: from, Detail: what}, rule)
}

func (p *Policy) stranger(board registry.Pi, is timeline.Event, rule string) {
	e := event(board, timeline.Stranger)
	e.Addr, e.Detail, e.Export = is.Addr, is.Detail, is.Export
	p.Timeline.RecordLimited(e, rule)
}

func (p *Policy) recordOf(who string, e timeline.Event, rule string) {
	e.At = time.Now()
	if board, ok := p.boardOf(who); ok {
		e.Board, e.Name = board.Serial.String(), board.Name
	} else if m, err := p.Registry.FindMachine(who); err == nil {
		e.Board, e.Name = m.Name, m.Name
	} else {
		return
	}
	p.Timeline.RecordLimited(e, rule)
}

// boardOf returns the board of a serial number in any spelling. It finds whom an
// event concerns and grants no access.
func (p *Policy) boardOf(serial string) (registry.Pi, bool) {
	s, err := pi.ParseSerial(serial)
	if err != nil {
		return registry.Pi{}, false
	}
	return p.Registry.BySerial(s)
}

// boardIn returns the board whose serial number is part of an export's path.
func (p *Policy) boardIn(export string) (registry.Pi, bool) {
	for part := range strings.SplitSeq(path.Clean(export), "/") {
		if board, ok := p.boardOf(part); ok {
			return board, true
		}
	}
	return registry.Pi{}, false
}

// strangersMount records on a board's timeline that another address asked for an
// export that is the board's alone. client is the name of the board that has that
// address, if any.
func (p *Policy) strangersMount(export string, client registry.Pi, from netip.Addr) {
	owner, ok := p.boardIn(export)
	if !ok || owner.Serial == client.Serial {
		return
	}
	what := "mount refused to " + cmp.Or(client.Name, "an address that is no board's") + ", " + from.String()
	p.stranger(owner, timeline.Event{Addr: from, Export: path.Clean(export), Detail: what}, "mount")
}
