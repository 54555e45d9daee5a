package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"pibootd/pkg/transcode"
)

// maxBeside is the number of names of a directory among which files with subtitles
// are looked for.
const maxBeside = 100_000

// sidecarsOf returns the files with subtitles beside a source.
func (q *Queue) sidecarsOf(source string) ([]string, error) {
	dir, err := q.media.Open(path.Dir(source))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxBeside)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	sidecars := transcode.Sidecars(path.Base(source), names)
	for i, name := range sidecars {
		sidecars[i] = path.Join(path.Dir(source), name)
	}
	return sidecars, nil
}

// writeSidecars writes what tells the files beside a source from others.
func (q *Queue) writeSidecars(w io.Writer, sidecars []string) error {
	for _, name := range sidecars {
		info, err := q.media.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s %d %d\n", path.Base(name), info.Size(), info.ModTime().UnixNano())
	}
	return nil
}
