package backup

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"filippo.io/age"

	"pibootd/internal/durable"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/stage"
	"pibootd/pkg/store"
)

// A Target is where a backup is restored to.
type Target struct {
	StateDir   string // must not exist, or be empty
	MediaDir   string // must not exist, or be empty, if the backup has media; "": that of the backup
	Identities []age.Identity
	Progress   rootfs.Progress
	Size       int64 // of the backup in bytes, for Progress; 0: unknown
}

// Unfinished is the directory in a state directory that is there while roots are still to be
// made again. serve refuses to start with it.
const Unfinished = "restore"

// ErrUnfinished reports a state directory that has all of a backup, but not all roots. Resume makes
// them.
var ErrUnfinished = errors.New("a backup is not restored whole: roots are still to be made again")

// ConfigFile is the name of the configuration file in a state directory that was restored.
const ConfigFile = "restored.toml"

// suffix is behind the name of a directory while the backup is read into it.
const suffix = ".restoring"

// Restore restores a backup. It reads and checks all of it before anything has its name, so that
// one that is damaged leaves nothing. If it is interrupted after that, Resume goes on.
func (t Target) Restore(ctx context.Context, from io.Reader) (Header, error) {
	for _, dir := range []string{t.StateDir, t.MediaDir} {
		if err := vacant(dir); err != nil {
			return Header{}, err
		}
	}
	u := &unpacker{Target: t}
	header, err := read(ctx, from, t.Identities, func(bytes int64) { t.Progress.Report(ReadStep, bytes, t.Size) }, u)
	if err == nil {
		err = u.finish()
	}
	if err == nil {
		err = store.Check(ctx, filepath.Join(u.staged(), database)) // also: is it of a newer version?
	}
	if err == nil {
		err = u.publish()
	}
	if err != nil {
		return Header{}, errors.Join(err, u.discard())
	}
	return header, t.Resume(ctx)
}

// vacant reports a directory that has something in it.
func vacant(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("backup: %w", err)
	}
	if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == Unfinished }) {
		return fmt.Errorf("backup: %s: %w", dir, ErrUnfinished)
	}
	if len(entries) > 0 {
		return fmt.Errorf("backup: %s is not empty; want a directory that does not exist, so that nothing in it is lost: move it away first", dir)
	}
	return nil
}

// An unpacker is the receiver that unpacks.
type unpacker struct {
	Target
	head Header

	into   *filetree.Extractor // of the state directory
	shared *filetree.Extractor // of the media share; nil: not yet

	spool *os.File // of the root whose files come
	files *tar.Writer
}

func (u *unpacker) staged() string { return u.StateDir + suffix }

// stagedMedia returns the directory that the media share is unpacked into, and whether it comes
// to its place with the state directory.
func (u *unpacker) stagedMedia() (dir string, within bool) {
	if name, ok := inside(u.StateDir, u.MediaDir); ok {
		return filepath.Join(u.staged(), name), true
	}
	return u.MediaDir + suffix, false
}

// inside returns the name of path in dir, if it is in it.
func inside(dir, path string) (name string, ok bool) {
	name, err := filepath.Rel(dir, path)
	return name, err == nil && filepath.IsLocal(name)
}

func (u *unpacker) header(h Header) (err error) {
	u.head = h
	if u.MediaDir == "" {
		u.MediaDir = h.MediaDir
		if name, ok := inside(h.StateDir, h.MediaDir); ok {
			u.MediaDir = filepath.Join(u.StateDir, name)
		}
	}
	if h.Media {
		if err := vacant(u.MediaDir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(u.staged()); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(u.staged(), Unfinished), 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(u.staged())
	u.into = &filetree.Extractor{Root: root}
	return err
}

func (u *unpacker) state(header *tar.Header, content io.Reader) error {
	if header.Name == nfsKey {
		return nil
	}
	return u.into.Add(header, content)
}

func (u *unpacker) config(_ *tar.Header, content io.Reader) error {
	file, err := os.OpenFile(filepath.Join(u.staged(), ConfigFile), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}

// root begins the file in which the files of a root wait.
func (u *unpacker) root(r Root) error {
	if err := u.endRoot(); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	base := filepath.Join(u.staged(), Unfinished, r.Serial.String())
	if err := os.WriteFile(base+".json", text, 0o600); err != nil {
		return err
	}
	if u.spool, err = os.OpenFile(base+".tar", os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600); err != nil {
		return err
	}
	u.files = tar.NewWriter(u.spool)
	return nil
}

func (u *unpacker) rootFile(header *tar.Header, content io.Reader) error {
	if err := u.files.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(u.files, content)
	return err
}

func (u *unpacker) endRoot() error {
	if u.spool == nil {
		return nil
	}
	err := errors.Join(u.files.Close(), u.spool.Close())
	u.spool = nil
	return err
}

func (u *unpacker) media(header *tar.Header, content io.Reader) error {
	if u.shared == nil {
		dir, _ := u.stagedMedia()
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			return err
		}
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		u.shared = &filetree.Extractor{Root: root}
	}
	return u.shared.Add(header, content)
}

// finish ends what was unpacked.
func (u *unpacker) finish() error {
	err := errors.Join(u.endRoot(), u.into.Finish())
	if u.shared != nil {
		err = errors.Join(err, u.shared.Finish())
	}
	return err
}

// publish gives what was unpacked its names.
func (u *unpacker) publish() error {
	if _, within := u.stagedMedia(); u.shared != nil && !within {
		if err := put(u.MediaDir); err != nil {
			return err
		}
	}
	return put(u.StateDir)
}

// put renames the directory that was made for dir. It replaces one that is empty.
func put(dir string) error {
	err := stage.SyncFS(dir + suffix)
	if err == nil {
		err = os.Rename(dir+suffix, dir)
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// discard removes what was unpacked of a backup that is refused.
func (u *unpacker) discard() error {
	var err error
	for _, x := range []*filetree.Extractor{u.into, u.shared} {
		if x != nil && x.Root != nil {
			err = errors.Join(err, x.Root.Close())
		}
	}
	if u.spool != nil {
		err = errors.Join(err, u.spool.Close())
	}
	if u.into != nil {
		err = errors.Join(err, os.RemoveAll(u.staged()))
	}
	if u.shared != nil {
		dir, _ := u.stagedMedia()
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// Resume makes the roots that a restore has not made yet.
func (t Target) Resume(ctx context.Context) error {
	dir := filepath.Join(t.StateDir, Unfinished)
	left, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	templates := &rootfs.Templates{Dir: filepath.Join(t.StateDir, "templates")}
	roots := &rootfs.Roots{Dir: filepath.Join(t.StateDir, "roots"), Templates: templates}
	for n, file := range left {
		t.Progress.Report(RemakeStep, int64(n), int64(len(left)))
		if err := remake(ctx, roots, file); err != nil {
			return fmt.Errorf("backup: %w: %w", ErrUnfinished, err)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return durable.SyncDir(t.StateDir)
}

// remake makes the root that a file describes, unless that was done before an interruption.
func remake(ctx context.Context, roots *rootfs.Roots, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r Root
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s is damaged: %w", file, err)
	}
	packed := file[:len(file)-len(".json")] + ".tar"
	if err := makeRoot(ctx, roots, r, packed); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return errors.Join(os.Remove(file), os.Remove(packed))
}

func makeRoot(ctx context.Context, roots *rootfs.Roots, r Root, packed string) error {
	files, err := os.Open(packed)
	if err != nil {
		return err
	}
	defer files.Close()
	var from rootfs.Template
	if !r.Whole {
		if from, err = roots.Templates.Find(r.Template); err != nil {
			return err
		}
	}
	_, err = roots.Rebuild(ctx, from, r.Clone, r.Serial, r.Difference, files, nil)
	if errors.Is(err, filetree.ErrUnsupported) { // by this file system
		_, err = roots.Rebuild(ctx, from, rootfs.Auto, r.Serial, r.Difference, files, nil)
	}
	return err
}
