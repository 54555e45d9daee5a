//go:build e2e || soak

package linuxclient

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// nfsMagic is the type that statfs has for NFS.
const nfsMagic = 0x6969

// rootWork does one part of the work in dir, in a directory of its own. Errors
// are what tells a bad server: what is right is right on every file system.
func rootWork(part string, args []string) error {
	if part == "list" && len(args) == 2 {
		return listTo(args[0], args[1])
	}
	if part == "posix" && len(args) == 3 {
		return posixWork(args[0], args[1], args[2])
	}
	if part == "appender" && len(args) == 2 {
		return appendLines(args[0], args[1])
	}
	parts := map[string]func() error{
		"links": links, "modes": modes, "nodes": nodes, "owners": owners, "attributes": attributes,
		"renames": renames, "mmap": mapped, "append": appends, "unlinked": unlinked, "exclusive": exclusives, "many": many,
	}
	do, ok := parts[part]
	if !ok || len(args) != 1 {
		return fmt.Errorf("no part %q with %d arguments", part, len(args))
	}
	dir := filepath.Join(args[0], part)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chdir(dir)); err != nil {
		return err
	}
	unix.Umask(0o022)
	return do()
}

func listTo(root, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(list(root, theLength().maxRead, f), f.Close())
}

// sideBySide runs f for each of n workers at once.
func sideBySide(n int, f func(worker int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// want returns an error unless err is one of the errors in accepted.
func want(what string, err error, accepted ...error) error {
	for _, a := range accepted {
		if errors.Is(err, a) {
			return nil
		}
	}
	return fmt.Errorf("%s: %v; want %v", what, err, accepted)
}

func stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return st, fmt.Errorf("stat of %s: %w", name, err)
	}
	return st, nil
}

func wantMode(name string, mode uint32) error {
	st, err := stat(name)
	if err == nil && st.Mode&0o7777 != mode {
		err = fmt.Errorf("mode of %s is %#o; want %#o", name, st.Mode&0o7777, mode)
	}
	return err
}

func wantLinks(name string, n uint64) error {
	st, err := stat(name)
	if err == nil && uint64(st.Nlink) != n {
		err = fmt.Errorf("%s has %d links; want %d", name, st.Nlink, n)
	}
	return err
}
