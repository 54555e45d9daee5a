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
	"time"

	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"

	"golang.org/x/sys/unix"
)

// A worker is root on its own machine, so its scratch is hostile. The queue follows
// no link in it, trusts no owner and no name in it, and uses descriptors for every
// operation.

// openScratch opens the scratch of a worker. The error matches fs.ErrNotExist if
// the worker has none, as is the case for workers that upload their files by HTTP.
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

// openAttempt opens the directory that an attempt of a worker wrote.
func (q *Queue) openAttempt(worker string, key attemptKey) (*os.File, error) {
	scratch, err := q.openScratch(worker)
	if err != nil {
		return nil, err
	}
	defer scratch.Close()
	return share.OpenDirAt(scratch, transcode.ScratchName(key.job, key.unit, key.attempt))
}

// clearScratch removes the files of an attempt from its worker's scratch.
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

// sweepBatch is the number of names of a scratch that are read at a time.
const sweepBatch = 1000

// sweepScratches removes from every scratch what no running attempt needs. A
// failure in one scratch does not stop the others.
func (q *Queue) sweepScratches(ctx context.Context) error {
	names, err := q.list(transcode.ScratchDir)
	if err != nil {
		return fmt.Errorf("queue: sweeping the scratches: %w", err)
	}
	for _, worker := range names {
		if strings.HasPrefix(worker, ".") || ctx.Err() != nil {
			continue // the daemon's own
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
	odd := map[string][]string{} // names that no attempt creates, by kind
	defer func() {
		if len(odd) > 0 {
			q.misused(worker, "in its scratch there were "+oddText(odd)+", which no attempt makes; they were removed")
		}
	}()
	for {
		// The names are read before the running attempts, so that they do not
		// include files of a later claim.
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
			if running[entry.Name()] && entry.IsDir() || isProbe(scratch, entry.Name()) {
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

// isProbe reports whether an entry can be what a proof of the export is writing at this moment.
func isProbe(scratch *os.File, name string) bool {
	var st unix.Stat_t
	if !strings.HasPrefix(name, probe.TracePrefix) || unix.Fstatat(int(scratch.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size <= probe.Size && time.Since(time.Unix(st.Mtim.Unix())).Abs() < 2*probe.Timeout
}

// oddText returns the number of entries of each kind, with a name as an example.
func oddText(odd map[string][]string) string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(odd)) {
		kinds = append(kinds, fmt.Sprintf("%d of type %s (such as %.50q)", len(odd[kind]), kind, odd[kind][0]))
	}
	return strings.Join(kinds, ", ")
}

// runningNames returns the names of a worker's running attempts in its scratch.
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

// removeBelow removes an entry of a scratch, whatever its type.
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

// trashDir is the directory to which other directories are moved before they are
// removed.
var trashDir = path.Join(transcode.ScratchDir, ".trash")

// misused logs that a worker has broken a rule.
func (q *Queue) misused(worker, what string) {
	if q.onMisuse != nil {
		q.onMisuse(worker, what)
	}
}
