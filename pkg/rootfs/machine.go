package rootfs

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inMachine runs f in the mount namespace of the machine, if this process has
// another one: the sandbox of its systemd unit. A mount that f makes there
// comes into the sandbox by itself, and with a dead daemon's sandbox none goes.
func (r *Roots) inMachine(f func() error) error {
	if r.Machine == nil {
		return f()
	}
	return onThread(func() error { return r.enterMachine(f) })
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: then the thread ends
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self would show for ever
			// where f left it.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

func (r *Roots) enterMachine(f func() error) error {
	// Who shares root and working directory with other threads cannot move.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the directories of the process: %w", err)
	}
	if err := unix.Setns(int(r.Machine.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the machine's mount namespace: %w; this needs CAP_SYS_ADMIN and CAP_SYS_CHROOT", err)
	}
	return f()
}

// seen returns an error if a mount of a root that was just made in the machine
// is not to be seen here.
func (r *Roots) seen(dir string) error {
	if ref, err := overlayTemplate(dir); err != nil || ref == "" {
		return err
	}
	return fmt.Errorf("%s was mounted, but only this machine sees it, not the daemon in its sandbox; want it on a mount that is shared: findmnt -o TARGET,PROPAGATION -T %s shows it, mount --make-shared TARGET makes it so", dir, r.Dir)
}
