package posix

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A user is whom a case acts as.
type user struct {
	uid, gid uint32
	groups   []uint32
}

// The users of the cases. Alice and Bob are both in the group team, which is the first of
// neither.
var (
	root  = user{}
	alice = user{uid: 1001, gid: 1001, groups: []uint32{team}}
	bob   = user{uid: 1002, gid: 1002, groups: []uint32{team}}
	carol = user{uid: 1003, gid: 1003}
)

const team = 2000

func allUsers() []user { return []user{root, alice, bob, carol} }

// A Recorder runs a case: its methods make a call and note what it returned.
type Recorder struct {
	dir    string // the working directory
	ticker int    // an open file beside the cases' directories
	lines  *[]string
}

// note notes what a call returned.
func (r *Recorder) note(err error, format string, args ...any) {
	r.say("%s: %s", fmt.Sprintf(format, args...), errnoName(err))
}

// say notes a line.
func (r *Recorder) say(format string, args ...any) {
	*r.lines = append(*r.lines, fmt.Sprintf(format, args...))
}

// thread runs f on a thread of its own, with the working directory r.dir, no umask, and a user's
// rights. Users and working directories are a thread's own, for the kernel.
func (r *Recorder) thread(u user, f func(*Recorder)) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: then the thread ends
		err := r.become(u)
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
			done <- err
		}()
		if err == nil {
			f(r)
		}
	}()
	return <-done
}

func (r *Recorder) become(u user) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	unix.Umask(0)
	if err := unix.Chdir(r.dir); err != nil {
		return fmt.Errorf("the case's directory: %w", err)
	}
	if u.uid == 0 {
		return nil
	}
	ids := []struct{ call, a, b, c uintptr }{
		{unix.SYS_SETGROUPS, uintptr(len(u.groups)), uintptr(unsafe.Pointer(unsafe.SliceData(u.groups))), 0},
		{unix.SYS_SETRESGID, uintptr(u.gid), uintptr(u.gid), uintptr(u.gid)},
		{unix.SYS_SETRESUID, uintptr(u.uid), uintptr(u.uid), uintptr(u.uid)},
	}
	for _, id := range ids {
		if _, _, errno := unix.RawSyscall(id.call, id.a, id.b, id.c); errno != 0 {
			return fmt.Errorf("becoming user %d: %w", u.uid, errno)
		}
	}
	return nil
}

// as runs f as another user.
func (r *Recorder) as(u user, f func(*Recorder)) {
	if err := r.thread(u, f); err != nil {
		r.say("as %d: %v", u.uid, err)
	}
}

func (r *Recorder) mkdir(name string, mode uint32) {
	r.note(unix.Mkdir(name, mode), "mkdir %s %o", short(name), mode)
}
func (r *Recorder) rmdir(name string)  { r.note(unix.Rmdir(name), "rmdir %s", short(name)) }
func (r *Recorder) remove(name string) { r.note(unix.Unlink(name), "unlink %s", short(name)) }
func (r *Recorder) rename(from, to string) {
	r.note(unix.Rename(from, to), "rename %s %s", short(from), short(to))
}
func (r *Recorder) link(from, to string) {
	r.note(unix.Link(from, to), "link %s %s", short(from), short(to))
}
func (r *Recorder) symlink(target, name string) {
	r.note(unix.Symlink(target, name), "symlink %s %s", short(target), short(name))
}
func (r *Recorder) chmod(name string, mode uint32) {
	r.note(unix.Chmod(name, mode), "chmod %s %o", short(name), mode)
}
func (r *Recorder) chown(name string, uid, gid int) {
	r.note(unix.Chown(name, uid, gid), "chown %s %d:%d", short(name), uid, gid)
}
func (r *Recorder) lchown(name string, uid, gid int) {
	r.note(unix.Lchown(name, uid, gid), "lchown %s %d:%d", short(name), uid, gid)
}
func (r *Recorder) truncate(name string, size int64) {
	r.note(unix.Truncate(name, size), "truncate %s %d", short(name), size)
}
func (r *Recorder) mknod(name string, mode uint32, dev uint64) {
	r.note(unix.Mknod(name, mode, int(dev)), "mknod %s %o %x", short(name), mode, dev)
}
func (r *Recorder) chdir(name string) { r.note(unix.Chdir(name), "chdir %s", short(name)) }

// access notes which of the rights r, w and x the user has.
func (r *Recorder) access(name string) {
	rights := ""
	for i, mask := range []uint32{unix.R_OK, unix.W_OK, unix.X_OK} {
		err := unix.Faccessat2(unix.AT_FDCWD, name, mask, unix.AT_EACCESS)
		if err == nil {
			rights += "rwx"[i : i+1]
		} else if err != unix.EACCES {
			rights += "(" + errnoName(err) + ")"
		}
	}
	r.say("access %s: %q", short(name), rights)
}

func (r *Recorder) readlink(name string) {
	buf := make([]byte, 5000)
	n, err := unix.Readlink(name, buf)
	r.note(err, "readlink %s %s", short(name), short(string(buf[:max(n, 0)])))
}

// make makes a file with a content.
func (r *Recorder) make(name string, mode uint32, text string) {
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, mode)
	if err == nil {
		_, err = unix.Write(fd, []byte(text))
		if closeErr := unix.Close(fd); err == nil {
			err = closeErr
		}
	}
	r.note(err, "make %s %o", short(name), mode)
}

// typeNames are the names of file types.
var typeNames = map[uint32]string{
	unix.S_IFREG: "file", unix.S_IFDIR: "dir", unix.S_IFLNK: "link", unix.S_IFIFO: "fifo",
	unix.S_IFSOCK: "socket", unix.S_IFCHR: "chr", unix.S_IFBLK: "blk",
}

func describe(st *unix.Stat_t) string {
	what := fmt.Sprintf("%s %04o links %d owner %d:%d", typeNames[st.Mode&unix.S_IFMT], st.Mode&0o7777, st.Nlink, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFLNK:
		what += fmt.Sprintf(" size %d", st.Size)
	case unix.S_IFCHR, unix.S_IFBLK:
		what += fmt.Sprintf(" device %d:%d", unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)))
	}
	return what
}

// stat notes what a name stands for; the name of a link, the link.
func (r *Recorder) stat(name string) {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		r.note(err, "stat %s", short(name))
		return
	}
	r.say("stat %s: %s", short(name), describe(&st))
}

// same notes whether two names stand for one file.
func (r *Recorder) same(a, b string) {
	var sa, sb unix.Stat_t
	errA, errB := unix.Lstat(a, &sa), unix.Lstat(b, &sb)
	r.say("same %s %s: %v %s %s", short(a), short(b), errA == nil && errB == nil && sa.Ino == sb.Ino && sa.Dev == sb.Dev, errnoName(errA), errnoName(errB))
}

// list returns the names in a directory, in order.
func list(name string) ([]string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	all, err := readNames(fd, -1)
	slices.Sort(all)
	return all, err
}

// ls notes the names in a directory, and alike those that the NFS client has made up.
func (r *Recorder) ls(name string) {
	all, err := list(name)
	for i, n := range all {
		if IsSilly(n) {
			n = "(silly)"
		}
		all[i] = short(n)
	}
	r.note(err, "ls %s %q", short(name), all)
}

// lsSettled is ls as soon as the directory has no more names of removed files that were open. The
// NFS client removes them some time after they are closed.
func (r *Recorder) lsSettled(name string) {
	for began := time.Now(); time.Since(began) < tickPatience; {
		all, err := list(name)
		if err != nil || !slices.ContainsFunc(all, IsSilly) {
			break
		}
	}
	r.ls(name)
}

// IsSilly reports whether a Linux NFS client has given a name to a removed file that is open.
func IsSilly(name string) bool { return strings.HasPrefix(name, ".nfs") }

// short is a name as it is noted: long ones by their length.
func short(name string) string {
	if len(name) > 60 {
		return fmt.Sprintf("(%d bytes)", len(name))
	}
	return fmt.Sprintf("%q", name)
}
