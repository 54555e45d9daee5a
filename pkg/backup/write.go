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
	"strings"
	"time"

	"filippo.io/age"

	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/store"
)

// A Source is what a backup is made of. A daemon may use it meanwhile.
type Source struct {
	StateDir   string
	MediaDir   string
	Config     string // the configuration file; "" or one that does not exist: none
	Version    string // of this pibootd
	Media      bool   // with the media share
	Roots      bool   // with whole roots, not only what differs from their templates
	Recipients []age.Recipient

	Progress rootfs.Progress
	Lost     func(name, why string) // called with what cannot be in a backup; may be nil
}

// left are the entries of the state directory that are not copied: those that are of this
// machine, are made again, or are written in a way of their own.
var left = []string{database, "lock", "cache", "nats", "nfs-calls", "reserve", "roots", "media", "templates", "logs", "operations", "uploads"}

// A writer writes one backup.
type writer struct {
	Source
	to *tar.Writer

	templates *rootfs.Templates
	roots     *rootfs.Roots
	boards    []registry.Pi
}

// Write writes a backup to w, and returns what is in it. What disappears meanwhile is left out.
func (s Source) Write(ctx context.Context, w io.Writer) (Header, error) {
	out, err := seal(w, s.Recipients)
	if err != nil {
		return Header{}, err
	}
	b := &writer{Source: s, to: tar.NewWriter(out), templates: &rootfs.Templates{Dir: filepath.Join(s.StateDir, "templates")}}
	b.roots = &rootfs.Roots{Dir: filepath.Join(s.StateDir, "roots"), Templates: b.templates}
	header, err := b.write(ctx)
	if err := errors.Join(err, b.to.Close(), out.Close()); err != nil {
		return Header{}, fmt.Errorf("backup: %w", err)
	}
	return header, nil
}

func (b *writer) write(ctx context.Context) (Header, error) {
	snapshot, err := b.snapshot(ctx)
	if err != nil {
		return Header{}, err
	}
	defer os.RemoveAll(filepath.Dir(snapshot))
	header, err := b.header(ctx, snapshot)
	if err != nil {
		return Header{}, err
	}
	steps := []func() error{
		func() error { return b.text(headerName, header) },
		func() error { return b.file(stateDir+database, snapshot) },
		func() error { return b.state(ctx) },
		b.config,
		func() error { return b.allTemplates(ctx) },
		func() error { return b.allRoots(ctx) },
		func() error { return b.media(ctx) },
		func() error { return b.text(endName, struct{}{}) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Header{}, err
		}
	}
	return header, nil
}

// snapshot copies the database as it is at one moment.
func (b *writer) snapshot(ctx context.Context) (file string, err error) {
	dir, err := os.MkdirTemp(b.StateDir, ".backup-")
	if err != nil {
		return "", err
	}
	file = filepath.Join(dir, database)
	if err := store.Snapshot(ctx, filepath.Join(b.StateDir, database), file); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return file, nil
}

// header reads what there is.
func (b *writer) header(ctx context.Context, snapshot string) (Header, error) {
	db, err := store.Read(ctx, snapshot) // the backup has what is there, of whatever version
	if err != nil {
		return Header{}, err
	}
	boards, err := registry.Open(ctx, db)
	if err := errors.Join(err, db.Close()); err != nil {
		return Header{}, err
	}
	b.boards = boards.All()
	host, err := os.Hostname()
	if err != nil {
		return Header{}, err
	}
	h := Header{
		Format: Format, Made: time.Now().UTC().Truncate(time.Second), Version: b.Version, Host: host,
		StateDir: b.StateDir, MediaDir: b.MediaDir, Boards: len(b.boards), Media: b.Media, Templates: []string{},
	}
	all, err := b.templates.List()
	for _, t := range all {
		h.Templates = append(h.Templates, t.String())
	}
	return h, err
}

// text writes a member in JSON.
func (b *writer) text(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o600, Format: tar.FormatPAX}
	if err := b.to.WriteHeader(header); err != nil {
		return err
	}
	_, err = b.to.Write(text)
	return err
}

// file writes a regular file, mode 0600.
func (b *writer) file(name, from string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: 0o600, Format: tar.FormatPAX}
	if err := b.to.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.CopyN(b.to, file, info.Size())
	return err
}

func (b *writer) packer(prefix string, keep func(name string) bool) *filetree.Packer {
	return &filetree.Packer{To: b.to, Prefix: prefix, Keep: keep, Lost: b.Lost}
}

// state writes the state directory, except what is left.
func (b *writer) state(ctx context.Context) error {
	entries, err := os.ReadDir(b.StateDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if slices.Contains(left, name) || strings.HasPrefix(name, database) || strings.HasPrefix(name, ".") || filepath.Join(b.StateDir, name) == b.MediaDir {
			continue
		}
		if entry.Type().IsRegular() {
			err = b.file(stateDir+name, filepath.Join(b.StateDir, name))
		} else if entry.IsDir() {
			err = b.packer(stateDir+name+"/", nil).Pack(ctx, filepath.Join(b.StateDir, name))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (b *writer) config() error {
	if b.Config == "" {
		return nil
	}
	err := b.file(configName, b.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *writer) allTemplates(ctx context.Context) error {
	all, err := b.templates.List()
	if err != nil {
		return err
	}
	for _, t := range all {
		prefix := fmt.Sprintf("%stemplates/%s/%d/", stateDir, t.Name, t.Version)
		if err := b.templates.PackAll(ctx, t, b.to, prefix, b.Progress); err != nil {
			return err
		}
	}
	return nil
}

func (b *writer) allRoots(ctx context.Context) error {
	for n, board := range b.boards {
		b.Progress.Report(RootsStep, int64(n), int64(len(b.boards)))
		if err := b.root(ctx, board); err != nil {
			return err
		}
	}
	return nil
}

// root writes what differs in a board's root from its template.
func (b *writer) root(ctx context.Context, board registry.Pi) error {
	r := Root{Serial: board.Serial, Name: board.Name, Template: fmt.Sprintf("%s@%d", board.Template, board.Version), Clone: rootfs.CloneMethod(board.Clone)}
	name := rootsDir + board.Serial.String()
	keep, err := b.compare(ctx, &r)
	if errors.Is(err, fs.ErrNotExist) {
		b.lost(name, "the board has no root")
		return nil
	}
	if err == nil {
		err = b.text(name+".json", r)
	}
	if err != nil {
		return err
	}
	return b.roots.Pack(ctx, board.Serial, b.packer(name+"/", keep))
}

// compare compares a root with its template, and returns which of its files are packed; nil: all,
// as those of a root whose template is gone.
func (b *writer) compare(ctx context.Context, r *Root) (keep func(string) bool, err error) {
	if b.Source.Roots {
		r.Whole = true
		return nil, nil
	}
	from, err := b.templates.Find(r.Template)
	if errors.Is(err, rootfs.ErrNoTemplate) {
		r.Whole = true
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r.Difference, keep, err = b.roots.Difference(ctx, r.Serial, from, nil)
	return keep, err
}

func (b *writer) lost(name, why string) {
	if b.Lost != nil {
		b.Lost(name, why)
	}
}

func (b *writer) media(ctx context.Context) error {
	if !b.Media {
		return nil
	}
	var bytes int64
	packer := b.packer(mediaDir, nil)
	packer.Tick = func(packed int64) {
		bytes += packed
		b.Progress.Report(MediaStep, bytes, 0)
	}
	return packer.Pack(ctx, b.MediaDir)
}
