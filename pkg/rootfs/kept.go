package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/stage"
)

// keptDir holds the roots that no board boots from: those taken out of use, and
// those that are about to be used. Beside each is what is known of it, a file
// with its name and ".json".
const keptDir = ".kept"

// An Origin is where a root came from and why it was set aside.
type Origin struct {
	Template string  `json:"template,omitempty"` // "" where nobody knows
	Version  int     `json:"version,omitempty"`
	Arch     pi.Arch `json:"arch,omitempty"`
	Clone    string  `json:"clone,omitempty"` // how, a Way; "" where nobody knows
	Why      string  `json:"why"`
}

// A Kept is a root that was set aside.
type Kept struct {
	Name   string    `json:"name"` // <serial>-<time>, of its directory
	Serial pi.Serial `json:"serial"`
	At     time.Time `json:"at"` // when it was set aside
	Origin
}

// String names the template that a root came from, as Templates.Find takes it.
func (o Origin) String() string {
	if o.Template == "" {
		return "an unknown template"
	}
	return fmt.Sprintf("%s@%d", o.Template, o.Version)
}

// prepared is the Why of a root that was cloned to be used next.
const prepared = "prepared"

// unfinishedNote begins the name of a note that is being written.
const unfinishedNote = ".note"

// keptTime is the time in a kept root's name.
const keptTime = "20060102T150405.000000000"

func newKept(serial pi.Serial, o Origin) Kept {
	now := time.Now().UTC()
	return Kept{Name: fmt.Sprintf("%s-%s", serial, now.Format(keptTime)), Serial: serial, At: now, Origin: o}
}

// KeptPath returns where a kept root is.
func (r *Roots) KeptPath(k Kept) string { return r.keptPath(k.Name) }

func (r *Roots) keptPath(name string) string { return filepath.Join(r.Dir, keptDir, name) }

// Keep takes the root of a board out of use without deleting it.
func (r *Roots) Keep(serial pi.Serial, o Origin) (Kept, error) {
	k := newKept(serial, o)
	err := errors.Join(r.note(k), r.unmount(serial))
	if err == nil {
		err = os.Rename(r.Path(serial), r.keptPath(k.Name))
	}
	if err == nil {
		err = errors.Join(stage.SyncDir(filepath.Join(r.Dir, keptDir)), stage.SyncDir(r.Dir))
	}
	if err != nil {
		return Kept{}, fmt.Errorf("rootfs: keeping the root of %s: %w", serial, errors.Join(err, r.forget(k.Name)))
	}
	return k, nil
}

// note writes down what is known of a root, before it is in its place.
func (r *Roots) note(k Kept) error {
	dir := filepath.Join(r.Dir, keptDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, unfinishedNote)
	if err != nil {
		return err
	}
	_, err = file.Write(append(text, '\n'))
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), r.keptPath(k.Name)+".json")
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return stage.SyncDir(dir)
}

// forget removes the note about a root, if the root is not there.
func (r *Roots) forget(name string) error {
	if _, err := os.Lstat(r.keptPath(name)); err == nil {
		return nil
	}
	err := os.Remove(r.keptPath(name) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweepNotes removes notes whose root was never put beside them.
func (r *Roots) sweepNotes() error {
	entries, err := os.ReadDir(filepath.Join(r.Dir, keptDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := []error{err}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), ".json"); ok {
			failed = append(failed, r.forget(name))
		} else if strings.HasPrefix(name, unfinishedNote) {
			failed = append(failed, os.Remove(r.keptPath(name)))
		}
	}
	return errors.Join(failed...)
}

// Kept returns the roots of a board that were set aside, the latest first.
func (r *Roots) Kept(serial pi.Serial) ([]Kept, error) {
	all, err := r.allKept(serial)
	if err != nil {
		return nil, fmt.Errorf("rootfs: listing kept roots of %s: %w", serial, err)
	}
	return slices.DeleteFunc(all, func(k Kept) bool { return k.Why == prepared }), nil
}

func (r *Roots) allKept(serial pi.Serial) ([]Kept, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, keptDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []Kept{}
	for _, entry := range slices.Backward(entries) { // names sort by time
		when, ok := strings.CutPrefix(entry.Name(), serial.String()+"-")
		at, err := time.Parse(keptTime, when)
		if !ok || !entry.IsDir() || err != nil {
			continue
		}
		k := Kept{Name: entry.Name(), Serial: serial, At: at, Origin: Origin{Why: "nobody noted why"}}
		if text, err := os.ReadFile(r.keptPath(k.Name) + ".json"); err == nil {
			err = json.Unmarshal(text, &k)
			if err != nil || k.Name != entry.Name() || k.Serial != serial {
				return nil, fmt.Errorf("%s.json is not what pibootd writes; move it away (%v)", r.keptPath(entry.Name()), err)
			}
		}
		all = append(all, k)
	}
	return all, nil
}

// FindKept returns the kept root of a board that has this name, or the latest
// for "".
func (r *Roots) FindKept(serial pi.Serial, name string) (Kept, error) {
	all, err := r.Kept(serial)
	if err != nil {
		return Kept{}, err
	}
	var names []string
	for _, k := range all {
		if name == "" || k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	if len(names) == 0 {
		return Kept{}, fmt.Errorf("rootfs: no root of %s was kept: %w", serial, fs.ErrNotExist)
	}
	return Kept{}, fmt.Errorf("rootfs: no root %q of %s was kept: %w; there are: %s", name, serial, fs.ErrNotExist, strings.Join(names, ", "))
}

// KeptOver returns the roots that were set aside and need a template, as they lie
// over it.
func (r *Roots) KeptOver(t Template) ([]string, error) {
	dirs, err := os.ReadDir(filepath.Join(r.Dir, keptDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("rootfs: listing kept roots: %w", err)
	}
	var names []string
	for _, dir := range dirs {
		over, err := overlayTemplate(r.keptPath(dir.Name()))
		if err != nil {
			return nil, fmt.Errorf("rootfs: %w", err)
		}
		if over == t.String() {
			names = append(names, dir.Name())
		}
	}
	return names, nil
}

// RemoveKept deletes a root that was set aside.
func (r *Roots) RemoveKept(k Kept) error {
	err := stage.Remove(r.Dir, r.keptPath(k.Name))
	if err == nil {
		err = r.forget(k.Name)
	}
	if err != nil {
		return fmt.Errorf("rootfs: removing the kept root %s: %w", k.Name, err)
	}
	return nil
}

// Prepare clones a root that Swap is to put in the place of a board's.
func (r *Roots) Prepare(ctx context.Context, src Template, by Way, serial pi.Serial, id Identity, p Progress) (Kept, Report, error) {
	k := newKept(serial, Origin{Template: src.Name, Version: src.Version, Arch: src.Arch, Why: prepared})
	if err := r.note(k); err != nil {
		return Kept{}, Report{}, fmt.Errorf("rootfs: preparing a root for %s: %w", serial, err)
	}
	report, err := r.clone(ctx, clone{src: src, way: by, serial: serial, id: id, target: r.keptPath(k.Name)}, p)
	if err != nil {
		return Kept{}, Report{}, errors.Join(err, r.forget(k.Name))
	}
	k.Clone = string(report.How)
	return k, report, nil
}

// Revive gives a kept root its board's identity of today, host keys and machine
// id aside, and the worker of today, so that Swap can put it back.
func (r *Roots) Revive(k Kept, id Identity) error {
	program, err := r.workerFor(k.Arch)
	if err != nil {
		return fmt.Errorf("rootfs: reviving %s: %w", k.Name, err)
	}
	root, done, err := r.open(r.keptPath(k.Name))
	if err == nil {
		_, updated := putProgram(root, program)
		err = errors.Join(
			updated,
			putVolatileInit(root, confine.ReplaceFile),
			putName(root, confine.ReplaceFile, id.Hostname),
			putWorkerConfig(root, confine.ReplaceFile, id.Worker),
			done())
	}
	if err == nil {
		err = stage.SyncFS(r.keptPath(k.Name))
	}
	if err != nil {
		return fmt.Errorf("rootfs: reviving %s: %w", k.Name, err)
	}
	return nil
}

// Swap puts the kept root next in the place of its board's, which is kept in
// turn with the origin was. A board's token says which of its roots is the one to
// boot from: where Swap is interrupted, FinishSwap completes it.
func (r *Roots) Swap(next Kept, was Origin) (old Kept, err error) {
	if _, err := os.Lstat(r.Path(next.Serial)); err == nil {
		if old, err = r.Keep(next.Serial, was); err != nil {
			return Kept{}, err
		}
	}
	err = os.Rename(r.keptPath(next.Name), r.Path(next.Serial))
	if err == nil {
		err = errors.Join(stage.SyncDir(filepath.Join(r.Dir, keptDir)), stage.SyncDir(r.Dir), r.forget(next.Name), r.Mount(next.Serial))
	}
	if err != nil {
		return old, fmt.Errorf("rootfs: putting the root %s in place: %w", next.Name, err)
	}
	return old, nil
}

// FinishSwap completes an interrupted Swap of a board's root. valid says whether
// a token is the board's: the root that holds it is the one that was to be put
// in place. Roots that were prepared and never meant to be used are deleted.
func (r *Roots) FinishSwap(serial pi.Serial, valid func(token string) bool) error {
	all, err := r.allKept(serial)
	if err != nil {
		return fmt.Errorf("rootfs: looking for interrupted changes of the root of %s: %w", serial, err)
	}
	for _, k := range all {
		switch token := r.tokenOf(r.keptPath(k.Name)); {
		case token != "" && valid(token) && !valid(r.tokenOf(r.Path(serial))):
			r.log().Warn("interrupted change of a root completed", "serial", serial, "file", k.Name)
			if _, err := r.Swap(k, Origin{Why: "its replacement was interrupted"}); err != nil {
				return err
			}
		case k.Why == prepared:
			if err := r.RemoveKept(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// tokenOf returns the worker's token in a root, "" where it cannot be read.
func (r *Roots) tokenOf(dir string) string {
	root, done, err := r.open(dir)
	if err != nil {
		return ""
	}
	text, err := confine.ReadText(root, WorkerConfigFile)
	var config WorkerConfig
	if err = errors.Join(err, done()); err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.Token
}
