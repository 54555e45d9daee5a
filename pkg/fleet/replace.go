package fleet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/timeline"
)

// Replaced tells what became of a board's root.
type Replaced struct {
	Pi    registry.Pi         `json:"pi"`
	Kept  rootfs.ArchivedRoot `json:"kept"` // the root that it had
	Clone rootfs.CloneMethod  `json:"clone,omitempty"`
	Files int                 `json:"files,omitempty"`
	Bytes int64               `json:"bytes,omitempty"`
	Proof []string            `json:"proof,omitempty"`
}

// Reset gives a board a fresh clone of the template that to names; "" means the
// version that the board has. by is the method; "" means that of its present root.
// The present root is archived. A running board loses its root at once. If Reset is
// interrupted, the board has either its old root or its new one after the next Start.
func (f *Fleet) Reset(ctx context.Context, ref, to, by string, progress rootfs.Progress) (Replaced, error) {
	board, end, err := f.begin(ctx, ref)
	if err != nil {
		return Replaced{}, err
	}
	defer end()
	why, find := "upgrade to ", f.findTemplate
	if to == "" {
		to, why, find = fmt.Sprintf("%s@%d", board.Template, board.Version), "reset to ", f.Templates.Find
	}
	template, err := find(to)
	if err != nil {
		return Replaced{}, err
	}
	if by == "" {
		by = board.Clone
	}
	method, err := parseMethod(by)
	if err != nil {
		return Replaced{}, err
	}
	token, err := newToken()
	if err != nil {
		return Replaced{}, err
	}
	next, report, err := f.prepare(ctx, template, method, board, token, progress)
	if err != nil {
		return Replaced{}, err
	}
	replaced, err := f.replace(ctx, board, next, token, why+template.String())
	replaced.Clone, replaced.Files, replaced.Bytes = report.How, report.Files, report.Bytes
	return replaced, err
}

// prepare clones the next root of a board.
func (f *Fleet) prepare(ctx context.Context, template rootfs.Template, method rootfs.CloneMethod, board registry.Pi, token string, progress rootfs.Progress) (rootfs.ArchivedRoot, rootfs.Report, error) {
	release, err := f.acquireClone(ctx)
	if err != nil {
		return rootfs.ArchivedRoot{}, rootfs.Report{}, err
	}
	defer release()
	return f.Roots.Prepare(ctx, template, method, board.Serial, f.identity(board, token), progress)
}

// Rollback gives a board back the archived root called name; "" means the latest. The
// present root is archived, so that a second Rollback undoes the first. Running boards
// and interruptions are as with Reset.
func (f *Fleet) Rollback(ctx context.Context, ref, name string) (Replaced, error) {
	board, end, err := f.begin(ctx, ref)
	if err != nil {
		return Replaced{}, err
	}
	defer end()
	next, err := f.Roots.FindArchived(board.Serial, name)
	if errors.Is(err, fs.ErrNotExist) {
		err = pi.RequestError{Reason: pi.Missing, Field: "kept", Err: err}
	}
	if err != nil {
		return Replaced{}, err
	}
	if next.Template == "" {
		return Replaced{}, pi.Conflicting("kept", fmt.Errorf("fleet: it is not recorded from which template the root %s was cloned (%s); add the board again and move files over by hand", next.Name, next.Why))
	}
	token, err := newToken()
	if err != nil {
		return Replaced{}, err
	}
	if err := f.Roots.Restore(next, f.identity(board, token)); err != nil {
		return Replaced{}, err
	}
	return f.replace(ctx, board, next, token, "rollback to "+next.Origin.String())
}

// replace puts the root next, whose worker has the token, in the place of the
// board's.
func (f *Fleet) replace(ctx context.Context, board registry.Pi, next rootfs.ArchivedRoot, token, why string) (Replaced, error) {
	is, err := f.Registry.SetRoot(ctx, board.Serial, registry.Root{Template: next.Template, Version: next.Version, Arch: next.Arch, Clone: next.Clone}, token)
	if err != nil {
		return Replaced{}, err
	}
	// From here on next is the board's root: were this interrupted, the next
	// Start would know it by the token.
	was := origin(board, why)
	replaced := Replaced{Pi: is}
	if replaced.Kept, err = f.Roots.Swap(next, was); err != nil {
		return replaced, err
	}
	f.record(is, timeline.Changed, why)
	if err = f.Disconnect(board.Serial.String()); err == nil {
		replaced.Proof, err = f.open(ctx, is)
	}
	if err != nil {
		err = fmt.Errorf("%s has its new root, but it does not work: %w", is.Name, err)
	}
	return replaced, err
}

// origin says where the root of a board came from, and why it is archived.
func origin(board registry.Pi, why string) rootfs.Origin {
	return rootfs.Origin{Template: board.Template, Version: board.Version, Arch: board.Arch, Clone: board.Clone, Why: why}
}

// Drift returns what is not in a board's root as in the template that it was cloned
// from.
func (f *Fleet) Drift(ctx context.Context, ref string, progress rootfs.Progress) (registry.Pi, []filetree.Change, error) {
	board, err := f.Registry.Find(ref)
	if err != nil {
		return registry.Pi{}, nil, err
	}
	template, err := f.Templates.Find(fmt.Sprintf("%s@%d", board.Template, board.Version))
	if err != nil {
		return registry.Pi{}, nil, err
	}
	changes, err := f.Templates.Drift(ctx, f.Roots, board.Serial, template, progress)
	if err != nil {
		return registry.Pi{}, nil, err
	}
	return board, changes, nil
}

// finishReplacements completes what an interrupted replace has left undone. A
// board whose root cannot be put in place does not keep the others from booting.
func (f *Fleet) finishReplacements() {
	for _, board := range f.Registry.All() {
		valid := func(token string) bool { return f.Registry.CheckToken(board.Serial, token) }
		if err := f.Roots.FinishSwap(board.Serial, valid); err != nil {
			f.Log.Error("interrupted change of a root not completed", "component", "fleet", "pi", board.Name, "err", err)
			f.record(board, timeline.RootFailed, "an interrupted change of it is not completed: "+err.Error())
		}
	}
}
