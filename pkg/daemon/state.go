package daemon

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"

	"pibootd/internal/durable"
	"pibootd/internal/fdstore"
	"pibootd/pkg/backup"
	"pibootd/pkg/config"
	"pibootd/pkg/dhcp"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
)

// stateDir is the open state directory.
type stateDir struct {
	lock     *os.File
	store    *store.Store
	registry *registry.Registry
	timeline *timeline.Log
	pool     *dhcp.Pool // nil but in pool mode
	nfsKey   []byte
	full     bool     // the disk was, at the start
	machine  *os.File // the mount namespace of the machine; nil: the daemon has no other one
}

// openState makes the state directory, unless it exists, and opens its files.
func openState(ctx context.Context, cfg config.Config, kept *fdstore.Store) (*stateDir, error) {
	s := &stateDir{machine: kept.File(mountsName)}
	err := s.open(ctx, cfg)
	if err != nil && s.full {
		err = fullError(cfg.StateDir, err)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stateDir) open(ctx context.Context, cfg config.Config) (err error) {
	if err := makeDirs(cfg); err != nil {
		return err
	}
	if s.lock, err = lockState(cfg.StateDir); err != nil {
		return err
	}
	if s.full, err = openReserve(cfg.StateDir); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(cfg.StateDir, backup.Unfinished)); err == nil {
		return hintedError{backup.ErrUnfinished, "pibootd restore --resume --state-dir " + cfg.StateDir}
	}
	if s.nfsKey, err = loadKey(filepath.Join(cfg.StateDir, "keys", "nfs")); err != nil {
		return err
	}
	if s.store, err = store.Open(ctx, filepath.Join(cfg.StateDir, Database)); err != nil {
		return err
	}
	if s.registry, err = registry.Open(ctx, s.store); err != nil {
		return err
	}
	if cfg.DHCP.Mode == config.Pool {
		reserved := func(addr netip.Addr) bool { _, ok := s.registry.ByIP(addr); return ok }
		if s.pool, err = dhcp.OpenPool(ctx, s.store, cfg.DHCP.Pool.First, cfg.DHCP.Pool.Last, reserved); err != nil {
			return err
		}
	}
	s.timeline, err = timeline.Open(ctx, s.store)
	return err
}

func (s *stateDir) close() error {
	var errs []error
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if s.machine != nil {
		errs = append(errs, s.machine.Close())
	}
	return errors.Join(errs...)
}

func makeDirs(cfg config.Config) error {
	for dir, mode := range map[string]fs.FileMode{"": 0o700, "keys": 0o700, "nats": 0o700, "templates": 0o700, "roots": 0o700} {
		if err := os.MkdirAll(filepath.Join(cfg.StateDir, dir), mode); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	// Boards make programs with set-user-ID bits and devices in their roots,
	// and users of this machine must not reach them, whoever made the directory.
	for _, dir := range []string{"keys", "templates", "roots"} {
		if err := os.Chmod(filepath.Join(cfg.StateDir, dir), 0o700); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	if err := os.MkdirAll(cfg.MediaDir(), 0o755); err != nil {
		return fmt.Errorf("media share: %w", err)
	}
	return nil
}

// Database is the name of the database in a state directory.
const Database = "pibootd.db"

// LockState keeps a daemon from using the state directory until unlock is called. It is an
// error if one does.
func LockState(dir string) (unlock func() error, err error) {
	if _, err := os.Stat(filepath.Join(dir, Database)); err != nil {
		return nil, hintedError{fmt.Errorf("no pibootd has used the state directory %s: %w", dir, err), "give the daemon's with --state-dir"}
	}
	lock, err := lockState(dir)
	if err != nil {
		return nil, err
	}
	return lock.Close, nil
}

// lockState keeps a second daemon from using the state directory. The kernel
// releases the lock when the process ends, for whatever reason.
func lockState(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(hintedError{fmt.Errorf("state directory %s is in use by another pibootd", dir), "stop it, or give --state-dir another directory"}, file.Close())
	}
	return file, nil
}

// nfsKeySize is what nfs.Server wants, in bytes.
const nfsKeySize = 32

// loadKey reads the key that file handles are signed with, or makes one. A
// new key would make every running board's handles invalid, so one that cannot
// be read is an error.
func loadKey(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(file)
	}
	if err != nil {
		return nil, fmt.Errorf("nfs key: %w", err)
	}
	if len(key) != nfsKeySize {
		return nil, fmt.Errorf("nfs key %s has %d bytes; want %d: restore it from a backup (boards that run now need the old one), or remove it", file, len(key), nfsKeySize)
	}
	return key, nil
}

func makeKey(file string) ([]byte, error) {
	key := make([]byte, nfsKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("nfs key: %w", err)
	}
	if err := durable.WriteFile(file, key, 0o600); err != nil {
		return nil, fmt.Errorf("nfs key: %w", err)
	}
	return key, nil
}
