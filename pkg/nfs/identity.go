package nfs

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

// invalidID is the one number that is no user or group: to the kernel it
// means "leave as is".
const invalidID = ^uint32(0)

// errThreadLost reports that a thread could not get its rights back.
var errThreadLost = errors.New("the thread has lost its rights")

// An identity is whose rights file system calls are made with.
type identity struct {
	uid, gid uint32
	groups   []uint32
}

// do runs f with i's rights on the calling thread. The thread is given back
// to other goroutines only after it has got own's rights back; where that is
// impossible, or f panics, the goroutine has to end, and the thread ends with
// it: see errThreadLost.
//
// The Go runtime starts new threads from a clean one while a goroutine is
// locked to its thread, so nothing inherits what is set here.
func (i identity) do(own identity, f func() error) error {
	if i.equal(own) {
		return f()
	}
	runtime.LockOSThread()
	if err := i.assume(); err != nil {
		return errors.Join(errThreadLost, err)
	}
	err := f()
	if back := own.assume(); back != nil {
		return errors.Join(errThreadLost, err, back)
	}
	runtime.UnlockOSThread()
	return err
}

// create runs f, which makes a file, with i's rights and without a umask: the
// mode is the client's affair. A umask belongs to the process unless a thread
// is cut off from it, which cannot be undone, so the thread ends with f.
func (i identity) create(f func() error) error {
	return onThread(func() (err error) {
		defer rpc.Recover(&err)
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leaving the umask of the process: %w", err)
		}
		unix.Umask(0)
		if err := i.assume(); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread of its own, which ends with it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: then the thread ends
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end. It would stay for ever as f left it,
			// and that is what /proc would show of the process.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

func (i identity) equal(o identity) bool {
	return i.uid == o.uid && i.gid == o.gid && (i.uid == 0 || slices.Equal(i.groups, o.groups))
}

// assume gives the calling thread i's rights. Taking user id 0 away drops
// CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_MKNOD and the like, giving it back
// restores them (capabilities(7), "effect of user ID changes").
func (i identity) assume() error {
	if err := setGroups(i.groups); err != nil {
		return fmt.Errorf("setting the groups of a thread to %v: %w; this needs CAP_SETGID", i.groups, err)
	}
	_ = unix.Setfsgid(int(i.gid))
	_ = unix.Setfsuid(int(i.uid))
	// Neither call reports that it was refused: only asking again tells.
	gid, _ := unix.SetfsgidRetGid(-1)
	uid, _ := unix.SetfsuidRetUid(-1)
	if uint32(gid) != i.gid || uint32(uid) != i.uid {
		return fmt.Errorf("a thread has user %d and group %d; want %d and %d: this needs CAP_SETUID and CAP_SETGID", uid, gid, i.uid, i.gid)
	}
	return nil
}

// setGroups sets the groups of the calling thread. The function of that name
// in the standard library sets those of the process.
func setGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(sysSetGroups, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// in reports whether i is in the group.
func (i identity) in(group uint32) bool { return i.gid == group || slices.Contains(i.groups, group) }
