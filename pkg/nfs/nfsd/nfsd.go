// Package nfsd has this machine's own NFS server, the kernel's nfsd, serve
// exports. Its Server has the methods of nfs.Server that change and prove them.
package nfsd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pibootd/internal/turns"
	"pibootd/pkg/nfs"
)

// ExportsDir is where nfsd's exports(5) are that belong to no one file.
const ExportsDir = "/etc/exports.d"

// exportfsTimeout bounds a run of exportfs, which may ask name servers for the
// hosts of others' exports.
const exportfsTimeout = 30 * time.Second

// A Server has this machine's own NFS server, nfsd, serve exports. It knows
// and changes only those in its own file, and they stay when pibootd stops.
//
// Exports are added and removed one by one (exportfs -i, exportfs -u), because
// exportfs -r would also remove those that were made by hand or by a cluster
// manager and are in no file. nfsd reads the file when it starts.
//
// Every export is in the file before nfsd serves it, so that the next Open finds
// it even if a change was interrupted.
type Server struct {
	dir string
	log *slog.Logger

	turns  turns.Turns[string] // changes and probes of an export, by its path
	saving sync.Mutex          // held while the file is written, so that it has all changes

	mu      sync.Mutex            // never held over I/O
	exports map[string]nfs.Export // by path; the map is replaced, never changed
}

// Open returns a Server that keeps its file in dir and starts with the exports
// in it. log may be nil.
func Open(dir string, log *slog.Logger) (*Server, error) {
	s := &Server{dir: dir, log: cmp.Or(log, slog.New(slog.DiscardHandler)), exports: map[string]nfs.Export{}}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// MountPath returns dir: nfsd exports a directory under its own path. To have
// it under another one would take a bind mount in this machine's root.
func (s *Server) MountPath(_, dir string) string { return dir }

// Export adds e, or puts it in the place of the export of the same path, which
// is e.Dir. Other clients notice nothing. It returns an error, and changes
// nothing, where nfsd cannot serve e; the text has exportfs's own words.
//
// nfsd knows no limits: MaxBytes, MaxNames, MinFree and Relaxed do nothing, and
// StreamDirs leaves to modes what AnonUID may change.
func (s *Server) Export(e nfs.Export) error {
	e.Clients = slices.Clone(e.Clients)
	for i, c := range e.Clients {
		e.Clients[i] = c.Unmap()
	}
	if err := errors.Join(e.Check(), checkExport(e)); err != nil {
		return err
	}
	end, err := s.turns.Begin(context.Background(), e.Path)
	if err != nil {
		return err
	}
	defer end()
	return s.export(e)
}

// export is Export within e's turn.
func (s *Server) export(e nfs.Export) error {
	old, replaces := s.current()[e.Path]
	gone := slices.DeleteFunc(slices.Clone(old.Clients), func(c netip.Addr) bool { return slices.Contains(e.Clients, c) })
	both := e
	both.Clients = slices.Concat(e.Clients, gone)
	if err := s.put(both); err != nil {
		return err
	}
	if err := s.grant(e); err != nil {
		return errors.Join(err, s.restore(e, old, replaces))
	}
	if err := s.revoke(e.Dir, gone); err != nil {
		return err
	}
	return s.put(e)
}

// restore undoes an export that nfsd has refused.
func (s *Server) restore(e, old nfs.Export, replaces bool) error {
	added := slices.DeleteFunc(slices.Clone(e.Clients), func(c netip.Addr) bool { return slices.Contains(old.Clients, c) })
	err := s.revoke(e.Dir, added)
	if !replaces {
		return errors.Join(err, s.drop(e.Path))
	}
	return errors.Join(err, s.grant(old), s.put(old))
}

// Unexport removes the export of that path; its handles are then stale. It does
// nothing if the export does not exist. After an error it is still listed.
func (s *Server) Unexport(path string) error {
	end, err := s.turns.Begin(context.Background(), path)
	if err != nil {
		return err
	}
	defer end()
	e, ok := s.current()[path]
	if !ok {
		return nil
	}
	if err := s.revoke(e.Dir, e.Clients); err != nil {
		return err
	}
	return s.drop(path)
}

// Exports returns the exports, ordered by path: those of Export, and those
// that Open found.
func (s *Server) Exports() []nfs.Export {
	exports := s.current()
	var all []nfs.Export
	for _, path := range slices.Sorted(maps.Keys(exports)) {
		e := exports[path]
		e.Clients = slices.Clone(e.Clients)
		all = append(all, e)
	}
	return all
}

// ErrCannotRevoke reports that an NFS server cannot close a file for its clients:
// a client that has it open can still change it. A file that must not change has
// to be copied.
var ErrCannotRevoke = errors.New("nfsd cannot be made to close a file")

// Revoke returns an error that matches ErrCannotRevoke: nfsd keeps files open
// between calls, and has none of them closed for anybody. See Server.Revoke.
func (s *Server) Revoke(f *os.File) error {
	return fmt.Errorf("nfs: revoking %s: %w; want it copied", f.Name(), ErrCannotRevoke)
}

// Close removes every export and the file. It is for machines whose nfsd shall no
// longer serve pibootd's exports.
func (s *Server) Close() error {
	var errs []error
	for _, e := range s.Exports() {
		errs = append(errs, s.Unexport(e.Path))
	}
	return errors.Join(errs...)
}

func (s *Server) current() map[string]nfs.Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exports
}

func (s *Server) put(e nfs.Export) error {
	return s.save(func(next map[string]nfs.Export) error {
		for _, other := range next {
			if other.ID == e.ID && other.Path != e.Path {
				return fmt.Errorf("nfs: export %s has the id %d of export %s; want an id of its own", e.Path, e.ID, other.Path)
			}
		}
		next[e.Path] = e
		return nil
	})
}

func (s *Server) drop(path string) error {
	return s.save(func(next map[string]nfs.Export) error { delete(next, path); return nil })
}

// grant lets e's clients use e, as e says.
func (s *Server) grant(e nfs.Export) error {
	if len(e.Clients) == 0 {
		return nil // to exportfs no client would mean every client
	}
	args := []string{"-i", "-o", exportOptions(e)}
	for _, c := range e.Clients {
		args = append(args, c.String()+":"+e.Dir)
	}
	out, err := s.exportfs(args...)
	if err != nil {
		return fmt.Errorf("nfs: exporting %s by nfsd: %w", e.Dir, err)
	}
	if out != "" {
		s.log.Warn("exportfs reports a problem", "component", "nfs", "export", e.Dir, "err", out)
	}
	return nil
}

// notExported is in the output of exportfs -u for an export that nfsd does not have.
const notExported = "Could not find"

// revoke removes the access of clients to dir. It is no error if they had none.
func (s *Server) revoke(dir string, clients []netip.Addr) error {
	var errs []error
	for _, c := range clients {
		if out, err := s.exportfs("-u", c.String()+":"+dir); err != nil && !strings.Contains(out, notExported) {
			errs = append(errs, fmt.Errorf("nfs: taking the export %s from %s: %w", dir, c, err))
		}
	}
	return errors.Join(errs...)
}

// exportfs runs exportfs(8) and returns its output, which an error includes too.
func (s *Server) exportfs(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), exportfsTimeout)
	defer cancel()
	name := "exportfs"
	if _, err := exec.LookPath(name); err != nil {
		name = "/usr/sbin/exportfs" // where Debian has it, which is not in every PATH
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	out := strings.TrimSpace(output.String())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("no exportfs on this machine; want the package nfs-kernel-server, or nfs.driver = \"embedded\"")
	case ctx.Err() != nil:
		return out, fmt.Errorf("exportfs took more than %v: %s", exportfsTimeout, out)
	case err != nil:
		return out, fmt.Errorf("%w: %s", err, out)
	}
	return out, nil
}

// checkExport returns an error if nfsd certainly cannot serve e.
func checkExport(e nfs.Export) error {
	if e.Path != e.Dir {
		return fmt.Errorf("nfs: export %s is of %s; nfsd wants a directory to be exported under its own path", e.Path, e.Dir)
	}
	if e.Only != "" {
		return fmt.Errorf("nfs: export %s shows %q only; nfsd shows all of a directory: want that one exported", e.Path, e.Only)
	}
	if fsid(e.ID) == 0 {
		return fmt.Errorf("nfs: export %s has the id %d; want another, nfsd's number for it would be 0", e.Path, e.ID)
	}
	if strings.Trim(e.Dir, plainPath) != "" {
		return fmt.Errorf("nfs: nfsd cannot export %q to boards; want a path of only a-z, A-Z, 0-9 and /._+-, by another state_dir or media.dir", e.Dir)
	}
	for _, c := range e.Clients {
		if !c.Is4() {
			return fmt.Errorf("nfs: export %s has the client %s; want IPv4 addresses", e.Path, c)
		}
	}
	real, err := filepath.EvalSymlinks(e.Dir)
	if err != nil {
		return fmt.Errorf("nfs: exporting by nfsd: %w", err)
	}
	if real != e.Dir {
		return fmt.Errorf("nfs: %s is %s by a symbolic link; nfsd wants the real path, in state_dir or media.dir", e.Dir, real)
	}
	return nil
}

// plainPath are the letters that mean themselves in exports(5) and on a
// kernel's command line.
const plainPath = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-"
