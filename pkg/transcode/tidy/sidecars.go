package tidy

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// moveSidecars moves the files with subtitles for a source that was moved to a place,
// under its new name. They stay if another video beside them has the same name. One
// for whose name there is a file already stays, and the log says so.
func (t *Tidier) moveSidecars(root *os.Root, source, to string) error {
	entries, err := fs.ReadDir(root.FS(), path.Dir(source))
	if err != nil {
		return err
	}
	stem := func(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }
	var names []string
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		names = append(names, entry.Name())
		if !transcode.IsCompanion(entry.Name()) && stem(entry.Name()) == stem(path.Base(source)) {
			return nil
		}
	}
	for _, name := range transcode.Sidecars(path.Base(source), names) {
		rest := strings.TrimPrefix(name, stem(path.Base(source)))
		err := share.RenameNew(root, path.Join(path.Dir(source), name), stem(to)+rest)
		if errors.Is(err, fs.ErrExist) {
			t.Log.Warn("subtitles not put away", "component", "tidy", "file", path.Join(path.Dir(source), name), "err", err)
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
