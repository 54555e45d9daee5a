// Package trash keeps what was deleted of the media share for some time, so that it can be put
// back. Each item is a directory of its own in Dir, with what was deleted and a description.
package trash

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"pibootd/internal/durable"
	"pibootd/pkg/pi"
	"pibootd/pkg/share"
)

// Dir is the directory of the media share that only pibootd puts things into.
const Dir = "trash"

// The files of an item: what it is, and what was deleted, under its own name in content.
const (
	infoFile   = "item.json"
	contentDir = "content"
	maxInfo    = 64 << 10 // bytes
)

// sweepEvery is the time between two looks for what has expired.
const sweepEvery = 10 * time.Minute

// An Item is what was deleted at once: a stream or a file.
type Item struct {
	ID      string    `json:"id"`
	Path    string    `json:"path"`         // that it had in the media share
	By      string    `json:"by,omitempty"` // who deleted it
	Bytes   int64     `json:"bytes"`
	Deleted time.Time `json:"deleted"`
	Expires time.Time `json:"expires,omitzero"` // when it is deleted for good; zero: never
}

// A Trash is that of a media share. It is safe for concurrent use.
type Trash struct {
	MediaDir string
	Keep     time.Duration // how long items stay; 0: until somebody removes them
	Log      *slog.Logger
}

var itemID = regexp.MustCompile(`^[A-Z2-7]{26}$`) // of rand.Text

func place(id string) string { return path.Join(Dir, id) }

// inside is where an item's content is.
func (i Item) inside() string { return path.Join(place(i.ID), contentDir, path.Base(i.Path)) }

// errUnknown is the error about an item that is not there.
var errUnknown = pi.RequestError{Reason: pi.Missing, Field: "id", Err: errors.New("there is no such item in the trash; it may have been put back, or deleted for good")}

// Put moves a file or directory of the media share to the trash. bytes is its size.
func (t *Trash) Put(name, by string, bytes int64) (Item, error) {
	root, err := os.OpenRoot(t.MediaDir)
	if err != nil {
		return Item{}, fmt.Errorf("trash: %w", err)
	}
	defer root.Close()
	i := Item{ID: rand.Text(), Path: name, By: by, Bytes: bytes, Deleted: time.Now().UTC()}
	if err := root.MkdirAll(path.Join(place(i.ID), contentDir), 0o755); err != nil {
		return Item{}, fmt.Errorf("trash: %w", err)
	}
	// The description is on the disk before anything moves: a kill in between leaves one of nothing.
	err = t.describe(i)
	if err == nil {
		err = share.RenameNew(root, name, i.inside())
	}
	if err != nil {
		return Item{}, fmt.Errorf("trash: deleting %s: %w", name, errors.Join(err, root.RemoveAll(place(i.ID))))
	}
	return t.dated(i), nil
}

func (t *Trash) describe(i Item) error {
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(t.MediaDir, place(i.ID), infoFile), text, 0o600)
}

// dated adds when an item expires.
func (t *Trash) dated(i Item) Item {
	if t.Keep > 0 {
		i.Expires = i.Deleted.Add(t.Keep)
	}
	return i
}

// List returns what is in the trash, the latest first.
func (t *Trash) List() ([]Item, error) {
	root, err := os.OpenRoot(t.MediaDir)
	if err != nil {
		return nil, fmt.Errorf("trash: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("trash: %w", err)
	}
	var items []Item
	for _, entry := range entries {
		if i, err := t.read(root, entry.Name()); err == nil {
			items = append(items, i)
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return b.Deleted.Compare(a.Deleted) })
	return items, nil
}

// read returns an item that has its content.
func (t *Trash) read(root *os.Root, id string) (i Item, err error) {
	if !itemID.MatchString(id) {
		return Item{}, errUnknown
	}
	file, _, err := share.OpenRegular(root, path.Join(place(id), infoFile))
	if err != nil {
		return Item{}, errUnknown
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxInfo))
	if err != nil {
		return Item{}, fmt.Errorf("trash: %w", err)
	}
	if json.Unmarshal(text, &i) != nil || i.ID != id || !fs.ValidPath(i.Path) || i.Path == "." {
		return Item{}, errUnknown
	}
	if _, err := root.Lstat(i.inside()); err != nil {
		return Item{}, errUnknown
	}
	return t.dated(i), nil
}

// with calls do with an item.
func (t *Trash) with(id string, do func(root *os.Root, i Item) error) (Item, error) {
	root, err := os.OpenRoot(t.MediaDir)
	if err != nil {
		return Item{}, fmt.Errorf("trash: %w", err)
	}
	defer root.Close()
	i, err := t.read(root, id)
	if err == nil {
		err = do(root, i)
	}
	return i, err
}

// Restore puts an item back where it was. It replaces nothing.
func (t *Trash) Restore(id string) (Item, error) {
	return t.with(id, func(root *os.Root, i Item) error {
		if err := root.MkdirAll(path.Dir(i.Path), 0o755); err != nil {
			return fmt.Errorf("trash: putting %s back: %w", i.Path, err)
		}
		err := share.RenameNew(root, i.inside(), i.Path)
		if errors.Is(err, fs.ErrExist) {
			return pi.Conflicting("", fmt.Errorf("there is another %s meanwhile; delete or rename that first", i.Path))
		}
		if err != nil {
			return fmt.Errorf("trash: putting %s back: %w", i.Path, err)
		}
		return root.RemoveAll(place(id))
	})
}

// Remove deletes an item for good.
func (t *Trash) Remove(id string) (Item, error) {
	return t.with(id, func(root *os.Root, i Item) error { return root.RemoveAll(place(id)) })
}

// Run deletes what has expired, until ctx ends.
func (t *Trash) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := t.sweep(time.Now()); err != nil {
			t.Log.Warn("trash not emptied, trying again", "component", "trash", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// sweep deletes what has expired. It leaves everything that it has not put there itself.
func (t *Trash) sweep(now time.Time) error {
	items, err := t.List()
	errs := []error{err}
	for _, i := range items {
		if i.Expires.IsZero() || now.Before(i.Expires) {
			continue
		}
		_, err := t.Remove(i.ID)
		errs = append(errs, err)
		t.Log.Info("deleted for good", "component", "trash", "file", i.Path, "bytes", i.Bytes)
	}
	return errors.Join(errs...)
}
