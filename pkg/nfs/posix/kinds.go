package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A kind is a kind of file, and how a case makes one.
type kind struct {
	name string
	make func(r *Recorder, name string)
}

func allKinds() []kind {
	return []kind{
		{"file", func(r *Recorder, name string) { r.make(name, 0o644, "text") }},
		{"directory", func(r *Recorder, name string) { r.mkdir(name, 0o755) }},
		{"full directory", func(r *Recorder, name string) { r.mkdir(name, 0o755); r.make(name+"/in", 0o644, "") }},
		{"link", func(r *Recorder, name string) { r.symlink("nowhere", name) }},
		{"link to a file", func(r *Recorder, name string) { r.make(name+".to", 0o644, "linked"); r.symlink(name+".to", name) }},
		{"link to a directory", func(r *Recorder, name string) { r.mkdir(name+".to", 0o755); r.symlink(name+".to", name) }},
		{"fifo", func(r *Recorder, name string) { r.mknod(name, unix.S_IFIFO|0o644, 0) }},
		{"socket", func(r *Recorder, name string) { r.mknod(name, unix.S_IFSOCK|0o755, 0) }},
		{"device", func(r *Recorder, name string) { r.mknod(name, unix.S_IFCHR|0o600, unix.Mkdev(1, 3)) }},
	}
}

// A call is one that takes a name.
type call struct {
	name string
	do   func(r *Recorder, name string)
}

// nameCalls are the calls that take a name, each with one that is there and called "there".
func nameCalls() []call {
	return []call{
		{"stat", func(r *Recorder, n string) { r.stat(n) }},
		{"open", func(r *Recorder, n string) { r.tryOpen(n, unix.O_RDONLY|unix.O_NONBLOCK, 0) }},
		{"create", func(r *Recorder, n string) { r.tryOpen(n, unix.O_CREAT|unix.O_WRONLY|unix.O_NONBLOCK, 0o644) }},
		{"create exclusive", func(r *Recorder, n string) { r.tryOpen(n, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644) }},
		{"open directory", func(r *Recorder, n string) { r.tryOpen(n, unix.O_DIRECTORY, 0) }},
		{"mkdir", func(r *Recorder, n string) { r.mkdir(n, 0o755) }},
		{"rmdir", func(r *Recorder, n string) { r.rmdir(n) }},
		{"unlink", func(r *Recorder, n string) { r.remove(n) }},
		{"rename from", func(r *Recorder, n string) { r.rename(n, "to") }},
		{"rename to", func(r *Recorder, n string) { r.rename("there", n) }},
		{"link from", func(r *Recorder, n string) { r.link(n, "to") }},
		{"link to", func(r *Recorder, n string) { r.link("there", n) }},
		{"symlink", func(r *Recorder, n string) { r.symlink("target", n) }},
		{"readlink", func(r *Recorder, n string) { r.readlink(n) }},
		{"mknod", func(r *Recorder, n string) { r.mknod(n, unix.S_IFIFO|0o600, 0) }},
		{"chmod", func(r *Recorder, n string) { r.chmod(n, 0o700) }},
		{"chown", func(r *Recorder, n string) { r.chown(n, 5, 6) }},
		{"lchown", func(r *Recorder, n string) { r.lchown(n, 7, 8) }},
		{"truncate", func(r *Recorder, n string) { r.truncate(n, 2) }},
		{"access", func(r *Recorder, n string) { r.access(n) }},
		{"utimes", func(r *Recorder, n string) { r.utimes(n, at(1, 2), at(3, 4)) }},
		{"chdir", func(r *Recorder, n string) { r.chdir(n) }},
	}
}

// kinds are cases of each call with each kind of file, and with names below it, before a slash.
func kinds() []Case {
	var all []Case
	for _, c := range nameCalls() {
		for _, form := range []struct{ name, suffix string }{{"", ""}, {" below", "/x"}, {" with slash", "/"}, {" with dot", "/."}} {
			all = append(all, Case{Name: "kinds/" + c.name + form.name, Run: func(r *Recorder) {
				for _, k := range allKinds() {
					r.mkdir(k.name, 0o755)
					r.as(root, func(r *Recorder) { // so that a chdir ends with it
						if err := unix.Chdir(k.name); err != nil {
							r.note(err, "chdir")
							return
						}
						k.make(r, "x")
						r.make("there", 0o644, "there")
						r.say("a %s", k.name)
						c.do(r, "x"+form.suffix)
						r.ls(".")
						r.stat("x")
					})
				}
			}})
		}
	}
	return all
}

// oddNames are names and paths, with what each is called.
func oddNames() []struct{ name, value string } {
	return []struct{ name, value string }{
		{"255 bytes", strings.Repeat("n", 255)}, {"256 bytes", strings.Repeat("n", 256)}, {"255 of two bytes each", strings.Repeat("é", 127) + "x"},
		{"4096 bytes of path", strings.Repeat("./", 2047) + "x"}, {"4097 bytes of path", strings.Repeat("./", 2048) + "x"},
		{"empty", ""}, {"dot", "."}, {"dot dot", ".."}, {"three dots", "..."}, {"dot dot x", "..x"}, {"no UTF-8", "\xff\xfe"},
		{"new line", "a\nb"}, {"control", "\x01\x1b[31m"}, {"backslash", `a\b`}, {"spaces", "  "}, {"dash", "-rf"}, {"DEL", "\x7f"},
		{"all bytes", allBytes()}, {"missing directory", "none/x"}, {"above the root", "../../../../../../../../../../../../nowhere/x"},
		{"double slash", ".//x"}, {"silly", ".nfs0000000000000001"}, {"decomposed", "e\u0301"}, {"composed", "\u00e9"},
	}
}

// names are cases of names that are long, or consist of uncommon bytes.
func names() []Case {
	var all []Case
	for _, n := range oddNames() {
		all = append(all, Case{Name: "names/" + n.name, Run: func(r *Recorder) {
			r.make("there", 0o644, "there")
			for _, c := range nameCalls() {
				if c.name != "chdir" {
					c.do(r, n.value)
				}
			}
			r.ls(".")
		}})
	}
	return append(all, Case{Name: "names/case", Run: nameCase}, Case{Name: "names/many levels", Run: nameLevels},
		Case{Name: "names/dot dot of a moved directory", Run: nameMoved})
}

func nameCase(r *Recorder) {
	r.make("name", 0o644, "lower")
	r.make("NAME", 0o644, "upper")
	r.read("Name")
	r.rename("name", "Name")
	r.ls(".")
	r.remove("NAME")
	r.read("Name")
}

func nameLevels(r *Recorder) {
	for range 30 {
		r.mkdir("d", 0o755)
		r.chdir("d")
	}
	r.make("f", 0o644, "deep")
	r.read(strings.Repeat("../d/", 20) + "f")
}

// nameMoved moves a directory while a thread works in it.
func nameMoved(r *Recorder) {
	for _, name := range []string{"a", "a/d", "b"} {
		r.mkdir(name, 0o755)
	}
	r.make("b/mark", 0o644, "")
	r.as(root, func(r *Recorder) {
		r.chdir("a/d")
		r.rename("../d", "../../b/d")
		r.ls("..")
		r.same("..", "../../b")
	})
}

// allBytes has every byte that a name may have.
func allBytes() string {
	var b strings.Builder
	for c := 1; c < 256; c++ {
		if c != '/' {
			b.WriteByte(byte(c))
		}
	}
	return b.String()
}

// loops are cases of symbolic links that lead nowhere.
func loops() []Case {
	var all []Case
	for _, c := range nameCalls() {
		all = append(all, Case{Name: "loops/" + c.name, Run: func(r *Recorder) {
			r.make("there", 0o644, "")
			r.symlink("a", "a")
			r.symlink("c", "b")
			r.symlink("b", "c")
			c.do(r, "a")
			c.do(r, "b/x")
			r.ls(".")
		}})
	}
	for _, depth := range []int{39, 40, 41} {
		all = append(all, Case{Name: fmt.Sprintf("loops/chain of %d", depth), Run: func(r *Recorder) {
			r.make("l", 0o644, "end")
			last := "l"
			for i := range depth {
				name := "l" + strings.Repeat("x", i+1)
				r.note(unix.Symlink(last, name), "symlink %d", i)
				last = name
			}
			r.read(last)
			r.readlink(last)
		}})
	}
	return all
}
