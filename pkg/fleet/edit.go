package fleet

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
)

// An Edit lists changes to a board. Its JSON is one object, in which
// settings have the names of registry.Setting.Field.
type Edit struct {
	Name     *string     // nil stays
	IP       *netip.Addr // nil stays
	Settings registry.Settings
	Fields   []string // the settings that are to change, by registry.Setting.Field
	Force    bool     // an address that another host uses, and another address also for a board that runs, which loses its root by it
}

// Sets reports whether e gives a board that setting, by registry.Setting.Field.
func (e Edit) Sets(field string) bool { return slices.Contains(e.Fields, field) }

// Edited describes what was changed.
type Edited struct {
	Pi      registry.Pi `json:"pi"`
	Changed []string    `json:"changed"`         // in words, "name hlspi1 to hlspi2"; empty: it was so already
	Proof   []string    `json:"proof,omitempty"` // as in Added
}

// Edit changes a board's registration, and with it its exports and the host name in
// its root. The board itself gets its new settings at its next boot. If Edit is
// interrupted, it has changed nothing, or everything except the host name, which the
// same Edit then changes.
func (f *Fleet) Edit(ctx context.Context, ref string, e Edit) (Edited, error) {
	was, end, err := f.begin(ctx, ref)
	if err != nil {
		return Edited{}, err
	}
	defer end()
	if err := f.reserveEdit(was, e); err != nil {
		return Edited{}, err
	}
	if e.IP != nil {
		if err := f.checkAddress(*e.IP); err != nil {
			return Edited{}, err
		}
		if err := f.checkUnused(ctx, registry.Pi{MAC: was.MAC, IP: *e.IP}); err != nil && !e.Force {
			return Edited{}, err
		}
	}
	if e.Sets("volatile") && e.Settings.Volatile { // before its kernel command line names it
		if err := f.Roots.PutVolatileInit(was.Serial); err != nil {
			return Edited{}, err
		}
	}
	is, err := f.Registry.Update(ctx, was.Serial, e.apply)
	if err != nil {
		return Edited{}, err
	}
	edited := Edited{Pi: is, Changed: changes(was, is)}
	for _, change := range edited.Changed {
		f.record(is, timeline.Changed, change)
	}
	if err = f.Roots.SetHostname(is.Serial, is.Name); err == nil {
		edited.Proof, err = f.open(ctx, is)
	}
	if err != nil && len(edited.Changed) > 0 {
		err = fmt.Errorf("%s is changed (%s), but does not work so: %w", is.Name, strings.Join(edited.Changed, ", "), err)
	}
	return edited, err
}

// reserveEdit reserves the name and the address that an edit gives to board, so that
// no board that is being added gets them. The registry reports what is wrong with the
// edit itself.
func (f *Fleet) reserveEdit(board registry.Pi, e Edit) error {
	e.apply(&board)
	_, err := f.changes.reserve(board, nil, func(registry.Pi) error { return nil })
	return err
}

func (e Edit) apply(p *registry.Pi) {
	if e.Name != nil {
		p.Name = *e.Name
	}
	if e.IP != nil {
		p.IP = *e.IP
	}
	asked := e.Settings.Table()
	for i, setting := range p.Settings.Table() {
		if e.Sets(setting.Field) {
			setting.Set(asked[i])
		}
	}
}

// changes describes the differences of is from was.
func changes(was, is registry.Pi) []string {
	out := []string{}
	add := func(what string, a, b fmt.Stringer) {
		if a.String() != b.String() {
			out = append(out, fmt.Sprintf("%s %s to %s", what, a, b))
		}
	}
	add("name", text(was.Name), text(is.Name))
	add("IP", was.IP, is.IP)
	asked := is.Settings.Table()
	for i, setting := range was.Settings.Table() {
		add(setting.Name, setting, asked[i])
	}
	return out
}

type text string

func (t text) String() string { return string(t) }
