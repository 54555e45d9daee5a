// Package fdstore keeps sockets open while the daemon restarts. A service manager holds
// copies of them between two lives of the daemon: systemd (sd_notify(3), FDSTORE=1;
// sd_listen_fds(3)), or a Keeper, which speaks the same protocol. Connections and
// datagrams that arrive meanwhile wait in the kernel.
package fdstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPassed = 3 // SD_LISTEN_FDS_START

	envNotify = "NOTIFY_SOCKET"
	envCount  = "LISTEN_FDS"
	envNames  = "LISTEN_FDNAMES"
	envPID    = "LISTEN_PID"
	// A Keeper does not know its child's process id before it starts it, so it names itself.
	envKeeper = "PIBOOTD_KEEPER"
)

// A Store is what a service manager keeps for this process. Nil is one that keeps nothing.
type Store struct {
	manager string // the socket where it listens; "": nobody keeps anything
	keeper  int    // its process id, if it is a Keeper; else 0
	kept    []*keptFile
}

// A keptFile is a descriptor that was kept for this process.
type keptFile struct {
	name     string
	file     *os.File // nil: it was taken
	isSocket bool
	is       Socket // zero for a socket that is of no more use, as its interface is gone
}

// Inherit returns what the service manager has kept for this process. It removes the
// variables that say so from the environment, so that no program that this one starts
// takes them for its own. Call it once.
func Inherit() *Store {
	s := &Store{manager: os.Getenv(envNotify)}
	ours := os.Getenv(envPID) == strconv.Itoa(os.Getpid())
	if parent := os.Getppid(); os.Getenv(envKeeper) == strconv.Itoa(parent) {
		s.keeper, ours = parent, true
	}
	count, _ := strconv.Atoi(os.Getenv(envCount))
	names := strings.Split(os.Getenv(envNames), ":")
	for _, name := range []string{envNotify, envCount, envNames, envPID, envKeeper} {
		_ = os.Unsetenv(name) // fails for no name like these
	}
	if !ours || count != len(names) {
		return s
	}
	for i, name := range names {
		unix.CloseOnExec(firstPassed + i)
		k := &keptFile{name: name, file: os.NewFile(uintptr(firstPassed+i), name)}
		k.is, k.isSocket = describe(k.file)
		s.kept = append(s.kept, k)
	}
	return s
}

// keeperLook is how often a process looks whether its Keeper is there.
const keeperLook = time.Second

// Within returns a context that ends with ctx, or when the Keeper of this process has ended. The
// signal for that, which the Keeper asks for, is not enough: the kernel forgets it when a thread
// takes the rights of another user, as an NFS server does (prctl(2), PR_SET_PDEATHSIG).
func (s *Store) Within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	if s == nil || s.keeper == 0 {
		return ctx, cancel
	}
	go func() {
		look := time.NewTicker(keeperLook)
		defer look.Stop()
		for os.Getppid() == s.keeper {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
		}
		cancel()
	}()
	return ctx, cancel
}

// File returns what was kept under a name and is no socket; nil if nothing was. The
// caller closes it.
func (s *Store) File(name string) *os.File {
	return s.take(func(k *keptFile) bool { return !k.isSocket && k.name == name })
}

// Socket returns the socket that was kept and is as want says, whatever its name; nil if
// none is. The caller closes it.
func (s *Store) Socket(want Socket) *os.File {
	return s.take(func(k *keptFile) bool { return k.isSocket && k.is == want })
}

func (s *Store) take(wanted func(*keptFile) bool) *os.File {
	if s == nil {
		return nil
	}
	for _, k := range s.kept {
		if k.file != nil && wanted(k) {
			file := k.file
			k.file = nil
			return file
		}
	}
	return nil
}

// Keeps reports whether there is a service manager that keeps anything.
func (s *Store) Keeps() bool { return s != nil && s.manager != "" }

// KeepSockets has the service manager keep these sockets, by their names, and no others.
// Those that were kept and are not among them are closed: a changed configuration does
// not need them. It returns their names.
func (s *Store) KeepSockets(sockets map[string]syscall.Conn) (stale []string, err error) {
	var errs []error
	have := map[string]bool{}
	for _, k := range s.kept {
		if !k.isSocket {
			continue
		}
		if is, ok := describe(sockets[k.name]); ok && is == k.is && k.file == nil && !have[k.name] {
			have[k.name] = true
			continue
		}
		if k.file != nil {
			stale = append(stale, k.name)
			errs = append(errs, k.file.Close())
			k.file = nil
		}
		errs = append(errs, s.send("FDSTOREREMOVE=1\nFDNAME="+k.name, nil))
		delete(have, k.name)
	}
	for name, conn := range sockets {
		if !have[name] {
			errs = append(errs, s.send(storeMessage(name), conn))
		}
	}
	return stale, errors.Join(errs...)
}

// Replace has the service manager that listens at socket keep a descriptor in place of
// what it has under that name.
func Replace(socket, name string, file syscall.Conn) error {
	s := &Store{manager: socket}
	if err := s.send("FDSTOREREMOVE=1\nFDNAME="+name, nil); err != nil {
		return err
	}
	return s.send(storeMessage(name), file)
}

// storeMessage asks to keep a descriptor even when it has an error to report, as sockets
// have whose interface was down for a while.
func storeMessage(name string) string { return "FDSTORE=1\nFDPOLL=0\nFDNAME=" + name }

// send sends the service manager a message, with a descriptor unless conn is nil.
func (s *Store) send(message string, conn syscall.Conn) error {
	from, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("descriptor store: %w", err)
	}
	defer unix.Close(from)
	to := &unix.SockaddrUnix{Name: s.manager}
	if conn == nil {
		err = unix.Sendmsg(from, []byte(message), nil, to, 0)
	} else {
		err = control(conn, func(fd int) error { return unix.Sendmsg(from, []byte(message), unix.UnixRights(fd), to, 0) })
	}
	if err != nil {
		return fmt.Errorf("descriptor store at %s: %w", s.manager, err)
	}
	return nil
}

// control runs f on conn's descriptor.
func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}
