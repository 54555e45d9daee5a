package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/debian"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/share"
)

// How often a process writes how far it is, and looks whether it was cancelled.
const (
	reportEvery = 250 * time.Millisecond
	lookEvery   = 250 * time.Millisecond
)

// A worker is the process that works on an operation.
type worker struct {
	dir   string
	order Order

	mu       sync.Mutex
	status   Status
	reported time.Time
}

var errCancelled = errors.New("it was cancelled")

// Work makes the template of the operation in dir, which is locked until it returns, and writes
// there what has become of it. It waits until no other one is made. An operation that has ended
// stays as it is.
func Work(ctx context.Context, dir string) error {
	held, err := lock(dir, unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("operation: %w", err)
	}
	defer held.Close()
	w := &worker{dir: dir}
	if err := readJSON(filepath.Join(dir, orderFile), &w.order); err != nil {
		return fmt.Errorf("operation: reading the order: %w", err)
	}
	if err := readJSON(filepath.Join(dir, statusFile), &w.status); err == nil && w.status.State.Ended() {
		return nil
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		for !w.isCancelled() {
			if !pause.For(ctx, lookEvery) {
				return
			}
		}
		stop(errCancelled)
	}()
	made, changes, err := w.make(ctx)
	return w.finish(ctx, made, changes, err)
}

func (w *worker) isCancelled() bool {
	_, err := os.Lstat(filepath.Join(w.dir, cancelFile))
	return err == nil
}

// make waits for the turn of this operation, and then makes its template.
func (w *worker) make(ctx context.Context) (rootfs.Template, []filetree.Change, error) {
	source, err := w.open() // before the wait: an upload that expires meanwhile stays open
	if err != nil {
		return rootfs.Template{}, nil, err
	}
	if source != nil {
		defer source.Close()
	}
	turn, err := w.waitForTurn(ctx)
	if err != nil {
		return rootfs.Template{}, nil, err
	}
	defer turn.Close()
	o := w.order
	t := &rootfs.Templates{Dir: filepath.Join(o.StateDir, "templates"), MinFree: o.MinFree, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	build := debian.BuildOptions{Mirror: o.Mirror, Release: o.Release, CacheDir: filepath.Join(o.StateDir, "cache")}
	switch o.Recipe {
	case Minimal:
		made, err := t.BuildMinimal(ctx, o.Name, build, w.report)
		return made, nil, err
	case Debian:
		return t.BuildDebian(ctx, o.Name, debian.Options{BuildOptions: build, Arch: o.Arch, Packages: o.Packages, AuthorizedKeys: o.AuthorizedKeys}, w.report)
	case Import:
		path := fmt.Sprintf("/proc/self/fd/%d", source.Fd())
		return t.Import(ctx, o.Name, path, w.importOptions(), w.report)
	case FromPi:
		roots := &rootfs.Roots{Dir: filepath.Join(o.StateDir, "roots"), Templates: t, Log: t.Log}
		if err := roots.Mount(o.Board); err != nil { // the daemon may have ended meanwhile
			return rootfs.Template{}, nil, err
		}
		return t.Import(ctx, o.Name, roots.Path(o.Board), w.importOptions(), w.report)
	}
	return rootfs.Template{}, nil, fmt.Errorf("this pibootd knows no recipe %q", o.Recipe)
}

func (w *worker) importOptions() rootfs.ImportOptions {
	o := w.order
	return rootfs.ImportOptions{AuthorizedKeys: o.AuthorizedKeys, KeepPassword: o.KeepPassword, AllowMismatch: o.AllowMismatch, FromBoard: o.Recipe == FromPi}
}

// open opens what an import reads; nil for other recipes. Others write to the media share, so that
// a name there is resolved within it.
func (w *worker) open() (*os.File, error) {
	switch {
	case w.order.Recipe != Import:
		return nil, nil
	case w.order.Upload != "":
		return os.Open(w.order.Upload)
	}
	root, err := os.OpenRoot(w.order.MediaDir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, _, err := share.OpenRegular(root, w.order.Source)
	return file, err
}

// waitForTurn waits until no other operation works. The turn ends when the file is closed.
func (w *worker) waitForTurn(ctx context.Context) (*os.File, error) {
	w.status.State = Waiting
	if err := w.write(); err != nil {
		return nil, err
	}
	for {
		turn, err := lock(filepath.Dir(w.dir), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			w.status.State = Running
			return turn, w.write()
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
		if !pause.For(ctx, lookEvery) {
			return nil, context.Cause(ctx)
		}
	}
}

// report writes how far it is. Nothing is lost if that does not reach the disk.
func (w *worker) report(step string, done, total int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if step == w.status.Step && time.Since(w.reported) < reportEvery {
		return
	}
	w.reported = time.Now()
	w.status.Step, w.status.Done, w.status.Total = step, done, total
	if text, err := json.Marshal(w.status); err == nil {
		temp := filepath.Join(w.dir, "."+statusFile)
		if os.WriteFile(temp, text, 0o600) == nil {
			_ = os.Rename(temp, filepath.Join(w.dir, statusFile))
		}
	}
}

func (w *worker) write() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return writeJSON(filepath.Join(w.dir, statusFile), w.status)
}

// finish writes what has become of the operation, and returns why it failed.
func (w *worker) finish(ctx context.Context, made rootfs.Template, changes []filetree.Change, err error) error {
	s := Status{State: Done, Changes: changes, Ended: time.Now()}
	switch {
	case err == nil:
		s.Template = made.String()
	case errors.Is(context.Cause(ctx), errCancelled):
		s.State = Cancelled
	case ctx.Err() != nil:
		s.State, s.Error = Failed, errKilled
	default:
		s.State, s.Error = Failed, w.inWords(err)
	}
	w.mu.Lock()
	w.status = s
	w.mu.Unlock()
	if s.State == Done && w.order.Upload != "" {
		err = w.removeUpload()
	}
	return errors.Join(err, w.write())
}

// removeUpload removes an upload that has become a template, and its description, which is beside
// it. What cannot be removed expires.
func (w *worker) removeUpload() error {
	for _, name := range []string{w.order.Upload, strings.TrimSuffix(w.order.Upload, ".part") + ".json"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// inWords names the source of an import as people know it.
func (w *worker) inWords(err error) string {
	text := err.Error()
	if i := strings.Index(text, "/proc/self/fd/"); i >= 0 {
		rest := strings.TrimLeft(text[i+len("/proc/self/fd/"):], "0123456789")
		text = text[:i] + w.order.Source + rest
	}
	return text
}
