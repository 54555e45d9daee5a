// Package watchfolder watches a directory of the media share and submits a job for
// each file that has stopped growing. Whether the file is a video shows in the job's
// probe, because only workers have ffmpeg. A file that is not stays where it is, and
// is logged once.
package watchfolder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

const (
	defaultEvery     = 5 * time.Second
	defaultStableFor = 15 * time.Second
	maxFiles         = 10_000
	maxDepth         = 8
	partSuffix       = ".part"
)

// A Folder is a directory that is watched. Set its fields before Run.
type Folder struct {
	Store    *store.Store
	Queue    *queue.Queue
	MediaDir string
	Dir      string           // in the media share, slash-separated; created if missing
	Output   transcode.Output // of its jobs
	Log      *slog.Logger

	Every     time.Duration // between two scans; 0 means 5 s
	StableFor time.Duration // how long a file must stay unchanged; 0 means 15 s

	files   map[string]sighting // of the last scan, by path in the share
	crowded bool                // that there are too many files was logged
}

// A sighting is a file at the last scan.
type sighting struct {
	stamp   stamp
	since   time.Time // of its last change
	done    bool      // a job was submitted
	problem string    // why it could not be submitted, as logged
}

// A stamp distinguishes a file from others, and from later states of itself.
type stamp struct {
	inode       uint64
	size        int64
	mtime, ctim int64 // Unix, nanoseconds; ctim is the time of its last rename
}

// Run scans the folder until ctx ends; then it returns nil.
func (f *Folder) Run(ctx context.Context) error {
	tick := time.NewTicker(cmp.Or(f.Every, defaultEvery))
	defer tick.Stop()
	for {
		if err := f.scan(ctx, time.Now()); err != nil && ctx.Err() == nil {
			f.Log.Error("watch folder not read, trying again", "component", "watchfolder", "file", f.Dir, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// scan submits the files that have not changed for long enough.
func (f *Folder) scan(ctx context.Context, now time.Time) error {
	share, err := os.OpenRoot(f.MediaDir)
	if err != nil {
		return fmt.Errorf("watch folder: opening the media share: %w", err)
	}
	defer share.Close()
	if err := share.MkdirAll(f.Dir, 0o755); err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	found, err := f.list(ctx, share.FS())
	if err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	f.files = merge(f.files, found, now)
	for name, s := range f.files {
		if s.done || now.Sub(s.since) < cmp.Or(f.StableFor, defaultStableFor) {
			continue
		}
		f.files[name] = f.submit(ctx, name, s)
	}
	return f.report(ctx)
}

// merge returns the found files, each with the time of its last change.
func merge(before map[string]sighting, found map[string]stamp, now time.Time) map[string]sighting {
	files := make(map[string]sighting, len(found))
	for name, is := range found {
		s, known := before[name]
		if !known || s.stamp != is {
			s = sighting{stamp: is, since: now}
		}
		files[name] = s
	}
	return files
}

var errCrowded = errors.New("too many files")

// list returns the files below the folder that could be videos.
func (f *Folder) list(ctx context.Context, share fs.FS) (map[string]stamp, error) {
	found := map[string]stamp{}
	entries := 0
	err := fs.WalkDir(share, f.Dir, func(name string, entry fs.DirEntry, err error) error {
		if entries++; ctx.Err() != nil || entries > maxFiles {
			return errors.Join(ctx.Err(), errCrowded)
		}
		switch {
		case err != nil && name == f.Dir:
			return err
		case err != nil:
			return fs.SkipDir // removed meanwhile, or unreadable
		case name == f.Dir:
			return nil
		case strings.HasPrefix(entry.Name(), "."), entry.IsDir() && strings.Count(name, "/") > maxDepth:
			return skip(entry)
		case !entry.Type().IsRegular(), strings.EqualFold(path.Ext(name), partSuffix):
			return nil
		}
		if is, ok := stampOf(entry); ok {
			found[name] = is
		}
		return nil
	})
	if errors.Is(err, errCrowded) && ctx.Err() == nil {
		if !f.crowded {
			f.Log.Warn("watch folder has too many files, the rest is not looked at", "component", "watchfolder", "file", f.Dir, "limit", maxFiles)
		}
		f.crowded = true
		return found, nil
	}
	f.crowded = false
	return found, err
}

func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
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

// submit submits a job for a file, unless there is one. A refusal by the queue is
// logged once and retried, because its reason may pass.
func (f *Folder) submit(ctx context.Context, name string, s sighting) sighting {
	job, known, err := f.known(ctx, name, s.stamp)
	if err == nil && !known {
		var submitted queue.Job
		submitted, _, err = f.Queue.Submit(ctx, transcode.Request{Source: name, Output: f.Output})
		job = submitted.ID
	}
	if err == nil && job != 0 {
		err = f.note(ctx, name, s.stamp, job)
	}
	if err == nil {
		if !known {
			f.Log.Info("video submitted from the watch folder", "component", "watchfolder", "file", name, "job", job)
		}
		s.done, s.problem = true, ""
		return s
	}
	if text := err.Error(); text != s.problem && ctx.Err() == nil {
		s.problem = text
		f.Log.Warn("file in the watch folder not submitted", "component", "watchfolder", "file", name, "err", err)
	}
	return s
}
