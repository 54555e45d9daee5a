package watchfolder

import (
	"context"
	"hash/crc32"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

const (
	maxDepth   = 8
	partSuffix = ".part"
	// restats is the number of files with a job that a scan examines again, because
	// the kernel may not report that a file was replaced by another of its name.
	restats = 64
)

// A listing is the contents of the folder.
type listing struct {
	files map[string]sighting
	texts map[string]sighting // subtitles, which belong to the videos beside them
	never map[string]string   // entries that are never accepted, and why
}

// A lister reads the folder.
type lister struct {
	before  map[string]sighting
	texts   map[string]sighting // of the last scan
	changes *changes
	changed func(name string) bool // whether a file may have changed since the last scan
	now     time.Time
	found   listing
}

// list returns the files below the folder that could be videos. It examines only
// those that have no job, and those that may have changed.
func (f *Folder) list(ctx context.Context, share fs.FS, now time.Time) (listing, error) {
	l := lister{before: f.files, texts: f.texts, changes: f.changes, changed: f.maybeChanged(), now: now, found: listing{map[string]sighting{}, map[string]sighting{}, map[string]string{}}}
	err := fs.WalkDir(share, f.Dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && name == f.Dir:
			return err
		case err != nil:
			return fs.SkipDir // removed meanwhile, or unreadable
		case name == f.Dir:
			l.changes.add(name)
			return nil
		}
		return l.entry(name, entry)
	})
	return l.found, err
}

// entry lists one entry of the folder.
func (l *lister) entry(name string, entry fs.DirEntry) error {
	switch {
	case strings.HasPrefix(entry.Name(), "."):
		return skip(entry)
	case !utf8.ValidString(entry.Name()):
		l.found.never[name] = "its name is not UTF-8; rename it"
		return skip(entry)
	case entry.IsDir() && strings.Count(name, "/") > maxDepth:
		l.found.never[name] = "it is too deep in the folder; move it up"
		return fs.SkipDir
	case entry.IsDir():
		l.changes.add(name)
	case strings.EqualFold(path.Ext(name), partSuffix):
	case !entry.Type().IsRegular():
		l.found.never[name] = "it is a " + share.Kind(entry.Type()) + "; want a regular file"
	case transcode.IsSidecar(name):
		l.text(name, entry)
	default:
		l.file(name, entry)
	}
	return nil
}

func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// file lists a file, with the time of its last change.
func (l *lister) file(name string, entry fs.DirEntry) {
	s, known := l.before[name]
	if known && s.done && !l.changed(name) {
		l.found.files[name] = s
		return
	}
	is, ok := stampOf(entry)
	if !ok {
		return
	}
	if !known || s.stamp != is {
		s = sighting{stamp: is, since: l.now}
	}
	l.found.files[name] = s
}

// text lists a file with subtitles.
func (l *lister) text(name string, entry fs.DirEntry) {
	is, ok := stampOf(entry)
	if !ok {
		return
	}
	s, known := l.texts[name]
	if !known || s.stamp != is {
		s = sighting{stamp: is, since: l.now}
	}
	l.found.texts[name] = s
}

// lastChange returns when a file, or the subtitles beside it, last changed.
func (f *Folder) lastChange(name string) time.Time {
	since := f.files[name].since
	stem := strings.TrimSuffix(name, path.Ext(name)) + "."
	for text, s := range f.texts {
		if strings.HasPrefix(text, stem) && s.since.After(since) {
			since = s.since
		}
	}
	return since
}

// maybeChanged returns whether a file may have changed since the last scan: the kernel
// has reported it, or it is its turn.
func (f *Folder) maybeChanged() func(name string) bool {
	reported := f.changes.take()
	f.looks++
	turns := uint32(len(f.files)/restats + 1)
	turn := uint32(f.looks) % turns
	return func(name string) bool {
		return reported(name) || crc32.ChecksumIEEE([]byte(name))%turns == turn
	}
}

// stampOf returns the stamp of a file; false if it is gone or still empty.
func stampOf(entry fs.DirEntry) (stamp, bool) {
	info, err := entry.Info()
	if err != nil || info.Size() == 0 {
		return stamp{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return stamp{}, false
	}
	return stamp{st.Ino, info.Size(), info.ModTime().UnixNano(), time.Unix(st.Ctim.Unix()).UnixNano()}, true
}
