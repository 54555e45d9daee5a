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

// What must not happen stands on the timeline of the board that it is about, as
// timeline.Log.RecordLimited does it: once a minute at most of a board, kind and
// rule, so that these three can be called for each packet.

// Broke says that a board, or another machine's worker, did something against
// the rules. who is a serial number or the name of a registered machine; of all
// others there is no timeline. rule is a short constant that tells apart what
// must not hide each other, such as "quota"; what is a sentence for people.
func (p *Policy) Broke(who, rule, what string) {
	p.recordOf(who, timeline.Misuse, rule, what)
}

// LoginRefused says that somebody who called himself who was not let in. It
// does nothing where no such board or machine is registered.
func (p *Policy) LoginRefused(who, rule, what string) {
	p.recordOf(who, timeline.LoginRefused, rule, what)
}

// Stranger says that an address which is not the board's asked for what is the
// board's own.
func (p *Policy) Stranger(board registry.Pi, from netip.Addr, rule, what string) {
	e := event(board, timeline.Stranger)
	e.Addr, e.Detail = from, what
	p.Timeline.RecordLimited(e, rule)
}

func (p *Policy) recordOf(who string, kind timeline.Kind, rule, what string) {
	e := timeline.Event{At: time.Now(), Kind: kind, Detail: what}
	if board, ok := p.boardOf(who); ok {
		e.Board, e.Name = board.Serial.String(), board.Name
	} else if m, err := p.Registry.FindMachine(who); err == nil {
		e.Board, e.Name = m.Name, m.Name
	} else {
		return
	}
	p.Timeline.RecordLimited(e, rule)
}

// boardOf returns the board of a serial number, however that is spelled: this is
// about whom something concerns, and lets nobody in.
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

// foreignMount says on a board's timeline that an address which is not its own
// wanted what is exported to it alone. client is the name of the board that has
// that address, if one has it.
func (p *Policy) foreignMount(export string, client registry.Pi, from netip.Addr) {
	owner, ok := p.boardIn(export)
	if !ok || owner.Serial == client.Serial {
		return
	}
	p.Stranger(owner, from, "mount", "mount of "+path.Clean(export)+" refused to "+cmp.Or(client.Name, "an address that is no board's"))
}
