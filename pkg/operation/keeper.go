package operation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/pi"
)

// Limits of operations.
const (
	maxOpen = 8  // that have not ended
	keep    = 20 // that have
)

// ErrUnknown reports that there is no operation of that number.
var ErrUnknown = errors.New("no such operation; it may have been forgotten")

// A Keeper has the operations of a state directory. Its methods are safe for concurrent use.
type Keeper struct {
	Dir string // of the operations; made with mode 0700
	// Launch runs a process that calls Work for a directory, and returns when that has ended. The
	// error says why it could not be run.
	Launch func(ctx context.Context, dir string) error
	Log    *slog.Logger

	storing  sync.Mutex
	mu       sync.Mutex
	launched map[int64]bool      // whose process has not come back
	ended    map[int64]Operation // which do not change any more
	begun    chan int64
	left     []int64 // begun before a restart, and not launched
}

// New returns a Keeper of what an earlier one may have left in dir.
func New(dir string, launch func(ctx context.Context, dir string) error, log *slog.Logger) *Keeper {
	k := &Keeper{Dir: dir, Launch: launch, Log: log, launched: map[int64]bool{}, ended: map[int64]Operation{}, begun: make(chan int64, maxOpen)}
	k.left = k.unlaunched()
	return k
}

func (k *Keeper) path(id int64) string { return filepath.Join(k.Dir, strconv.FormatInt(id, 10)) }

// Run launches operations, also those that were begun before a restart and not launched, until
// ctx ends. Then it waits for their processes.
func (k *Keeper) Run(ctx context.Context) error {
	var processes sync.WaitGroup
	defer processes.Wait()
	for _, id := range k.left {
		processes.Go(func() { k.run(ctx, id) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case id := <-k.begun:
			processes.Go(func() { k.run(ctx, id) })
		}
	}
}

// unlaunched returns the operations that no process has begun to work on, and removes those that a
// killed daemon did not write whole.
func (k *Keeper) unlaunched() (ids []int64) {
	for _, id := range k.ids() {
		_, orderErr := os.Lstat(filepath.Join(k.path(id), orderFile))
		_, statusErr := os.Lstat(filepath.Join(k.path(id), statusFile))
		switch {
		case errors.Is(orderErr, fs.ErrNotExist):
			_ = os.RemoveAll(k.path(id)) // nobody was answered yet
		case errors.Is(statusErr, fs.ErrNotExist) && !isLocked(k.path(id)):
			k.setLaunched(id, true)
			ids = append(ids, id)
		}
	}
	return ids
}

func (k *Keeper) setLaunched(id int64, is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.launched[id] = is; !is {
		delete(k.launched, id)
	}
}

// run has a process work on an operation, and writes down why that was not possible: before the
// operation counts as not launched, or whoever looks in between would read that it was killed.
func (k *Keeper) run(ctx context.Context, id int64) {
	defer k.setLaunched(id, false)
	err := k.Launch(ctx, k.path(id))
	if err == nil || ctx.Err() != nil || isLocked(k.path(id)) {
		return
	}
	op, readErr := k.Find(id)
	if readErr != nil || op.State.Ended() {
		return
	}
	k.Log.Warn("template not made", "component", "operation", "template", op.Name, "err", err)
	s := Status{State: Failed, Error: err.Error(), Ended: time.Now()}
	if err := writeJSON(filepath.Join(k.path(id), statusFile), s); err != nil {
		k.Log.Error("operation not written", "component", "operation", "err", err)
	}
}

// Begin writes an order down and has a process make the template.
func (k *Keeper) Begin(o Order) (Operation, error) {
	if err := o.Check(); err != nil {
		return Operation{}, err
	}
	all, err := k.List()
	if err != nil {
		return Operation{}, err
	}
	if open := len(all) - len(endedOf(all)); open >= maxOpen {
		return Operation{}, pi.Conflicting("", fmt.Errorf("%d templates are being made; wait for one of them, or cancel it", open))
	}
	k.forgetOld(all)
	id, err := k.store(o)
	if err != nil {
		return Operation{}, fmt.Errorf("operation: %w", err)
	}
	k.begun <- id // has space, because of maxOpen, unless Run has ended
	return k.Find(id)
}

// store gives an order a number, under which it is on the disk.
func (k *Keeper) store(o Order) (int64, error) {
	k.storing.Lock() // over the write, so that no number is used twice
	defer k.storing.Unlock()
	if err := os.MkdirAll(k.Dir, 0o700); err != nil {
		return 0, err
	}
	id := int64(1)
	for _, other := range k.ids() {
		id = max(id, other+1)
	}
	k.setLaunched(id, true)
	if err := os.Mkdir(k.path(id), 0o700); err != nil {
		return 0, err
	}
	return id, errors.Join(writeJSON(filepath.Join(k.path(id), orderFile), o), durable.SyncDir(k.Dir))
}

// ids returns the numbers of all operations.
func (k *Keeper) ids() (ids []int64) {
	entries, err := os.ReadDir(k.Dir)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		if id, err := strconv.ParseInt(entry.Name(), 10, 64); err == nil && id > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// Find returns an operation. The error matches ErrUnknown if there is none.
func (k *Keeper) Find(id int64) (Operation, error) {
	k.mu.Lock()
	op, known := k.ended[id]
	launched := k.launched[id]
	k.mu.Unlock()
	if known {
		return op, nil
	}
	op, err := read(k.path(id), id, launched)
	if errors.Is(err, fs.ErrNotExist) {
		return Operation{}, ErrUnknown
	}
	if err == nil && op.State.Ended() && op.Error != errKilled {
		k.mu.Lock()
		k.ended[id] = op
		k.mu.Unlock()
	}
	return op, err
}

// List returns the operations, the newest first.
func (k *Keeper) List() ([]Operation, error) {
	var all []Operation
	for _, id := range k.ids() {
		op, err := k.Find(id)
		if errors.Is(err, ErrUnknown) {
			continue // forgotten meanwhile, or half written by a killed daemon
		}
		if err != nil {
			return nil, fmt.Errorf("operation: reading number %d: %w", id, err)
		}
		all = append(all, op)
	}
	slices.SortFunc(all, func(a, b Operation) int { return cmp.Compare(b.ID, a.ID) })
	return all, nil
}

func endedOf(all []Operation) (ended []Operation) {
	return slices.DeleteFunc(slices.Clone(all), func(op Operation) bool { return !op.State.Ended() })
}

// forgetOld removes operations that ended long ago, except for the newest ones.
func (k *Keeper) forgetOld(all []Operation) {
	ended := endedOf(all)
	for _, op := range ended[min(keep, len(ended)):] {
		if err := k.forget(op.ID); err != nil {
			k.Log.Warn("old operation not removed", "component", "operation", "err", err)
		}
	}
}

func (k *Keeper) forget(id int64) error {
	k.mu.Lock()
	delete(k.ended, id)
	k.mu.Unlock()
	return os.RemoveAll(k.path(id))
}

// Cancel ends an operation, whose process needs a moment to remove what it has made so far. One
// that has ended is forgotten.
func (k *Keeper) Cancel(id int64) (Operation, error) {
	op, err := k.Find(id)
	if err != nil {
		return op, err
	}
	if op.State.Ended() {
		return op, k.forget(id)
	}
	file, err := os.OpenFile(filepath.Join(k.path(id), cancelFile), os.O_CREATE, 0o600)
	if err != nil {
		return op, fmt.Errorf("operation: %w", err)
	}
	return op, file.Close()
}
