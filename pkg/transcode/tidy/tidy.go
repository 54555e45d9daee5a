// Package tidy moves originals away: some time after a job is done, its source is
// moved to Dir of the media share. The delay is for caches that still refer to the
// original. Nothing is deleted or replaced.
package tidy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/share"
	"pibootd/pkg/store"
)

// Dir is the directory to which originals are moved, under their former path without
// videosDir in front. It is beside videosDir, as in the pool that pibootd replaces.
const (
	Dir       = "originals"
	videosDir = "videos/"
)

const (
	defaultEvery = 30 * time.Second
	maxDue       = 100    // originals looked at in one go
	maxNames     = 10_000 // tried for one original
)

// A Tidier moves originals away. Set its fields before use. It is safe for concurrent
// use.
type Tidier struct {
	Store    *store.Store
	MediaDir string
	After    time.Duration // the end of its job; 0: never, and nothing is recorded
	Log      *slog.Logger
	Every    time.Duration // between two scans; 0 means 30 s
}

// An original is a source whose job is done.
type original struct {
	job            int64
	source, output string
	started        time.Time
}

// Run moves originals away when they are due, until ctx ends; then it returns nil.
func (t *Tidier) Run(ctx context.Context) error {
	tick := time.NewTicker(cmp.Or(t.Every, defaultEvery))
	defer tick.Stop()
	for {
		if err := t.tidy(ctx, time.Now()); err != nil && ctx.Err() == nil {
			t.Log.Error("originals not put away, trying again", "component", "tidy", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tidy moves the originals that are due.
func (t *Tidier) tidy(ctx context.Context, now time.Time) error {
	if t.After == 0 {
		return t.forgetAll(ctx)
	}
	due, err := t.due(ctx, now.Add(-t.After))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(t.MediaDir)
	if err != nil {
		return fmt.Errorf("opening the media share: %w", err)
	}
	defer root.Close()
	var errs []error
	for _, o := range due {
		if ctx.Err() != nil {
			break
		}
		errs = append(errs, t.put(ctx, root, o))
	}
	return errors.Join(errs...)
}

// errStays reports that an original is never moved away.
var errStays = errors.New("it stays where it is")

// errLater reports that an original is still needed.
var errLater = errors.New("it is needed by another job")

// put moves one original, or returns why it stays.
func (t *Tidier) put(ctx context.Context, root *os.Root, o original) error {
	to := ""
	err := t.check(ctx, root, o)
	if err == nil {
		to, err = move(root, o.source)
	}
	if err == nil {
		err = t.moveSidecars(root, o.source, to)
	}
	switch {
	case errors.Is(err, errLater):
		return nil
	case errors.Is(err, errStays):
		t.Log.Warn("original not put away", "component", "tidy", "job", o.job, "file", o.source, "err", err)
	case err != nil:
		return fmt.Errorf("job %d: putting %s away: %w", o.job, o.source, err)
	default:
		t.Log.Info("original put away", "component", "tidy", "job", o.job, "file", o.source, "to", to)
	}
	return t.forget(ctx, o.job)
}

// check makes sure that the source is the file that was transcoded, and that the
// output exists.
func (t *Tidier) check(ctx context.Context, root *os.Root, o original) error {
	first, _, _ := strings.Cut(o.source, "/")
	if slices.Contains(share.PublishedDirs(), first) {
		return fmt.Errorf("%w: it lies in %s", errStays, first)
	}
	info, err := root.Lstat(o.source)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: it is gone", errStays)
	}
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is %v", errStays, info.Mode())
	}
	if changed := time.Unix(st.Ctim.Unix()); changed.After(o.started) {
		return fmt.Errorf("%w: it was changed or replaced at %s, after its job began", errStays, changed.Format(time.DateTime))
	}
	if _, err := root.Stat(o.output); err != nil {
		return fmt.Errorf("%w: what it became is not there: %w", errStays, err)
	}
	return t.notNeeded(ctx, o)
}

// target returns where an original goes.
func target(source string) string { return path.Join(Dir, strings.TrimPrefix(source, videosDir)) }

// move renames a source to its target. If that name is in use, it adds a number.
func move(root *os.Root, source string) (string, error) {
	to := target(source)
	if err := root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return "", err
	}
	ext := path.Ext(to)
	for n := 2; n <= maxNames; n++ {
		err := share.RenameNew(root, source, to)
		if !errors.Is(err, fs.ErrExist) {
			return to, err
		}
		to = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(target(source), ext), n, ext)
	}
	return "", fmt.Errorf("%w: %s and %d numbered after it exist", errStays, target(source), maxNames)
}
