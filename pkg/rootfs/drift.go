package rootfs

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"pibootd/images"
	"pibootd/pkg/pi"
)

// Drift returns what is not as in the template that a board's root was cloned
// from: files added, removed, and changed in content, mode, owner or extended
// attributes. What pibootd itself writes into a root is left out. The board may be
// running; what it changes meanwhile is in the list or not.
func (t *Templates) Drift(ctx context.Context, roots *Roots, serial pi.Serial, from Template, p Progress) ([]Change, error) {
	made, err := t.manifest(from)
	if err != nil {
		return nil, err
	}
	is, err := readTree(ctx, roots.Path(serial), func(files int) { p.report("compare", int64(files), int64(len(made))) })
	if err != nil {
		return nil, fmt.Errorf("rootfs: comparing the root of %s with %s: %w", serial, from, err)
	}
	own, dirs, err := identityFiles()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(compare(made, is), func(c Change) bool {
		return slices.Contains(own, c.File) || strings.HasPrefix(c.File, "etc/ssh/ssh_host_") || c.What == added && slices.Contains(dirs, c.File)
	}), nil
}

// identityFiles are the files that Clone writes into a root, and the directories
// that it makes for them where a template has none.
func identityFiles() (files, dirs []string, err error) {
	files = []string{
		"etc/hostname", "etc/hosts", "etc/machine-id", WorkerFile, formerWorkerFile, WorkerConfigFile, images.VolatileInitFile,
		path.Join(systemUnits, "multi-user.target.wants", workerUnit),
	}
	err = fs.WalkDir(images.Overlay(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, name)
		}
		return err
	})
	for _, file := range append(files, "etc/ssh/ssh_host_key") {
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return files, dirs, err
}
