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

	"pibootd/images"
	"pibootd/internal/durable"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/stage"
)

// archiveDir holds the roots that no board boots from: those taken out of use, and
// those prepared for a swap. A file with the name of a root and ".json" describes
// it.
const archiveDir = ".kept"

// An Origin describes where a root came from and why it was archived.
type Origin struct {
	Template string  `json:"template,omitempty"` // "" if unknown
	Version  int     `json:"version,omitempty"`
	Arch     pi.Arch `json:"arch,omitempty"`
	Clone    string  `json:"clone,omitempty"` // the CloneMethod; "" if unknown
	Why      string  `json:"why"`
}

// An ArchivedRoot is a root that is not in use, but kept.
type ArchivedRoot struct {
	Name   string    `json:"name"` // <serial>-<time>, of its directory
	Serial pi.Serial `json:"serial"`
	At     time.Time `json:"at"` // when it was archived
	Origin
}

// String names the template that a root came from, as Templates.Find takes it.
func (o Origin) String() string {
	if o.Template == "" {
		return "an unknown template"
	}
	return fmt.Sprintf("%s@%d", o.Template, o.Version)
}

// prepared is the Why of a root that was cloned for a swap.
const prepared = "prepared"

// unfinishedNote is the prefix of the name of a description that is being written.
const unfinishedNote = ".note"

// archiveTime is the layout of the time in the name of an archived root.
const archiveTime = "20060102T150405.000000000"

func newArchived(serial pi.Serial, o Origin) ArchivedRoot {
	now := time.Now().UTC()
	return ArchivedRoot{Name: fmt.Sprintf("%s-%s", serial, now.Format(archiveTime)), Serial: serial, At: now, Origin: o}
}

// ArchivedPath returns the directory of an archived root.
func (r *Roots) ArchivedPath(k ArchivedRoot) string { return r.archivedPath(k.Name) }

func (r *Roots) archivedPath(name string) string { return filepath.Join(r.Dir, archiveDir, name) }

// Archive takes the root of a board out of use without deleting it.
func (r *Roots) Archive(serial pi.Serial, o Origin) (ArchivedRoot, error) {
	k := newArchived(serial, o)
	err := errors.Join(r.note(k), r.unmount(serial))
	if err == nil {
		err = os.Rename(r.Path(serial), r.archivedPath(k.Name))
	}
	if err == nil {
		err = errors.Join(durable.SyncDir(filepath.Join(r.Dir, archiveDir)), durable.SyncDir(r.Dir))
	}
	if err != nil {
		return ArchivedRoot{}, fmt.Errorf("rootfs: keeping the root of %s: %w", serial, errors.Join(err, r.forget(k.Name)))
	}
	return k, nil
}

// note writes the description of a root, before the root is archived.
func (r *Roots) note(k ArchivedRoot) error {
	dir := filepath.Join(r.Dir, archiveDir)
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
		err = os.Rename(file.Name(), r.archivedPath(k.Name)+".json")
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return durable.SyncDir(dir)
}

// forget removes the description of a root that does not exist.
func (r *Roots) forget(name string) error {
	if _, err := os.Lstat(r.archivedPath(name)); err == nil {
		return nil
	}
	err := os.Remove(r.archivedPath(name) + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sweepNotes removes descriptions of roots that do not exist.
func (r *Roots) sweepNotes() error {
	entries, err := os.ReadDir(filepath.Join(r.Dir, archiveDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	failed := []error{err}
	for _, entry := range entries {
		if name, ok := strings.CutSuffix(entry.Name(), ".json"); ok {
			failed = append(failed, r.forget(name))
		} else if strings.HasPrefix(name, unfinishedNote) {
			failed = append(failed, os.Remove(r.archivedPath(name)))
		}
	}
	return errors.Join(failed...)
}

// Archived returns the roots of a board that are archived, the latest first.
func (r *Roots) Archived(serial pi.Serial) ([]ArchivedRoot, error) {
	all, err := r.allArchived(serial)
	if err != nil {
		return nil, fmt.Errorf("rootfs: listing kept roots of %s: %w", serial, err)
	}
	return slices.DeleteFunc(all, func(k ArchivedRoot) bool { return k.Why == prepared }), nil
}

func (r *Roots) allArchived(serial pi.Serial) ([]ArchivedRoot, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, archiveDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	all := []ArchivedRoot{}
	for _, entry := range slices.Backward(entries) { // names sort by time
		when, ok := strings.CutPrefix(entry.Name(), serial.String()+"-")
		at, err := time.Parse(archiveTime, when)
		if !ok || !entry.IsDir() || err != nil {
			continue
		}
		k := ArchivedRoot{Name: entry.Name(), Serial: serial, At: at, Origin: Origin{Why: "nobody noted why"}}
		if text, err := os.ReadFile(r.archivedPath(k.Name) + ".json"); err == nil {
			err = json.Unmarshal(text, &k)
			if err != nil || k.Name != entry.Name() || k.Serial != serial {
				return nil, fmt.Errorf("%s.json is not what pibootd writes; move it away (%v)", r.archivedPath(entry.Name()), err)
			}
		}
		all = append(all, k)
	}
	return all, nil
}

// FindArchived returns the archived root of a board with this name, or the latest
// if name is "".
func (r *Roots) FindArchived(serial pi.Serial, name string) (ArchivedRoot, error) {
	all, err := r.Archived(serial)
	if err != nil {
		return ArchivedRoot{}, err
	}
	var names []string
	for _, k := range all {
		if name == "" || k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	if len(names) == 0 {
		return ArchivedRoot{}, fmt.Errorf("rootfs: no root of %s was kept: %w", serial, fs.ErrNotExist)
	}
	return ArchivedRoot{}, fmt.Errorf("rootfs: no root %q of %s was kept: %w; there are: %s", name, serial, fs.ErrNotExist, strings.Join(names, ", "))
}

// ArchivedOver returns the roots that need a template because they are overlays
// over it.
func (r *Roots) ArchivedOver(t Template) ([]string, error) {
	dirs, err := os.ReadDir(filepath.Join(r.Dir, archiveDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("rootfs: listing kept roots: %w", err)
	}
	var names []string
	for _, dir := range dirs {
		over, err := overlayTemplate(r.archivedPath(dir.Name()))
		if err != nil {
			return nil, fmt.Errorf("rootfs: %w", err)
		}
		if over == t.String() {
			names = append(names, dir.Name())
		}
	}
	return names, nil
}

// RemoveArchived deletes an archived root.
func (r *Roots) RemoveArchived(k ArchivedRoot) error {
	err := stage.Remove(r.Dir, r.archivedPath(k.Name))
	if err == nil {
		err = r.forget(k.Name)
	}
	if err != nil {
		return fmt.Errorf("rootfs: removing the kept root %s: %w", k.Name, err)
	}
	return nil
}

// Prepare clones a root for a board. Swap puts it into use.
func (r *Roots) Prepare(ctx context.Context, src Template, method CloneMethod, serial pi.Serial, id Identity, p Progress) (ArchivedRoot, Report, error) {
	k := newArchived(serial, Origin{Template: src.Name, Version: src.Version, Arch: src.Arch, Why: prepared})
	if err := r.note(k); err != nil {
		return ArchivedRoot{}, Report{}, fmt.Errorf("rootfs: preparing a root for %s: %w", serial, err)
	}
	report, err := r.clone(ctx, clone{src: src, method: method, serial: serial, id: id, target: r.archivedPath(k.Name)}, p)
	if err != nil {
		return ArchivedRoot{}, Report{}, errors.Join(err, r.forget(k.Name))
	}
	k.Clone = string(report.How)
	return k, report, nil
}

// Restore updates an archived root so that Swap can put it back into use: it
// writes the current worker and the current identity of its board, except host
// keys and machine id.
func (r *Roots) Restore(k ArchivedRoot, id Identity) error {
	program, err := r.workerFor(k.Arch)
	if err != nil {
		return fmt.Errorf("rootfs: restoring %s: %w", k.Name, err)
	}
	root, done, err := r.open(r.archivedPath(k.Name))
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
		err = stage.SyncFS(r.archivedPath(k.Name))
	}
	if err != nil {
		return fmt.Errorf("rootfs: restoring %s: %w", k.Name, err)
	}
	return nil
}

// Swap puts the archived root next into use and archives the root that its board
// had, with the origin was. FinishSwap completes an interrupted Swap: it finds the
// root to boot from by the board's token.
func (r *Roots) Swap(next ArchivedRoot, was Origin) (old ArchivedRoot, err error) {
	if _, err := os.Lstat(r.Path(next.Serial)); err == nil {
		if old, err = r.Archive(next.Serial, was); err != nil {
			return ArchivedRoot{}, err
		}
	}
	err = os.Rename(r.archivedPath(next.Name), r.Path(next.Serial))
	if err == nil {
		err = errors.Join(durable.SyncDir(filepath.Join(r.Dir, archiveDir)), durable.SyncDir(r.Dir), r.forget(next.Name), r.Mount(next.Serial))
	}
	if err != nil {
		return old, fmt.Errorf("rootfs: putting the root %s in place: %w", next.Name, err)
	}
	return old, nil
}

// FinishSwap completes an interrupted Swap of a board's root. valid reports whether
// a token is the board's; the root that contains that token is the one to boot
// from. FinishSwap deletes roots that were prepared and not swapped.
func (r *Roots) FinishSwap(serial pi.Serial, valid func(token string) bool) error {
	all, err := r.allArchived(serial)
	if err != nil {
		return fmt.Errorf("rootfs: looking for interrupted changes of the root of %s: %w", serial, err)
	}
	for _, k := range all {
		switch token := r.tokenOf(r.archivedPath(k.Name)); {
		case token != "" && valid(token) && !valid(r.tokenOf(r.Path(serial))):
			r.log().Warn("interrupted change of a root completed", "serial", serial, "file", k.Name)
			if _, err := r.Swap(k, Origin{Why: "its replacement was interrupted"}); err != nil {
				return err
			}
		case k.Why == prepared:
			if err := r.RemoveArchived(k); err != nil {
				return err
			}
		}
	}
	return nil
}

// tokenOf returns the worker's token in a root, "" if it cannot be read.
func (r *Roots) tokenOf(dir string) string {
	root, done, err := r.open(dir)
	if err != nil {
		return ""
	}
	text, err := confine.ReadText(root, images.WorkerConfigFile)
	var config WorkerConfig
	if err = errors.Join(err, done()); err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.Token
}
