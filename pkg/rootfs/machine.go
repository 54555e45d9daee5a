package rootfs

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// inMachine runs f in the mount namespace of the machine, if this process is in another one: the
// sandbox of its systemd unit. A mount that f makes propagates into the sandbox, and it survives
// the sandbox of a daemon that ends.
func (r *Roots) inMachine(f func() error) error {
	if r.Machine == nil {
		return f()
	}
	return onThread(func() error { return r.enterMachine(f) })
}

// onThread runs f on a thread of its own, which then ends.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and /proc/self would show its namespace forever.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

func (r *Roots) enterMachine(f func() error) error {
	// A thread that shares root and working directory with others cannot change its mount
	// namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("leaving the directories of the process: %w", err)
	}
	if err := unix.Setns(int(r.Machine.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("entering the machine's mount namespace: %w; this needs CAP_SYS_ADMIN and CAP_SYS_CHROOT", err)
	}
	return f()
}

// seen returns an error if a root's mount that was just made in the machine is not visible to
// this process.
func (r *Roots) seen(dir string) error {
	if ref, err := overlayTemplate(dir); err != nil || ref == "" {
		return err
	}
	return fmt.Errorf("%s was mounted, but only this machine sees it, not the daemon in its sandbox; want it on a mount that is shared: findmnt -o TARGET,PROPAGATION -T %s shows it, mount --make-shared TARGET makes it so", dir, r.Dir)
}
