// Package rootfs manages the root file systems that Pis boot from: templates, which are imported
// or built once and never change, and roots, one for each board, cloned from a template and
// given an identity of their own.
//
// It creates every tree under a temporary name and renames it, so a killed process leaves either
// the old state or the new one. Creating and removing trees needs root, because they contain
// files of other users and device nodes. The packages below this one read disk images and
// archives, copy trees, build Debian and check what boots.
package rootfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/progress"
	"pibootd/pkg/rootfs/stage"
)

// A Progress function receives the progress of a long operation.
type Progress = progress.Func

// Templates are the templates below Dir, as <name>/<version>/: the tree in
// root/ and its Template in template.json. The methods are safe for concurrent
// use, also by several processes.
type Templates struct {
	Dir     string       // <state>/templates; created with mode 0700 on the first write
	Log     *slog.Logger // nil discards
	MinFree int64        // bytes of Dir's file system that an import leaves free; 0 means 512 MB, or 5 % of a small one
}

// A Template is one version of a template. It never changes.
type Template struct {
	Name      string     `json:"name"`
	Version   int        `json:"version"` // from 1
	Arch      pi.Arch    `json:"arch"`
	OS        string     `json:"os"`               // PRETTY_NAME of its os-release
	Kernels   []string   `json:"kernels"`          // versions under lib/modules
	BootDir   string     `json:"boot_dir"`         // relative to the root; "" without boot files: the template cannot be netbooted
	Boards    []pi.Model `json:"boards,omitempty"` // whose boot files are complete; nil also for a minimal template built by an older pibootd
	SizeBytes int64      `json:"size_bytes"`
	Files     int        `json:"files"`
	Created   time.Time  `json:"created"`

	tree string // the directory of its files; only Templates sets it
}

func newTemplate(name string, system bootcheck.System, boards []pi.Model) Template {
	return Template{Name: name, Arch: system.Arch, OS: system.OS, Kernels: system.Kernels, BootDir: system.BootDir, Boards: boards}
}

// String returns t in the form that Find accepts.
func (t Template) String() string { return fmt.Sprintf("%s@%d", t.Name, t.Version) }

// ErrNoTemplate reports that no template has the name or version.
var ErrNoTemplate = errors.New("no such template")

const (
	treeDir      = "root"
	templateFile = "template.json"
)

// templateName keeps names usable as directory names, on command lines and
// with "@" and a version after them.
var templateName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckName returns why a template cannot have this name.
func CheckName(name string) error {
	if !templateName.MatchString(name) {
		return fmt.Errorf("rootfs: %q cannot name a template; want up to 63 of a-z 0-9 . _ -, the first a letter or digit", name)
	}
	return nil
}

// List returns every version of every template, sorted by name, then version.
func (t *Templates) List() ([]Template, error) {
	files, err := filepath.Glob(filepath.Join(globQuote(t.Dir), "[a-z0-9]*", "[0-9]*", templateFile))
	if err != nil {
		return nil, fmt.Errorf("rootfs: listing templates: %w", err)
	}
	var list []Template
	for _, file := range files {
		one, err := readTemplate(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed in the meantime
		}
		if err != nil {
			return nil, fmt.Errorf("rootfs: reading %s: %w", file, err)
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Template) int {
		if by := strings.Compare(a.Name, b.Name); by != 0 {
			return by
		}
		return a.Version - b.Version
	})
	return list, nil
}

func readTemplate(file string) (Template, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Template{}, err
	}
	var t Template
	if err := json.Unmarshal(text, &t); err != nil {
		return Template{}, err
	}
	t.tree = filepath.Join(filepath.Dir(file), treeDir)
	return t, nil
}

// Find returns the template that ref names: "minimal" is its newest version, "minimal@2" is
// version 2. If there is none, the error matches ErrNoTemplate.
func (t *Templates) Find(ref string) (Template, error) {
	name, version, versioned := strings.Cut(ref, "@")
	want := 0
	if versioned {
		number, err := strconv.Atoi(version)
		if err != nil || number < 1 {
			return Template{}, pi.InvalidField("template", fmt.Errorf("rootfs: template %q: version %q is not a number from 1", ref, version))
		}
		want = number
	}
	all, err := t.List()
	if err != nil {
		return Template{}, err
	}
	for _, have := range slices.Backward(all) {
		if have.Name == name && (want == 0 || have.Version == want) {
			return have, nil
		}
	}
	return Template{}, fmt.Errorf("rootfs: template %q: %w; there are: %s", ref, ErrNoTemplate, names(all))
}

func names(all []Template) string {
	if len(all) == 0 {
		return "none; make one with: pibootd template build minimal"
	}
	var refs []string
	for _, have := range all {
		refs = append(refs, have.String())
	}
	return strings.Join(refs, ", ")
}

// Root returns the directory that holds a template's files.
func (t *Templates) Root(of Template) string {
	return filepath.Join(t.Dir, of.Name, strconv.Itoa(of.Version), treeDir)
}

// Remove deletes a version of a template. Roots cloned from it do not need it, except overlay
// roots over it (see Overlay).
func (t *Templates) Remove(of Template) error {
	if err := CheckName(of.Name); err != nil {
		return err
	}
	dir := filepath.Join(t.Dir, of.Name, strconv.Itoa(of.Version))
	if err := stage.Remove(t.Dir, dir); err != nil {
		return fmt.Errorf("rootfs: removing template %s: %w", of, err)
	}
	// The empty directory reserves the number, because boards remember which version they were
	// cloned from.
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("rootfs: removing template %s: %w", of, err)
	}
	return nil
}

// newStage deletes the stages that killed processes left, each of which can be as large as a
// template, and makes a stage for a new template.
func (t *Templates) newStage() (*stage.Dir, error) {
	if err := stage.Sweep(t.Dir); err != nil {
		return nil, err
	}
	return stage.New(t.Dir)
}

// Sweep deletes what an interrupted import, build or removal left behind. It keeps what another
// process is making.
func (t *Templates) Sweep() error {
	if err := stage.Sweep(t.Dir); err != nil {
		return fmt.Errorf("rootfs: sweeping templates: %w", err)
	}
	return nil
}

// publish makes the tree in the stage, which made describes, the next version of its name.
func (t *Templates) publish(s *stage.Dir, made Template) (Template, error) {
	dir := filepath.Join(t.Dir, made.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Template{}, err
	}
	for {
		version, err := nextVersion(dir)
		if err != nil {
			return Template{}, err
		}
		made.Version = version
		if err := writeTemplate(filepath.Join(s.Tree(), templateFile), made); err != nil {
			return Template{}, err
		}
		target := filepath.Join(dir, strconv.Itoa(version))
		err = s.Publish(target)
		if errors.Is(err, fs.ErrExist) {
			continue // another process took this number
		}
		if err != nil {
			return Template{}, err
		}
		made.tree = filepath.Join(target, treeDir)
		t.log().Info("template made", "template", made.String(), "bytes", made.SizeBytes)
		return made, durable.SyncDir(t.Dir)
	}
}

func nextVersion(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	newest := 0
	for _, entry := range entries {
		if version, err := strconv.Atoi(entry.Name()); err == nil {
			newest = max(newest, version)
		}
	}
	return newest + 1, nil
}

func writeTemplate(file string, made Template) error {
	text, err := json.MarshalIndent(made, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

func (t *Templates) log() *slog.Logger {
	if t.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return t.Log
}

// manifestFile is the name of the file beside a template's tree that lists it. Each line has the
// attributes of one entry and its quoted name.
const manifestFile = "manifest"
