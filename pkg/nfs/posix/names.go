package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// renames are cases of rename(2).
func renames() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "rename/" + name, Run: run}) }
	for _, from := range allKinds() {
		add("a "+from.name, func(r *Recorder) {
			for _, to := range allKinds() {
				name := "over a " + to.name
				r.mkdir(name, 0o755)
				r.as(root, func(r *Recorder) {
					r.chdir(name)
					from.make(r, "from")
					to.make(r, "to")
					r.rename("from", "to")
					r.stat("from")
					r.stat("to")
					r.ls(".")
				})
			}
			r.mkdir("elsewhere", 0o755)
			from.make(r, "x")
			r.rename("x", "elsewhere/y")
			r.stat("elsewhere/y")
			r.rename("elsewhere/y", "elsewhere/y")
			r.ls("elsewhere")
		})
	}
	add("between links of one file", renameBetweenLinksFile)
	add("a directory into itself", renameDirectoryIntoItself)
	add("a full directory's parent over an empty one", renameTree)
	add("link counts of directories", renameLinkCountsDirectories)
	add("over an open file", renameOverOpenFile)
	add("of an open file", renameOpenFile)
	add("of a directory with an open file", renameDirectoryWithOpenFile)
	add("of directories of others", renameDirectoriesOfOthers)
	add("without rights", renameWithoutRights)
	add("many times", renameManyTimes)
	add("flags", renameFlags)
	return all
}

func renameBetweenLinksFile(r *Recorder) {
	r.make("a", 0o644, "text")
	r.link("a", "b")
	r.mkdir("d", 0o755)
	r.link("a", "d/c")
	r.rename("a", "b")
	r.rename("a", "d/c")
	r.ls(".")
	r.ls("d")
	r.stat("a")
}

func renameDirectoryIntoItself(r *Recorder) {
	r.mkdir("d", 0o755)
	r.mkdir("d/e", 0o755)
	for _, to := range []string{"d/x", "d/e", "d/e/x", "d/..", "d/."} {
		r.rename("d", to)
	}
	r.rename("d/e", "d")
	r.rename(".", "x")
	r.rename("d/.", "x")
	r.rename("d/..", "x")
	r.ls(".")
}

func renameTree(r *Recorder) {
	r.mkdir("a", 0o755)
	r.mkdir("a/b", 0o755)
	r.make("a/b/f", 0o644, "text")
	r.mkdir("c", 0o755)
	r.rename("a", "c")
	r.read("c/b/f")
	r.stat("c")
	r.stat("c/b")
}

func renameLinkCountsDirectories(r *Recorder) {
	r.mkdir("a", 0o755)
	r.mkdir("b", 0o755)
	r.mkdir("a/d", 0o755)
	r.stat("a")
	r.rename("a/d", "b/d")
	r.stat("a")
	r.stat("b")
	r.mkdir("a/d", 0o755)
	r.rename("a/d", "b/d")
	r.stat("b")
}

func renameOverOpenFile(r *Recorder) {
	r.make("a", 0o644, "new")
	r.make("b", 0o644, "old")
	f := r.open("b", unix.O_RDWR, 0)
	r.rename("a", "b")
	f.readAt(0, 10)
	f.writeAt(3, "er")
	f.sync()
	f.readAt(0, 10)
	f.close()
	r.read("b")
	r.lsSettled(".")
}

func renameOpenFile(r *Recorder) {
	r.mkdir("d", 0o755)
	r.make("a", 0o644, "text")
	f := r.open("a", unix.O_RDWR, 0)
	r.rename("a", "d/b")
	f.writeAt(4, " more")
	f.sync()
	f.chmod(0o600)
	f.stat()
	r.read("d/b")
	r.rename("d/b", "a")
	f.writeAt(9, " and more")
	f.close()
	r.read("a")
}

func renameDirectoryWithOpenFile(r *Recorder) {
	r.mkdir("d", 0o755)
	f := r.open("d/f", unix.O_RDWR|unix.O_CREAT, 0o644)
	f.write("one")
	r.rename("d", "e")
	f.write("two")
	f.close()
	r.read("e/f")
	r.stat("d/f")
}

func renameDirectoriesOfOthers(r *Recorder) {
	// To move a directory elsewhere changes its "..": it takes the right to write to it.
	r.mkdir("a", 0o777)
	r.mkdir("b", 0o777)
	r.mkdir("a/d", 0o755)
	r.mkdir("a/w", 0o777)
	r.as(alice, func(r *Recorder) {
		r.rename("a/d", "b/d")
		r.rename("a/d", "a/e")
		r.rename("a/w", "b/w")
	})
	r.ls("a")
	r.ls("b")
}

func renameWithoutRights(r *Recorder) {
	r.mkdir("closed", 0o755)
	r.make("closed/f", 0o666, "")
	r.mkdir("mine", 0o777)
	r.as(alice, func(r *Recorder) {
		r.rename("closed/f", "mine/f")
		r.make("mine/g", 0o644, "")
		r.rename("mine/g", "closed/g")
		r.rename("mine/g", "closed/f")
	})
	r.ls("closed")
	r.ls("mine")
}

func renameManyTimes(r *Recorder) {
	r.mkdir("d", 0o755)
	for i := range 20 {
		r.make("new", 0o644, fmt.Sprint(i))
		r.rename("new", "d/current")
		r.read("d/current")
	}
	r.ls("d")
}

func renameFlags(r *Recorder) {
	r.make("a", 0o644, "a")
	r.make("b", 0o644, "b")
	rename2 := func(from, to string, flags uint) {
		r.note(unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags), "rename %s %s with %d", from, to, flags)
	}
	rename2("a", "b", unix.RENAME_NOREPLACE)
	rename2("a", "c", unix.RENAME_NOREPLACE)
	rename2("b", "c", unix.RENAME_EXCHANGE)
}

// links are cases of link(2).
func links() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "link/" + name, Run: run}) }
	for _, k := range allKinds() {
		add("to a "+k.name, func(r *Recorder) {
			k.make(r, "x")
			r.mkdir("d", 0o755)
			r.link("x", "d/y")
			r.same("x", "d/y")
			r.stat("x")
			r.note(unix.Linkat(unix.AT_FDCWD, "x", unix.AT_FDCWD, "z", unix.AT_SYMLINK_FOLLOW), "link what x stands for to z")
			r.stat("z")
			r.as(alice, func(r *Recorder) { r.link("x", "theirs") })
			r.remove("x")
			r.stat("d/y")
			for _, over := range allKinds() {
				r.mkdir(over.name, 0o755)
				over.make(r, over.name+"/o")
				r.link("d/y", over.name+"/o")
			}
		})
	}
	add("shared content", linkSharedContent)
	add("of an open file", linkOpenFile)
	add("through the descriptor", linkThroughDescriptor)
	add("after a removal", linkAfterRemoval)
	return all
}

func linkSharedContent(r *Recorder) {
	r.make("a", 0o644, "text")
	r.link("a", "b")
	r.append("b", " more")
	r.read("a")
	r.chmod("b", 0o600)
	r.stat("a")
	r.remove("a")
	r.stat("b")
	r.read("b")
}

func linkOpenFile(r *Recorder) {
	f := r.open("f", unix.O_RDWR|unix.O_CREAT, 0o644)
	f.write("text")
	r.link("f", "g")
	r.remove("f")
	f.write(" more")
	f.stat()
	f.close()
	r.lsSettled(".")
	r.stat("g")
	r.read("g")
}

func linkThroughDescriptor(r *Recorder) {
	f := r.open("f", unix.O_RDWR|unix.O_CREAT, 0o644)
	f.write("text")
	f.note(unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.fd), unix.AT_FDCWD, "g", unix.AT_SYMLINK_FOLLOW), "link")
	f.close()
	r.stat("g")
}

func linkAfterRemoval(r *Recorder) {
	r.make("f", 0o644, "1")
	r.link("f", "g")
	r.remove("f")
	r.make("f", 0o644, "2")
	r.read("g")
	r.same("f", "g")
}

// symlinks are cases of symbolic links.
func symlinks() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "symlink/" + name, Run: run}) }
	targets := []string{
		"", "x", ".", "/", "/etc/passwd", "../../../../../../..", "a//b", "x/", " ", "\xff\n", strings.Repeat("t", 255), strings.Repeat("t", 256),
		strings.Repeat("t/", 511), strings.Repeat("t/", 512), strings.Repeat("t/", 1023) + "t", strings.Repeat("t/", 2047) + "t", strings.Repeat("t/", 2048), strings.Repeat("t/", 2500),
	}
	for i, target := range targets {
		add(fmt.Sprintf("target %d", i), func(r *Recorder) {
			r.symlink(target, "l")
			r.readlink("l")
			r.stat("l")
			r.rename("l", "m")
			r.readlink("m")
			r.remove("m")
		})
	}
	add("followed", symlinkFollowed)
	add("dangling", symlinkDangling)
	add("owner", symlinkOwner)
	return all
}

func symlinkFollowed(r *Recorder) {
	r.mkdir("d", 0o755)
	r.make("d/f", 0o644, "text")
	r.symlink("d", "l")
	r.symlink("f", "d/m")
	r.symlink("../l/m", "d/n")
	r.read("l/n")
	r.append("l/n", " more")
	r.read("d/f")
	r.chmod("l/n", 0o600)
	r.stat("d/f")
	r.ls("l")
	r.ls("l/")
	r.remove("l/n")
	r.rmdir("l")
	r.remove("l")
	r.ls(".")
}

func symlinkDangling(r *Recorder) {
	r.symlink("none", "l")
	r.tryOpen("l", unix.O_RDONLY, 0)
	r.tryOpen("l", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
	r.mkdir("l", 0o755)
	r.write("l", "made through the link")
	r.read("none")
	r.symlink("other", "l")
	r.ls(".")
}

func symlinkOwner(r *Recorder) {
	r.as(alice, func(r *Recorder) { r.symlink("x", "l") })
	r.stat("l")
	r.lchown("l", 5, 6)
	r.stat("l")
	r.as(bob, func(r *Recorder) { r.readlink("l") })
}

// nodes are cases of special files.
func nodes() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "nodes/" + name, Run: run}) }
	for _, kind := range []uint32{0, unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFDIR, unix.S_IFLNK, 0o170000} {
		add(fmt.Sprintf("type %o", kind), func(r *Recorder) {
			for i, dev := range []uint64{0, unix.Mkdev(1, 3), unix.Mkdev(259, 1<<20-1), unix.Mkdev(4095, 255)} {
				r.mknod(fmt.Sprintf("root %d", i), kind|0o644, dev)
				r.stat(fmt.Sprintf("root %d", i))
			}
			r.as(alice, func(r *Recorder) {
				r.mknod("alice", kind|0o644, unix.Mkdev(1, 3))
				r.stat("alice")
			})
			r.chmod("root 1", 0o600)
			r.chown("root 1", 5, 6)
			r.stat("root 1")
			r.link("root 1", "link")
			r.rename("root 1", "moved")
			r.stat("moved")
			r.remove("moved")
		})
	}
	add("null", nodeNull)
	add("fifo", nodeFifo)
	add("socket", nodeSocket)
	return all
}

func nodeNull(r *Recorder) {
	r.mknod("null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
	r.mknod("zero", unix.S_IFCHR|0o666, unix.Mkdev(1, 5))
	f := r.open("zero", unix.O_RDONLY, 0)
	f.read(8)
	f.close()
	r.append("null", "text")
	r.read("null")
	r.truncate("null", 0)
}

func nodeFifo(r *Recorder) {
	r.mknod("p", unix.S_IFIFO|0o600, 0)
	r.tryOpen("p", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	reader := r.open("p", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	writer := r.open("p", unix.O_WRONLY|unix.O_NONBLOCK, 0)
	writer.write("through the fifo")
	reader.read(100)
	writer.seek(0, unix.SEEK_SET)
	writer.truncate(0)
	r.remove("p")
	writer.write("still")
	reader.read(100)
	writer.close()
	reader.read(100)
	reader.close()
}

func nodeSocket(r *Recorder) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	r.note(err, "socket")
	defer unix.Close(fd)
	r.note(unix.Bind(fd, &unix.SockaddrUnix{Name: "s"}), "bind")
	r.note(unix.Listen(fd, 1), "listen")
	r.stat("s")
	connect := func(name string) {
		client, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		r.note(err, "socket")
		defer unix.Close(client)
		r.note(unix.Connect(client, &unix.SockaddrUnix{Name: name}), "connect to %s", name)
	}
	connect("s")
	r.tryOpen("s", unix.O_RDWR, 0)
	r.rename("s", "t")
	connect("t")
	r.chmod("t", 0)
	r.as(alice, func(r *Recorder) { connect("t") })
	r.note(unix.Bind(fd, &unix.SockaddrUnix{Name: "again"}), "bind again")
	r.remove("t")
	connect("t")
}
