package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// locks are cases of locks, which boards keep for themselves (nolock).
func locks() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "locks/" + name, Run: run}) }
	add("flock", lockFlock)
	add("flock of a file that is open to read", lockFlockFileOpenToRead)
	add("records", lockRecords)
	return all
}

func lockFlock(r *Recorder) {
	a := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	b := r.open("f", unix.O_RDWR, 0)
	a.flock(unix.LOCK_EX)
	b.flock(unix.LOCK_SH)
	a.flock(unix.LOCK_SH)
	b.flock(unix.LOCK_SH)
	b.flock(unix.LOCK_EX)
	a.flock(unix.LOCK_UN)
	b.flock(unix.LOCK_EX)
	b.close()
	a.flock(unix.LOCK_EX)
	a.close()
}

func lockFlockFileOpenToRead(r *Recorder) {
	r.make("f", 0o644, "")
	f := r.open("f", unix.O_RDONLY, 0)
	f.flock(unix.LOCK_EX)
	f.close()
}

func lockRecords(r *Recorder) {
	a := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	b := r.open("f", unix.O_RDWR, 0)
	lock := func(f *file, kind int16, start, length int64) {
		l := unix.Flock_t{Type: kind, Start: start, Len: length}
		f.note(unix.FcntlFlock(uintptr(f.fd), unix.F_OFD_SETLK, &l), "lock %d %d+%d", kind, start, length)
	}
	lock(a, unix.F_WRLCK, 0, 10)
	lock(b, unix.F_RDLCK, 5, 10)
	lock(b, unix.F_RDLCK, 10, 10)
	lock(a, unix.F_WRLCK, 0, 0)
	lock(a, unix.F_UNLCK, 0, 10)
	lock(b, unix.F_WRLCK, 0, 1<<62)
	a.close()
	b.close()
}

// others are cases of what NFS version 3 has not, and of the file system as a whole.
func others() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "others/" + name, Run: run}) }
	add("extended attributes", otherExtendedAttributes)
	add("file system", otherFileSystem)
	add("inode flags", otherInodeFlags)
	add("inode numbers", otherInodeNumbers)
	add("block counts", otherBlockCounts)
	return all
}

func otherExtendedAttributes(r *Recorder) {
	r.make("f", 0o644, "")
	r.note(unix.Setxattr("f", "user.x", []byte("1"), 0), "set user.x")
	_, err := unix.Getxattr("f", "user.y", make([]byte, 10))
	r.note(err, "get user.y")
	r.note(unix.Setxattr("f", "trusted.x", []byte("1"), 0), "set trusted.x")
	n, err := unix.Listxattr("f", make([]byte, 1000))
	r.note(err, "list %d", min(n, 0))
}

func otherFileSystem(r *Recorder) {
	var fs unix.Statfs_t
	r.note(unix.Statfs(".", &fs), "statfs: names %d, any blocks %v, any free %v", fs.Namelen, fs.Blocks > 0, fs.Bfree > 0)
	r.say("blocks in order %v, files in order %v", fs.Bavail <= fs.Bfree && fs.Bfree <= fs.Blocks, fs.Ffree <= fs.Files)
}

func otherInodeFlags(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	_, err := unix.IoctlGetInt(f.fd, unix.FS_IOC_GETFLAGS)
	f.note(err, "get flags")
	f.close()
}

func otherInodeNumbers(r *Recorder) {
	r.make("f", 0o644, "")
	r.mkdir("d", 0o755)
	f := r.open("f", unix.O_RDONLY, 0)
	var before, open unix.Stat_t
	r.note(unix.Lstat("f", &before), "stat")
	r.rename("f", "d/g")
	r.note(unix.Fstat(f.fd, &open), "stat of the open one")
	var moved unix.Stat_t
	r.note(unix.Lstat("d/g", &moved), "stat")
	r.say("same number %v %v, same device %v", before.Ino == open.Ino, before.Ino == moved.Ino, before.Dev == moved.Dev)
	f.close()
}

func otherBlockCounts(r *Recorder) {
	r.make("f", 0o644, strings.Repeat("x", 100000))
	f := r.open("f", unix.O_RDWR, 0)
	f.sync()
	f.close()
	var st unix.Stat_t
	r.note(unix.Lstat("f", &st), "stat")
	r.say("blocks for all of it %v", st.Blocks*512 >= 100000)
	r.truncate("f", 0)
	r.make("sparse", 0o644, "")
	r.truncate("sparse", 1<<30)
	r.note(unix.Lstat("sparse", &st), "stat")
	r.say("blocks for a hole %v", st.Blocks*512 > 1<<20)
}

// givenTree makes what these cases find.
func givenTree(r *Recorder) {
	r.make("f", 0o4755, "given text")
	r.chown("f", int(alice.uid), team)
	r.chmod("f", 0o6755)
	r.link("f", "f.link")
	r.mkdir("d", 0o755)
	r.make("d/in", 0o644, "inside")
	r.mkdir("d/sub", 0o2775)
	r.mkdir("empty", 0o1777)
	r.symlink("f", "l")
	r.mknod("p", unix.S_IFIFO|0o600, 0)
	r.mknod("null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	r.make("large", 0o644, pattern(300000))
	for _, name := range []string{"f", "d", "l", "large"} {
		r.utimes(name, at(1500000000, 1), at(1600000000, 123456789))
	}
}

// given are cases of files that were there before the file system was mounted or cloned.
func given() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) {
		all = append(all, Case{Name: "given/" + name, Given: givenTree, Run: func(r *Recorder) {
			run(r)
			for _, name := range []string{"f", "f.link", "d", "d/in", "d/sub", "empty", "l", "p", "null", "large"} {
				r.stat(name)
			}
			r.ls(".")
		}})
	}
	add("looked at", givenLookedAt)
	add("written", func(r *Recorder) { r.append("f", " more"); r.read("f"); r.read("f.link") })
	add("written by the owner", func(r *Recorder) { r.as(alice, func(r *Recorder) { r.append("f.link", " more"); r.read("f") }) })
	add("written in the middle", givenWrittenInMiddle)
	add("read while it is first written", givenReadWhileItFirstWritten)
	add("truncated", givenTruncated)
	add("chmod", givenChmod)
	add("chown", givenChown)
	add("utimes", givenUtimes)
	add("renamed", func(r *Recorder) { r.rename("f", "d/f"); r.stat("d/f"); r.read("d/f"); r.rename("d/f", "f") })
	add("directory renamed", givenDirectoryRenamed)
	add("directory renamed over", givenDirectoryRenamedOver)
	add("replaced", givenReplaced)
	add("linked", givenLinked)
	add("removed", givenRemoved)
	add("removed while open", givenRemovedWhileOpen)
	add("times of a change", givenTimesChange)
	add("made read-only while open", givenMadeReadOnlyWhileOpen)
	add("inode numbers", givenInodeNumbers)
	return all
}

func givenLookedAt(r *Recorder) {
	for _, name := range []string{"f", "d", "l", "large"} {
		r.times(name)
	}
	r.read("f")
	r.read("large")
	r.readlink("l")
	r.ls("d")
}

func givenWrittenInMiddle(r *Recorder) {
	f := r.open("large", unix.O_RDWR, 0)
	f.writeAt(150000, "changed")
	f.readAt(149990, 30)
	f.close()
	r.read("large")
}

func givenReadWhileItFirstWritten(r *Recorder) {
	f := r.open("large", unix.O_RDONLY, 0)
	f.readAt(1000, 10)
	g := r.open("large", unix.O_WRONLY, 0)
	g.writeAt(1000, "changed")
	g.sync()
	g.close()
	f.close()
	r.read("large")
}

func givenTruncated(r *Recorder) {
	r.truncate("large", 100000)
	r.tryOpen("f", unix.O_WRONLY|unix.O_TRUNC, 0)
	r.read("large")
}

func givenChmod(r *Recorder) {
	r.chmod("f", 0o600)
	r.chmod("d", 0o700)
	r.chmod("null", 0o600)
	r.chmod("l", 0o640)
}

func givenChown(r *Recorder) {
	r.chown("f.link", 5, 6)
	r.lchown("l", 5, 6)
	r.chown("d", 5, 6)
	r.chown("p", 5, 6)
}

func givenUtimes(r *Recorder) {
	r.utimes("f", at(1, 2), at(3, 4))
	r.utimes("d", at(1, 2), at(3, 4))
	r.utimes("l", at(1, 2), at(3, 4))
	r.times("f.link")
	r.times("d")
	r.times("l")
}

func givenDirectoryRenamed(r *Recorder) {
	r.rename("d", "e")
	r.read("e/in")
	r.rename("e", "empty/d")
	r.ls("empty/d")
	r.rename("empty/d", "d")
	r.make("d/new", 0o644, "")
	r.ls("d")
}

func givenDirectoryRenamedOver(r *Recorder) {
	r.rename("d", "empty")
	r.rename("empty", "d")
	r.rename("d/sub", "empty")
	r.ls("d")
	r.ls("empty")
}

func givenReplaced(r *Recorder) {
	r.make("new", 0o644, "new")
	r.rename("new", "f")
	r.read("f")
	r.read("f.link")
	r.make("other", 0o644, "other")
	r.rename("other", "d/in")
	r.read("d/in")
}

func givenLinked(r *Recorder) {
	r.link("f", "d/new")
	r.same("f", "d/new")
	r.link("l", "m")
	r.link("p", "q")
	r.append("d/new", "x")
	r.read("f")
}

func givenRemoved(r *Recorder) {
	for _, name := range []string{"f", "l", "p", "null", "large", "d/in"} {
		r.remove(name)
	}
	for _, name := range []string{"d", "d/sub", "d", "empty"} {
		r.rmdir(name)
	}
	r.make("f", 0o644, "again")
	r.mkdir("d", 0o755)
	r.ls("d")
	r.read("f.link")
}

func givenRemovedWhileOpen(r *Recorder) {
	f := r.open("large", unix.O_RDWR, 0)
	r.remove("large")
	f.readAt(0, 20)
	f.writeAt(0, "changed")
	f.sync()
	f.readAt(0, 20)
	f.close()
}

func givenTimesChange(r *Recorder) {
	for _, name := range []string{"f", "d", "large"} {
		m := r.mark(name)
		switch name {
		case "f":
			r.chmod("f", 0o700)
		case "d":
			r.make("d/new", 0o644, "")
		default:
			r.append("large", "more")
		}
		r.changed(name, m)
	}
}

func givenMadeReadOnlyWhileOpen(r *Recorder) {
	r.chown("d/in", int(alice.uid), int(alice.gid))
	r.as(alice, func(r *Recorder) {
		f := r.open("d/in", unix.O_RDWR, 0)
		f.chmod(0o400)
		f.writeAt(0, "OUTSIDE")
		f.sync()
		f.close()
	})
	r.read("d/in")
}

func givenInodeNumbers(r *Recorder) {
	var before, afterwards unix.Stat_t
	r.note(unix.Lstat("f", &before), "stat")
	r.append("f", "x")
	r.chmod("f", 0o640)
	r.note(unix.Lstat("f", &afterwards), "stat")
	r.say("same number %v", before.Ino == afterwards.Ino)
	r.say("%s", fmt.Sprint(describe(&afterwards)))
}
