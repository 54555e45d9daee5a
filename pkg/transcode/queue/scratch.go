package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
)

// A worker is root on its own machine, so its scratch is hostile ground: no
// link in it is followed, no owner or name in it is trusted, and all that is
// done there is done by descriptor.

// openScratch opens the scratch of a worker. The error matches fs.ErrNotExist
// where the worker has none, as those that send their files by HTTP.
func (q *Queue) openScratch(worker string) (*os.File, error) {
	if !broker.ValidWorker(worker) {
		return nil, fmt.Errorf("scratch of %q: %w", worker, fs.ErrNotExist)
	}
	scratches, err := q.media.Open(transcode.ScratchDir)
	if err != nil {
		return nil, err
	}
	defer scratches.Close()
	return share.OpenDirAt(scratches, worker)
}

// openAttempt opens the directory that an attempt of a worker has written to.
func (q *Queue) openAttempt(worker string, key attemptKey) (*os.File, error) {
	scratch, err := q.openScratch(worker)
	if err != nil {
		return nil, err
	}
	defer scratch.Close()
	return share.OpenDirAt(scratch, transcode.ScratchName(key.job, key.unit, key.attempt))
}

// clearScratch removes what an attempt has left in its worker's scratch.
func (q *Queue) clearScratch(worker string, key attemptKey) {
	scratch, err := q.openScratch(worker)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer scratch.Close()
		err = q.removeBelow(scratch, transcode.ScratchName(key.job, key.unit, key.attempt))
	}
	if err != nil {
		q.log.Warn("scratch not cleared", "pi", worker, "job", key.job, "unit", key.unit, "attempt", key.attempt, "err", err)
	}
}

// sweepBatch is how many names of a scratch are read at a time.
const sweepBatch = 1000

// sweepScratches removes from every scratch what no running attempt needs. One
// that cannot be swept does not keep the others from it.
func (q *Queue) sweepScratches(ctx context.Context) error {
	names, err := q.list(transcode.ScratchDir)
	if err != nil {
		return fmt.Errorf("queue: sweeping the scratches: %w", err)
	}
	for _, worker := range names {
		if strings.HasPrefix(worker, ".") || ctx.Err() != nil {
			continue // pibootd's own
		}
		if err := q.sweepScratch(ctx, worker); err != nil && ctx.Err() == nil {
			q.log.Warn("scratch not swept", "pi", worker, "err", err)
			q.misused(worker, "its scratch cannot be swept: "+err.Error())
		}
	}
	return ctx.Err()
}

func (q *Queue) sweepScratch(ctx context.Context, worker string) error {
	scratch, err := q.openScratch(worker)
	if err != nil {
		return err
	}
	defer scratch.Close()
	odd := map[string][]string{} // names of what no attempt makes, by kind
	defer func() {
		if len(odd) > 0 {
			q.misused(worker, "in its scratch there were "+oddText(odd)+", which no attempt makes; they were removed")
		}
	}()
	for {
		// Read before the attempts are asked for: what a later claim brings is
		// not among these names.
		entries, err := scratch.ReadDir(sweepBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		running, err := q.runningNames(ctx, worker)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if running[entry.Name()] && entry.IsDir() {
				continue
			}
			if kind := share.Kind(entry.Type()); !entry.IsDir() {
				odd[kind] = append(odd[kind], entry.Name())
			}
			if err := q.removeBelow(scratch, entry.Name()); err != nil {
				return err
			}
		}
	}
}

// oddText says how much there is of each kind, with a name as an example.
func oddText(odd map[string][]string) string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(odd)) {
		kinds = append(kinds, fmt.Sprintf("%d of type %s (such as %.50q)", len(odd[kind]), kind, odd[kind][0]))
	}
	return strings.Join(kinds, ", ")
}

// runningNames returns what the running attempts of a worker are called in its
// scratch.
func (q *Queue) runningNames(ctx context.Context, worker string) (map[string]bool, error) {
	rows, err := q.store.Query(ctx, unitQuery+` WHERE u.state = ? AND (u.worker = ? OR u.second_worker = ?)`, running, worker, worker)
	if err != nil {
		return nil, err
	}
	units, err := scanUnits(rows)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, u := range units {
		for _, key := range u.attempts() {
			names[transcode.ScratchName(key.job, key.unit, key.attempt)] = true
		}
	}
	return names, nil
}

// removeBelow removes an entry of a scratch, whatever it is.
func (q *Queue) removeBelow(scratch *os.File, name string) error {
	trash, err := q.media.Open(trashDir)
	if err != nil {
		return err
	}
	defer trash.Close()
	return share.RemoveTree(trash, scratch, name)
}

// emptyTrash removes what a killed daemon was about to remove.
func (q *Queue) emptyTrash() error {
	trash, err := q.media.Open(trashDir)
	if err != nil {
		return err
	}
	defer trash.Close()
	return share.EmptyTrash(trash)
}

// trashDir is where directories are brought that are being removed.
var trashDir = path.Join(transcode.ScratchDir, ".trash")

// misused tells that a worker has done what it must not.
func (q *Queue) misused(worker, what string) {
	if q.onMisuse != nil {
		q.onMisuse(worker, what)
	}
}
