package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode"
)

const (
	// maxBeside is the number of names of a directory among which files with subtitles
	// are looked for.
	maxBeside = 100_000
	// settledAfter is how long a directory is unchanged before its names are kept: two
	// changes shortly after one another can have the same time.
	settledAfter = 2 * time.Second
)

// beside are the files of the directory that was read last. A batch of thousands of
// videos is submitted from one directory.
type beside struct {
	dir     string
	changed time.Time
	names   []string // ascending
}

// sidecarsOf returns the files with subtitles beside a source.
func (q *Queue) sidecarsOf(source string) ([]string, error) {
	names, err := q.namesIn(path.Dir(source))
	if err != nil {
		return nil, err
	}
	// Whatever is about the same video begins like it.
	base := strings.TrimSuffix(path.Base(source), path.Ext(source))
	first, _ := slices.BinarySearch(names, base)
	end := first
	for end < len(names) && strings.HasPrefix(names[end], base) {
		end++
	}
	sidecars := transcode.Sidecars(path.Base(source), names[first:end])
	for i, name := range sidecars {
		sidecars[i] = path.Join(path.Dir(source), name)
	}
	return sidecars, nil
}

// namesIn returns the names of the regular files of a directory, in order. It reads the
// directory only if that has changed since.
func (q *Queue) namesIn(dir string) ([]string, error) {
	info, err := q.media.Stat(dir)
	if err != nil {
		return nil, err
	}
	if last := q.beside.Load(); last != nil && last.dir == dir && last.changed.Equal(info.ModTime()) {
		return last.names, nil
	}
	names, err := q.readNames(dir)
	if err != nil {
		return nil, err
	}
	if time.Since(info.ModTime()) > settledAfter {
		q.beside.Store(&beside{dir, info.ModTime(), names})
	}
	return names, nil
}

func (q *Queue) readNames(name string) ([]string, error) {
	dir, err := q.media.Open(name)
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
	slices.Sort(names)
	return names, nil
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
