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

// An Edit is what is to change about a board. What is nil stays.
type Edit struct {
	Name     *string     `json:"name,omitempty"`
	IP       *netip.Addr `json:"ip,omitempty"`
	MuxID    *int        `json:"mux_id,omitempty"`
	HWDecode *bool       `json:"hw_decode,omitempty"`
	Volatile *bool       `json:"volatile,omitempty"`
	GPUMem   *int        `json:"gpu_mem,omitempty"`
	Args     *[]string   `json:"args,omitempty"`   // all of them
	Config   []string    `json:"config,omitempty"` // key=value in place of what the key had, "key=" for none
	BootMenu *string     `json:"boot_menu,omitempty"`
	Labels   *[]string   `json:"labels,omitempty"`
	Weight   *float64    `json:"weight,omitempty"`

	Force bool `json:"force,omitempty"` // an address that another host uses, and another address also for a board that runs, which loses its root by it
}

// Edited tells what was changed.
type Edited struct {
	Pi      registry.Pi `json:"pi"`
	Changed []string    `json:"changed"`         // in words, "name hlspi1 to hlspi2"; empty: it was so already
	Proof   []string    `json:"proof,omitempty"` // as in Added
}

// Edit changes a board's registration, and with it its exports and the host
// name in its root. What the board itself knows it learns at its next boot. An
// interrupted Edit has changed nothing or all but the host name, which the same
// Edit then puts right.
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
	if e.Volatile != nil && *e.Volatile { // before its kernel command line names it
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

// reserveEdit keeps boards that are being added from what an edit gives to board.
// What is wrong with the edit itself the registry reports.
func (f *Fleet) reserveEdit(board registry.Pi, e Edit) error {
	e.apply(&board)
	_, err := f.changes.reserve(board, nil, func(registry.Pi) error { return nil })
	return err
}

func (e Edit) apply(p *registry.Pi) {
	set(&p.Name, e.Name)
	set(&p.IP, e.IP)
	set(&p.Settings.MuxID, e.MuxID)
	set(&p.Settings.HWDecode, e.HWDecode)
	set(&p.Settings.Volatile, e.Volatile)
	set(&p.Settings.GPUMem, e.GPUMem)
	set(&p.Settings.Args, e.Args)
	p.Settings.Config = registry.MergeConfig(p.Settings.Config, e.Config)
	set(&p.Settings.BootMenu, e.BootMenu)
	set(&p.Settings.Labels, e.Labels)
	set(&p.Settings.Weight, e.Weight)
}

func set[T any](field, value *T) {
	if value != nil {
		*field = *value
	}
}

// changes says in words in what is differs from was.
func changes(was, is registry.Pi) []string {
	out := []string{}
	add := func(what string, a, b any) {
		if a != b {
			out = append(out, fmt.Sprintf("%s %v to %v", what, a, b))
		}
	}
	a, b := was.Settings, is.Settings
	add("name", was.Name, is.Name)
	add("IP", was.IP, is.IP)
	add("muxid", a.MuxID, b.MuxID)
	add("muxhwdec", a.HWDecode, b.HWDecode)
	add("volatile", a.Volatile, b.Volatile)
	add("gpu-mem", a.GPUMem, b.GPUMem)
	add("boot-menu", fmt.Sprintf("%q", a.BootMenu), fmt.Sprintf("%q", b.BootMenu))
	add("weight", a.Share(), b.Share())
	if !slices.Equal(a.Labels, b.Labels) {
		out = append(out, fmt.Sprintf("labels %q to %q", a.Labels, b.Labels))
	}
	if !slices.Equal(a.Config, b.Config) {
		out = append(out, fmt.Sprintf("config.txt lines %q to %q", a.Config, b.Config))
	}
	if !slices.Equal(a.Args, b.Args) {
		out = append(out, fmt.Sprintf("kernel arguments %q to %q", a.Args, b.Args))
	}
	return out
}
