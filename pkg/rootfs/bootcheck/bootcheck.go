// Package bootcheck finds out which system a root file system holds, and whether a
// board can boot it: whether kernels have their modules, firmware its second half,
// and a model all its files. The board may be using the root meanwhile.
package bootcheck

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
)

// A Mismatch is a boot file that is missing or does not match the rest of a root.
type Mismatch struct {
	File string `json:"file"` // relative to the root
	What string `json:"what"`
}

func (m Mismatch) String() string { return m.File + ": " + m.What }

// CheckTree returns every mismatch of the root in the directory tree and, unless
// model is "", the files that this model needs and does not find.
func CheckTree(tree string, model pi.Model) ([]Mismatch, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	c := New(root, bootDir(root))
	c.Check()
	if model != "" {
		c.checkModel(model)
	}
	return c.Found, nil
}

// models are the models that a root can support.
func models() []pi.Model { return []pi.Model{pi.Pi3, pi.Pi4, pi.Pi5} }

// Supported returns the models that find every file that they need.
func (c *Checker) Supported() []pi.Model {
	if c.boot == "" {
		return nil
	}
	return slices.DeleteFunc(models(), func(model pi.Model) bool {
		one := Checker{root: c.root, boot: c.boot, files: c.files, named: c.named}
		one.checkModel(model)
		return len(one.Found) > 0
	})
}

// A Checker compares the boot directory of a root with the rest of it.
type Checker struct {
	root  *os.Root
	boot  string
	files []string // in the boot directory itself
	named []string // kernels named in config.txt
	Found []Mismatch
}

// New returns a Checker for root, whose boot directory is boot; "" if it has none.
func New(root *os.Root, boot string) *Checker {
	c := &Checker{root: root, boot: boot}
	if boot == "" {
		return c
	}
	// A boot directory or config.txt that cannot be read names no files.
	if entries, err := confine.ReadDir(root, boot); err == nil {
		for _, entry := range entries {
			c.files = append(c.files, entry.Name())
		}
	}
	if config, err := confine.ReadText(root, path.Join(boot, "config.txt")); err == nil {
		for line := range strings.Lines(string(config)) {
			if name, ok := strings.CutPrefix(strings.TrimSpace(line), "kernel="); ok && len(c.named) < maxKernels {
				c.named = append(c.named, name)
			}
		}
	}
	return c
}

func (c *Checker) add(file, what string) {
	c.Found = append(c.Found, Mismatch{File: path.Join(c.boot, file), What: what})
}

func (c *Checker) has(patterns ...string) bool {
	return slices.ContainsFunc(c.files, func(file string) bool { return confine.MatchesAny(file, patterns) })
}

// maxKernels is how many kernels of a boot directory are checked. Boards need one
// or two, and each takes time.
const maxKernels = 16

// Check finds the mismatches that affect every model.
func (c *Checker) Check() {
	looked := 0
	for _, file := range c.files {
		if half, ok := strings.CutPrefix(file, "start"); ok && strings.HasSuffix(half, ".elf") {
			fixup := "fixup" + strings.TrimSuffix(half, ".elf") + ".dat"
			if !slices.Contains(c.files, fixup) {
				c.add(file, "needs "+fixup+" beside it: without, boards have 128 MB of memory or do not start")
			}
		}
		if !confine.MatchesAny(file, []string{"kernel*.img", "vmlinuz*"}) && !slices.Contains(c.named, file) {
			continue
		}
		if looked++; looked <= maxKernels {
			c.checkKernel(file)
		}
	}
}

func (c *Checker) checkKernel(file string) {
	version, err := kernelVersion(c.root, path.Join(c.boot, file))
	if err != nil {
		c.add(file, "cannot be read as a kernel: "+err.Error())
		return
	}
	if version == "" || hasModules(c.root, version) {
		return
	}
	have := strings.Join(kernels(c.root), ", ")
	if have == "" {
		have = "none"
	}
	c.add(file, fmt.Sprintf("is Linux %s, whose modules lib/modules/%s are not in the root (there are: %s)", version, version, have))
}

// A modelNeed is a kind of file that a model needs: one that matches a pattern.
type modelNeed struct {
	what     string
	patterns []string
}

// needs returns what the boot code of a model requests by TFTP (see docs/boot.md).
func needs(model pi.Model) []modelNeed {
	switch model {
	case pi.Pi3:
		return []modelNeed{
			{"boot code", []string{"bootcode.bin"}}, {"firmware", []string{"start.elf", "start_*.elf"}},
			{"device tree", []string{"bcm2710-rpi-*.dtb", "bcm2837-rpi-*.dtb"}}, {"kernel", []string{"kernel8.img", "kernel7.img"}},
		}
	case pi.Pi4:
		return []modelNeed{
			{"firmware", []string{"start4*.elf"}},
			{"device tree", []string{"bcm2711-rpi-*.dtb"}}, {"kernel", []string{"kernel8.img", "kernel7l.img"}},
		}
	case pi.Pi5: // its firmware is in its EEPROM
		return []modelNeed{
			{"device tree", []string{"bcm2712*-rpi-*.dtb"}}, {"kernel", []string{"kernel_2712.img", "kernel8.img"}},
		}
	}
	return nil
}

func (c *Checker) checkModel(model pi.Model) {
	for _, need := range needs(model) {
		patterns := need.patterns
		if need.what == "kernel" {
			patterns = slices.Concat(patterns, c.named)
		}
		if !c.has(patterns...) {
			c.add(need.patterns[0], fmt.Sprintf("is missing: a %s needs it as %s", model, need.what))
		}
	}
}

// MismatchError returns the mismatches as one error.
func MismatchError(found []Mismatch) error {
	var all []error
	for _, m := range found {
		all = append(all, errors.New(m.String()))
	}
	return fmt.Errorf("its boot files do not fit its root; repair the source, or import it all the same with --allow-mismatch: %w", errors.Join(all...))
}
