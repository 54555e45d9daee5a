package fleet

import (
	"fmt"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
)

// TemplateUsers returns the names of the boards whose root is a clone of a template, also of those
// that are being added.
func (f *Fleet) TemplateUsers(t rootfs.Template) (names []string) {
	uses := func(board registry.Pi) bool { return board.Template == t.Name && board.Version == t.Version }
	known := map[pi.Serial]bool{}
	for _, board := range f.Registry.All() {
		if known[board.Serial] = true; uses(board) {
			names = append(names, board.Name)
		}
	}
	f.changes.mu.Lock()
	defer f.changes.mu.Unlock()
	for serial, board := range f.changes.reserved {
		if !known[serial] && uses(board) {
			names = append(names, board.Name)
		}
	}
	return names
}

// RemoveTemplate removes a version of a template, NAME@VERSION, that nobody uses.
func (f *Fleet) RemoveTemplate(ref string) (rootfs.Template, error) {
	return RemoveTemplate(f.Templates, f.Roots, ref, func(t rootfs.Template) ([]string, error) { return f.TemplateUsers(t), nil })
}

// RemoveTemplate removes a version of a template, NAME@VERSION, unless an archived root needs it
// or the boards that users returns, by their names.
func RemoveTemplate(from *rootfs.Templates, roots *rootfs.Roots, ref string, users func(rootfs.Template) ([]string, error)) (rootfs.Template, error) {
	if !strings.Contains(ref, "@") {
		return rootfs.Template{}, pi.InvalidField("template", fmt.Errorf("fleet: %.100q names no version; want e.g. %.100s@1", ref, ref))
	}
	t, err := from.Find(ref)
	if err != nil {
		return t, err
	}
	names, err := users(t)
	if err != nil {
		return t, err
	}
	if len(names) > 0 {
		return t, pi.Conflicting("", fmt.Errorf("fleet: template %s is in use by %s; remove these boards first (pibootd remove-pi), or keep it", t, strings.Join(names, ", ")))
	}
	kept, err := roots.ArchivedOver(t)
	if err != nil {
		return t, err
	}
	if len(kept) > 0 {
		return t, pi.Conflicting("", fmt.Errorf("fleet: template %s is used by the archived roots %s; remove these first (pibootd kept-roots), or keep it", t, strings.Join(kept, ", ")))
	}
	return t, from.Remove(t)
}
