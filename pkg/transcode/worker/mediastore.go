package worker

import (
	"context"
	"io"
	"os"
	"path/filepath"

	"pibootd/pkg/transcode"
)

// A mediaStore gives a worker access to the media share. Names are paths in the
// share.
type mediaStore interface {
	// free returns the number of bytes that can be written. It fails if the share
	// is not available.
	free(ctx context.Context) (int64, error)
	// dir returns the parent of the directories of attempts.
	dir() string
	// source returns ffmpeg's input for a file: an absolute path or a URL.
	source(ctx context.Context, name string) (string, error)
	// env returns additional environment variables that ffmpeg needs to read a source.
	env() []string
	// open opens a file for reading.
	open(ctx context.Context, name string) (io.ReadCloser, error)
	// deliver makes the files in an attempt's dir available to the daemon. attempt is
	// the path of that directory in the share.
	deliver(ctx context.Context, attempt, dir string, files []string, p *pulse) error
}

// mediaStore returns the mediaStore that w is configured for.
func (w *Worker) mediaStore() mediaStore {
	if w.remote != nil {
		return w.remote
	}
	return mountedShare{w.Config}
}

// A mountedShare is a mounted media share with the worker's scratch.
type mountedShare struct{ Config }

// media returns the mount point of the share.
func (m mountedShare) media() string {
	if m.MediaDir != "" {
		return m.MediaDir
	}
	return MediaMount
}

// dir returns the worker's scratch.
func (m mountedShare) dir() string {
	if m.MediaDir != "" {
		return filepath.Join(m.MediaDir, filepath.FromSlash(transcode.ScratchOf(m.Name)))
	}
	return ScratchMount
}

func (m mountedShare) free(context.Context) (int64, error) {
	if err := m.ensure(); err != nil {
		return 0, err
	}
	return freeBytes(m.dir())
}

func (m mountedShare) source(_ context.Context, name string) (string, error) {
	return filepath.Join(m.media(), filepath.FromSlash(name)), m.ensure()
}

func (m mountedShare) env() []string { return nil }

func (m mountedShare) open(_ context.Context, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(m.media())
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.Open(filepath.FromSlash(name))
}

// deliver has nothing to do, because the daemon reads the scratch.
func (m mountedShare) deliver(context.Context, string, string, []string, *pulse) error { return nil }
