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

	"pibootd/pkg/bootconfig"
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
	c := New(root, BootDir(root))
	c.Check()
	if model != "" {
		c.checkModel(model)
	}
	return c.Found, nil
}

// generations are those that a root can support.
func generations() []pi.Model { return []pi.Model{pi.Pi3, pi.Pi4, pi.Pi5} }

// Supported returns the generations of which a model finds every file that it needs.
func (c *Checker) Supported() []pi.Model {
	if c.boot == "" {
		return nil
	}
	return slices.DeleteFunc(generations(), func(generation pi.Model) bool { return len(c.missing(generation)) > 0 })
}

// A Checker compares the boot directory of a root with the rest of it.
type Checker struct {
	root  *os.Root
	boot  string
	files []string // in the boot directory itself
	Found []Mismatch

	spelling confine.Speller
}

// New returns a Checker for root, whose boot directory is boot; "" if it has none.
func New(root *os.Root, boot string) *Checker {
	c := &Checker{root: root, boot: boot, spelling: confine.Speller{Root: root}}
	if boot == "" {
		return c
	}
	// A boot directory that cannot be read has no files.
	if entries, err := confine.ReadDir(root, boot); err == nil {
		for _, entry := range entries {
			c.files = append(c.files, entry.Name())
		}
	}
	return c
}

// Dir is the boot directory.
func (c *Checker) Dir() bootconfig.Dir { return bootconfig.Dir{Text: c.text, Has: c.has} }

func (c *Checker) text(name string) ([]byte, error) {
	return confine.ReadText(c.root, c.path(name))
}

// path returns where a name of the boot directory is in the root, whatever its upper and lower case:
// the firmware finds it on FAT, and pibootd serves it.
func (c *Checker) path(name string) string {
	return path.Join(c.boot, c.spelling.Spelled(c.boot, path.Clean(name)))
}

func (c *Checker) has(name string) bool {
	return len(name) > 0 && confine.Exists(c.root, c.path(name))
}

func (c *Checker) add(file, what string) {
	c.Found = append(c.Found, Mismatch{File: path.Join(c.boot, file), What: what})
}

// maxKernels is how many kernels of a boot directory are checked. Boards need one
// or two, and each takes time.
const maxKernels = 16

// Check finds the mismatches that affect every model.
func (c *Checker) Check() {
	for _, file := range c.files {
		if half, ok := strings.CutPrefix(strings.ToLower(file), "start"); ok && strings.HasSuffix(half, ".elf") {
			fixup := "fixup" + strings.TrimSuffix(half, ".elf") + ".dat"
			if !c.has(fixup) {
				c.add(file, "needs "+fixup+" beside it: without, boards have 128 MB of memory or do not start")
			}
		}
	}
	kernels := c.kernels()
	for _, file := range kernels[:min(len(kernels), maxKernels)] {
		c.checkKernel(file)
	}
}

// kernels returns the kernels that boards load, and what else looks like one.
func (c *Checker) kernels() []string {
	found := slices.DeleteFunc(slices.Clone(c.files), func(file string) bool {
		return !confine.MatchesAny(strings.ToLower(file), []string{"kernel*.img", "vmlinuz*"})
	})
	for _, model := range bootconfig.Models() {
		for _, again := range []bool{false, true} {
			kernel := c.Dir().Load(bootconfig.Board{Model: model, TryBoot: again}).Kernel
			if spelled := c.spelling.Spelled(c.boot, path.Clean(kernel)); c.has(kernel) && !slices.Contains(found, spelled) {
				found = append(found, spelled)
			}
		}
	}
	return found
}

func (c *Checker) checkKernel(file string) {
	version, err := kernelVersion(c.root, c.path(file))
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

// missing returns what the model of a generation that comes closest to booting does not find.
func (c *Checker) missing(generation pi.Model) []bootconfig.Need {
	return c.Dir().Closest(bootconfig.ModelsOf(generation), 0).Missing
}

func (c *Checker) checkModel(generation pi.Model) {
	for _, need := range c.missing(generation) {
		c.add(need.Files[0], fmt.Sprintf("is missing: a %s needs it as %s", generation, need.What))
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
