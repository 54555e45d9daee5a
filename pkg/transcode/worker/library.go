package worker

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"pibootd/pkg/transcode"
)

// A library is the media share as a worker reaches it. Names are paths in the
// share.
type library interface {
	// free makes sure that the share is there, and returns how many bytes can be
	// written to it.
	free(ctx context.Context) (int64, error)
	// dir returns the directory in which attempts have theirs.
	dir() string
	// source returns what ffmpeg reads a file by: an absolute path or a URL.
	source(ctx context.Context, name string) (string, error)
	// env returns what ffmpeg's environment needs besides, to read a source.
	env() []string
	// open opens a file to be read once, from its beginning.
	open(ctx context.Context, name string) (io.ReadCloser, error)
	// deliver brings the files that an attempt has made in dir within reach of
	// the daemon. attempt is the name that the share has for its directory.
	deliver(ctx context.Context, attempt, dir string, files []string, p *pulse) error
}

// library returns how w reaches the media share.
func (w *Worker) library() library {
	if w.remote != nil {
		return w.remote
	}
	return mount{w.Config}
}

// A mount is a media share that is part of the file system, and so is the
// worker's scratch.
type mount struct{ Config }

// media is where the share is.
func (m mount) media() string {
	if m.MediaDir != "" {
		return m.MediaDir
	}
	return MediaMount
}

// dir is the worker's scratch.
func (m mount) dir() string {
	if m.MediaDir != "" {
		return filepath.Join(m.MediaDir, filepath.FromSlash(transcode.ScratchOf(m.Name)))
	}
	return ScratchMount
}

func (m mount) free(context.Context) (int64, error) {
	if err := m.ensure(); err != nil {
		return 0, err
	}
	return freeBytes(m.dir())
}

func (m mount) source(_ context.Context, name string) (string, error) {
	return filepath.Join(m.media(), filepath.FromSlash(name)), m.ensure()
}

func (m mount) env() []string { return nil }

func (m mount) open(_ context.Context, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(m.media())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(filepath.FromSlash(name))
}

// deliver has nothing to do: the daemon takes the files from the scratch.
func (m mount) deliver(context.Context, string, string, []string, *pulse) error { return nil }
