// Package watchfolder watches a directory of the media share and submits a job for
// each file that has stopped growing. Whether the file is a video shows in the job's
// probe, because only workers have ffmpeg. A file that is not stays where it is, and
// is logged once.
//
// A look at the folder costs one read of each directory, and nothing for a file that
// has its job. Between two looks the kernel reports changes (inotify). It cannot
// report those of other machines on a network file system, so that the folder is also
// read at intervals.
package watchfolder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

const (
	defaultEvery     = 5 * time.Second
	defaultStableFor = 15 * time.Second
	// idleEvery is the time between two scans while the kernel reports no change.
	idleEvery = time.Minute
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

	files    map[string]sighting // of the last scan, by path in the share; nil before the first
	texts    map[string]sighting // subtitles, likewise
	looks    int                 // number of scans
	scanned  time.Time           // time of the last scan
	changes  *changes            // what the kernel reports; nil: it reports nothing
	full     bool                // that the queue is full was logged
	recorded int                 // files since the last call of forget

	mu    sync.Mutex
	never map[string]string // entries that are never accepted, and why
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
	f.changes = watchChanges(f.MediaDir, f.Log)
	defer f.changes.close()
	tick := time.NewTicker(cmp.Or(f.Every, defaultEvery))
	defer tick.Stop()
	for {
		if err := f.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			f.Log.Error("watch folder not read, trying again", "component", "watchfolder", "file", f.Dir, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look scans the folder if there may be something new in it, and reports how jobs
// ended.
func (f *Folder) look(ctx context.Context, now time.Time) error {
	var err error
	if f.due(now) {
		err = f.scan(ctx, now)
	}
	return errors.Join(err, f.report(ctx))
}

// due reports whether the folder has to be read: because something changed, a file
// waits for its job, or the kernel may not report every change.
func (f *Folder) due(now time.Time) bool {
	if f.changes == nil || f.changes.any() || now.Sub(f.scanned) >= idleEvery {
		return true
	}
	for _, s := range f.files {
		if !s.done {
			return true
		}
	}
	return false
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
	found, err := f.list(ctx, share.FS(), now)
	if err != nil {
		return fmt.Errorf("watch folder: %w", err)
	}
	if f.files == nil {
		if err := f.recall(ctx, found.files); err != nil {
			return fmt.Errorf("watch folder: reading what was taken: %w", err)
		}
	}
	f.files, f.texts, f.scanned = found.files, found.texts, now
	f.refuse(found.never)
	f.submitDue(ctx, now)
	return f.forget(ctx)
}

// submitDue submits the files that have not changed for long enough, in the order of
// their names. It stops at the first one for which the queue has no room.
func (f *Folder) submitDue(ctx context.Context, now time.Time) {
	var due []string
	for name, s := range f.files {
		if !s.done && now.Sub(f.lastChange(name)) >= cmp.Or(f.StableFor, defaultStableFor) {
			due = append(due, name)
		}
	}
	slices.Sort(due)
	for _, name := range due {
		s, err := f.submit(ctx, name, f.files[name])
		if errors.Is(err, queue.ErrFull) {
			if !f.full {
				f.Log.Warn("watch folder waits for the queue", "component", "watchfolder", "file", f.Dir, "err", err)
			}
			f.full = true
			return
		}
		f.files[name] = s
		f.full = f.full && err != nil
	}
}

// submit submits a job for a file, unless there is one. A refusal by the queue is
// logged once and retried, because its reason may pass.
func (f *Folder) submit(ctx context.Context, name string, s sighting) (sighting, error) {
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
		return s, nil
	}
	if text := err.Error(); text != s.problem && ctx.Err() == nil && !errors.Is(err, queue.ErrFull) {
		s.problem = text
		f.Log.Warn("file in the watch folder not submitted", "component", "watchfolder", "file", name, "err", err)
	}
	return s, err
}

// maxRefusals is the number of entries that one scan logs as never accepted. A
// directory of links must not fill the log.
const maxRefusals = 20

// refuse records the entries that are never accepted, and logs the new ones.
func (f *Folder) refuse(never map[string]string) {
	f.mu.Lock()
	before := f.never
	f.never = never
	f.mu.Unlock()
	logged := 0
	for _, name := range slices.Sorted(maps.Keys(never)) {
		if before[name] == never[name] {
			continue
		}
		if logged++; logged > maxRefusals {
			f.Log.Warn("further entries of the watch folder are never accepted", "component", "watchfolder", "file", f.Dir)
			return
		}
		f.Log.Warn("entry of the watch folder is never accepted", "component", "watchfolder", "file", name, "reason", never[name])
	}
}

// Refused returns the entries that are never accepted, by their path in the media
// share, and why. It can be called while Run runs.
func (f *Folder) Refused() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.never)
}
