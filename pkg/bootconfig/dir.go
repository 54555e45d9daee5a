package bootconfig

import "pibootd/pkg/pi"

// A Dir is a boot directory, as a board is served it. Text and Has take names relative to it.
type Dir struct {
	Text Include
	Has  func(name string) bool
}

// Load returns what board would load from d.
func (d Dir) Load(board Board) Names {
	names, _ := d.config(board).Names(func(name string) (bool, error) { return name != "" && d.Has(name), nil })
	return names // looking into a directory is no error
}

// config reads the file that board reads. The firmware takes one that it cannot read for empty.
func (d Dir) config(board Board) Config {
	file := File
	if board.TryBoot && d.Has(TryBootFile) {
		file = TryBootFile
	}
	text, err := d.Text(file)
	if err != nil {
		text = nil
	}
	return Read(board, text, d.Text)
}

// Ramdisk reports whether a board of one of the models takes all files from RamdiskFile.
func (d Dir) Ramdisk(models []Model, serial pi.Serial) bool {
	for _, model := range models {
		if d.config(Board{Model: model, Serial: serial}).BootRamdisk {
			return true
		}
	}
	return false
}

// A Load is what a model loads from a directory, and what it does not find there.
type Load struct {
	Model   Model
	Names   Names
	Missing []Need
}

// Closest returns the load of that of models which misses least, the first of several. It is for
// a board of which only the generation is known.
func (d Dir) Closest(models []Model, serial pi.Serial) Load {
	var best Load
	for _, model := range models {
		names := d.Load(Board{Model: model, Serial: serial})
		missing := names.Missing(d.Has)
		if best.Model == "" || len(missing) < len(best.Missing) {
			best = Load{model, names, missing}
		}
	}
	return best
}
