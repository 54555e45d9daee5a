package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// modes are cases of chmod(2) and of the modes of new files.
func modes() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "modes/" + name, Run: run}) }
	for _, k := range allKinds() {
		add("of a "+k.name, func(r *Recorder) {
			k.make(r, "x")
			for _, mode := range []uint32{0, 0o111, 0o444, 0o777, 0o1755, 0o2755, 0o4755, 0o7777, 0o644} {
				r.chmod("x", mode)
				r.stat("x")
			}
		})
		add("by others of a "+k.name, func(r *Recorder) {
			k.make(r, "x")
			r.lchown("x", int(alice.uid), int(alice.gid))
			for _, u := range []user{alice, bob, carol} {
				r.as(u, func(r *Recorder) { r.chmod("x", 0o7707) })
				r.stat("x")
			}
		})
	}
	for _, umask := range []int{0, 0o022, 0o027, 0o077, 0o777} {
		add(fmt.Sprintf("umask %o", umask), func(r *Recorder) { modeUmask(r, umask) })
	}
	for _, mode := range []uint32{0, 0o400, 0o200, 0o4000, 0o1777, 0o2777, 0o6755} {
		add(fmt.Sprintf("made by a user with %o", mode), func(r *Recorder) { modeMadeByUser(r, mode) })
	}
	add("of an open file", modeOpenFile)
	add("read-only directory", modeReadOnlyDirectory)
	return all
}

func modeUmask(r *Recorder, umask int) {
	unix.Umask(umask)
	r.make("f", 0o7777, "")
	r.mkdir("d", 0o7777)
	r.mknod("p", unix.S_IFIFO|0o7777, 0)
	r.mknod("m", unix.S_IFREG|0o7777, 0)
	r.symlink("x", "l")
	for _, name := range []string{"f", "d", "p", "m", "l"} {
		r.stat(name)
	}
}

func modeMadeByUser(r *Recorder, mode uint32) {
	r.as(alice, func(r *Recorder) {
		r.make("f", mode, "text")
		r.mkdir("d", mode)
		r.read("f")
		r.append("f", "more")
		r.ls("d")
		r.make("d/f", 0o644, "")
	})
	r.stat("f")
	r.stat("d")
}

func modeOpenFile(r *Recorder) {
	r.as(alice, func(r *Recorder) {
		f := r.open("f", unix.O_RDWR|unix.O_CREAT, 0o600)
		f.write("before")
		f.sync()
		f.chmod(0)
		f.write(" after")
		f.sync()
		f.readAt(0, 20)
		f.stat()
		f.close()
		r.read("f")
	})
	r.read("f")
}

func modeReadOnlyDirectory(r *Recorder) {
	r.mkdir("d", 0o755)
	r.make("d/f", 0o666, "text")
	r.chown("d", int(alice.uid), int(alice.gid))
	r.chmod("d", 0o555)
	r.as(alice, func(r *Recorder) {
		r.make("d/new", 0o644, "")
		r.remove("d/f")
		r.rename("d/f", "d/g")
		r.append("d/f", "more")
		r.chmod("d", 0o755)
		r.remove("d/f")
	})
}

// owners are cases of chown(2).
func owners() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "owners/" + name, Run: run}) }
	for _, k := range allKinds() {
		add("of a "+k.name, func(r *Recorder) {
			k.make(r, "x")
			r.chown("x", 11, 12)
			r.stat("x")
			r.lchown("x", 13, 14)
			r.stat("x")
			r.lchown("x", -1, 15)
			r.lchown("x", 16, -1)
			r.lchown("x", 4000000000, 3000000000)
			r.stat("x")
		})
		add("by users of a "+k.name, func(r *Recorder) {
			k.make(r, "x")
			r.lchown("x", int(alice.uid), int(alice.gid))
			for _, u := range []user{alice, bob} {
				r.as(u, func(r *Recorder) {
					r.lchown("x", int(bob.uid), -1)
					r.lchown("x", -1, team)
					r.lchown("x", int(alice.uid), int(alice.gid))
					r.lchown("x", -1, 3000)
					r.lchown("x", -1, -1)
					r.lchown("x", int(alice.uid), team)
				})
				r.stat("x")
			}
		})
	}
	add("of an open file", ownerOpenFile)
	add("of new files", ownerNewFiles)
	return all
}

func ownerOpenFile(r *Recorder) {
	f := r.open("f", unix.O_RDWR|unix.O_CREAT, 0o600)
	r.as(alice, func(r *Recorder) { r.read("f") })
	f.chown(int(alice.uid), int(alice.gid))
	f.write("text")
	f.close()
	r.as(alice, func(r *Recorder) { r.read("f") })
	r.stat("f")
}

func ownerNewFiles(r *Recorder) {
	r.as(alice, func(r *Recorder) {
		r.make("f", 0o644, "")
		r.mkdir("d", 0o755)
		r.symlink("x", "l")
		r.mknod("p", unix.S_IFIFO|0o600, 0)
		for _, name := range []string{"f", "d", "l", "p"} {
			r.stat(name)
		}
	})
}

// clearingCalls are the calls that may clear the bits, and some that may not.
func clearingCalls() []call {
	return []call{
		{"write", func(r *Recorder, n string) { r.append(n, "x") }},
		{"write of nothing", func(r *Recorder, n string) { r.append(n, "") }},
		{"write and read back", func(r *Recorder, n string) {
			f := r.open(n, unix.O_RDWR, 0)
			f.writeAt(0, "xy")
			f.stat()
			f.readAt(0, 2)
			f.close()
		}},
		{"truncate", func(r *Recorder, n string) { r.truncate(n, 1) }},
		{"truncate longer", func(r *Recorder, n string) { r.truncate(n, 100) }},
		{"open truncating", func(r *Recorder, n string) { r.tryOpen(n, unix.O_WRONLY|unix.O_TRUNC, 0) }},
		{"chown to the same", func(r *Recorder, n string) { r.chown(n, int(alice.uid), team) }},
		{"chown of nothing", func(r *Recorder, n string) { r.chown(n, -1, -1) }},
		{"chown of the group", func(r *Recorder, n string) { r.chown(n, -1, team) }},
		{"chmod", func(r *Recorder, n string) { r.chmod(n, 0o6777) }},
		{"utimes", func(r *Recorder, n string) { r.utimes(n, at(1, 2), at(3, 4)) }},
		{"link", func(r *Recorder, n string) { r.link(n, "new") }},
		{"rename", func(r *Recorder, n string) { r.rename(n, "new"); r.rename("new", n) }},
		{"read", func(r *Recorder, n string) { r.read(n) }},
	}
}

// setIDs are cases of the set-user-ID and set-group-ID bits, which calls clear.
func setIDs() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "set-ids/" + name, Run: run}) }
	for _, c := range clearingCalls() {
		add(c.name, func(r *Recorder) {
			for _, u := range allUsers() {
				for _, mode := range []uint32{0o6777, 0o6766, 0o4777, 0o2777, 0o2767, 0o7666} {
					name := fmt.Sprintf("f %d %o", u.uid, mode)
					r.make(name, 0o666, "text")
					r.chown(name, int(alice.uid), team)
					r.chmod(name, mode)
					r.as(u, func(r *Recorder) { c.do(r, name) })
					r.stat(name)
					r.note(unix.Unlink("new"), "unlink new")
				}
			}
		})
	}
	add("chmod by one who is not in the group", setIDChmodNotInGroup)
	add("of directories", setIDDirectories)
	add("inherited", setIDInherited)
	return all
}

func setIDChmodNotInGroup(r *Recorder) {
	r.make("f", 0o755, "")
	r.mkdir("d", 0o755)
	for _, name := range []string{"f", "d"} {
		r.chown(name, int(carol.uid), team)
		r.as(carol, func(r *Recorder) { r.chmod(name, 0o6755) })
		r.stat(name)
	}
}

func setIDDirectories(r *Recorder) {
	r.mkdir("d", 0o777)
	r.chown("d", int(alice.uid), team)
	r.chmod("d", 0o6777)
	r.chown("d", int(bob.uid), team)
	r.stat("d")
	r.as(bob, func(r *Recorder) { r.chown("d", -1, int(bob.gid)) })
	r.stat("d")
}

func setIDInherited(r *Recorder) {
	r.mkdir("d", 0o777)
	r.chown("d", 0, team)
	r.chmod("d", 0o2777)
	for _, u := range []user{root, alice, carol} {
		r.as(u, func(r *Recorder) {
			base := fmt.Sprintf("d/%d", u.uid)
			r.make(base+"f", 0o2755, "")
			r.make(base+"g", 0o2745, "")
			r.mkdir(base+"d", 0o755)
			r.mkdir(base+"e", 0o2755)
			r.symlink("x", base+"l")
			r.mknod(base+"p", unix.S_IFIFO|0o2755, 0)
			for _, c := range "fgdelp" {
				r.stat(base + string(c))
			}
		})
	}
	r.mkdir("d/1001d/below", 0o700)
	r.stat("d/1001d/below")
}

// stickies are cases of directories in which one may remove only what is one's own.
func stickies() []Case {
	var all []Case
	removing := []call{
		{"unlink", func(r *Recorder, n string) { r.remove(n) }},
		{"rmdir", func(r *Recorder, n string) { r.rmdir(n) }},
		{"rename away", func(r *Recorder, n string) { r.rename(n, "out") }},
		{"rename within", func(r *Recorder, n string) { r.rename(n, n+".new") }},
		{"rename over", func(r *Recorder, n string) { r.make("mine", 0o644, ""); r.rename("mine", n) }},
		{"rename a directory over", func(r *Recorder, n string) { r.mkdir("my", 0o755); r.rename("my", n) }},
		{"link", func(r *Recorder, n string) { r.link(n, "out") }},
		{"write", func(r *Recorder, n string) { r.append(n, "x") }},
	}
	for _, c := range removing {
		for _, owner := range []user{root, alice} {
			all = append(all, Case{Name: fmt.Sprintf("sticky/%s, directory of %d", c.name, owner.uid), Run: func(r *Recorder) {
				for _, u := range []user{root, alice, bob} {
					for _, k := range []kind{allKinds()[0], allKinds()[1], allKinds()[3]} {
						for _, fileOwner := range []user{alice, bob} {
							dir := fmt.Sprintf("%d %s %d", u.uid, k.name, fileOwner.uid)
							r.mkdir(dir, 0o777)
							r.as(root, func(r *Recorder) {
								r.chdir(dir)
								r.mkdir("s", 0o777)
								k.make(r, "s/x")
								r.lchown("s/x", int(fileOwner.uid), int(fileOwner.gid))
								r.chown("s", int(owner.uid), int(owner.gid))
								r.chmod("s", 0o1777)
							})
							r.as(u, func(r *Recorder) { r.chdir(dir); c.do(r, "s/x") })
							r.ls(dir + "/s")
						}
					}
				}
			}})
		}
	}
	return all
}

// accesses are cases of access(2), groups, and what modes allow.
func accesses() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "access/" + name, Run: run}) }
	for _, mode := range []uint32{0, 0o007, 0o070, 0o700, 0o444, 0o222, 0o111, 0o640, 0o751, 0o077} {
		add(fmt.Sprintf("file %o", mode), func(r *Recorder) { accessFile(r, mode) })
		add(fmt.Sprintf("directory %o", mode), func(r *Recorder) { accessDirectory(r, mode) })
	}
	for _, n := range []int{1, 15, 16, 17, 40} {
		add(fmt.Sprintf("%d groups", n), func(r *Recorder) { accessByGroup(r, n) })
	}
	add("devices", accessDevices)
	add("moved while open", accessMovedWhileOpen)
	return all
}

func accessFile(r *Recorder, mode uint32) {
	r.make("f", 0o600, "text")
	r.chown("f", int(alice.uid), team)
	r.chmod("f", mode)
	for _, u := range allUsers() {
		r.as(u, func(r *Recorder) {
			r.say("as %d", u.uid)
			r.access("f")
			r.read("f")
			r.tryOpen("f", unix.O_WRONLY, 0)
			r.tryOpen("f", unix.O_RDWR, 0)
			r.truncate("f", 4)
		})
	}
}

func accessDirectory(r *Recorder, mode uint32) {
	r.mkdir("d", 0o700)
	r.make("d/f", 0o666, "text")
	r.chown("d", int(alice.uid), team)
	r.chmod("d", mode)
	for _, u := range allUsers() {
		r.as(u, func(r *Recorder) {
			r.say("as %d", u.uid)
			r.access("d")
			r.ls("d")
			r.read("d/f")
			r.stat("d/f")
			r.stat("d/none")
			r.make(fmt.Sprintf("d/%d", u.uid), 0o644, "")
			r.rename("d/f", "d/g")
			r.rename("d/g", "d/f")
			r.as(u, func(r *Recorder) { r.chdir("d") })
		})
	}
}

func accessDevices(r *Recorder) {
	r.mknod("null", unix.S_IFCHR|0o644, unix.Mkdev(1, 3))
	for _, u := range allUsers() {
		r.as(u, func(r *Recorder) { r.access("null"); r.read("null") })
	}
}

func accessMovedWhileOpen(r *Recorder) {
	r.mkdir("open", 0o755)
	r.mkdir("closed", 0o700)
	r.make("open/f", 0o644, "text")
	r.as(alice, func(r *Recorder) {
		f := r.open("open/f", unix.O_RDONLY, 0)
		r.as(root, func(r *Recorder) { r.rename("open/f", "closed/f") })
		f.readAt(0, 10)
		f.stat()
		f.close()
		r.read("closed/f")
	})
}

// accessByGroup is a case of a user in n groups, each of which owns a file.
func accessByGroup(r *Recorder, n int) {
	u := user{uid: carol.uid, gid: carol.gid}
	for i := range n {
		group := uint32(5000 + i)
		u.groups = append(u.groups, group)
		name := fmt.Sprintf("f%d", i)
		r.make(name, 0o640, "text")
		r.chown(name, 0, int(group))
	}
	r.as(u, func(r *Recorder) {
		for i := range n {
			r.read(fmt.Sprintf("f%d", i))
		}
	})
}
