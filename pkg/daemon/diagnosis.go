package daemon

import (
	"cmp"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/registry"
)

// facts returns what a diagnosis of a board needs besides its timeline.
func (d *daemon) facts(board registry.Pi, model string) diagnosis.Facts {
	f := diagnosis.FactsOf(board)
	f.Elsewhere = d.dhcp.Proxy
	load, err := d.policy.LoadsAs(board, bootconfig.Model(model))
	if err != nil {
		f.NoFiles = err.Error()
	}
	f.Kernel, f.Needs, f.Missing = load.Names.Kernel, load.Names.Needs(), load.Missing
	f.Model = cmp.Or(model, string(load.Model))
	for _, w := range d.queue.Workers() {
		if w.Name == board.Serial.String() {
			f.Locked = w.Hello.Locked
		}
	}
	return f
}
