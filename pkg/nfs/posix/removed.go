package posix

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// removals are cases of files and directories that are removed while they are in use.
func removals() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "remove/" + name, Run: run}) }
	add("an open file", removeOpenFile)
	add("an open file with another link", removeOpenFileWithAnotherLink)
	add("an open file twice open", removeOpenFileTwiceOpen)
	add("the directory of an open file", removeDirectoryOfOpenFile)
	add("an open file of another user", removeOpenFileOfAnother)
	add("many open files", removeManyOpenFiles)
	add("the working directory", removeWorkingDirectory)
	add("directories that are not empty", removeDirectoriesNotEmpty)
	add("dots", removeDots)
	add("and make again", removeMakeAgain)
	add("what is mapped and open by name again", removeReplaced)
	return all
}

func removeOpenFile(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.write("before")
	r.remove("f")
	r.stat("f")
	f.write(" after")
	f.sync()
	f.readAt(0, 40)
	f.truncate(3)
	f.chmod(0o600)
	f.chown(5, 6)
	f.stat()
	r.ls(".")
	r.make("f", 0o644, "another")
	f.readAt(0, 40)
	r.read("f")
	f.close()
	r.lsSettled(".")
}

func removeOpenFileWithAnotherLink(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	r.link("f", "g")
	r.remove("f")
	f.write("text")
	r.ls(".")
	f.close()
	r.lsSettled(".")
	r.stat("g")
}

func removeOpenFileTwiceOpen(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	g := r.open("f", unix.O_RDONLY, 0)
	f.write("text")
	r.remove("f")
	f.close()
	g.readAt(0, 10)
	r.ls(".")
	g.close()
	r.lsSettled(".")
}

func removeDirectoryOfOpenFile(r *Recorder) {
	r.mkdir("d", 0o755)
	f := r.open("d/f", unix.O_CREAT|unix.O_RDWR, 0o644)
	r.remove("d/f")
	r.rmdir("d")
	f.close()
	r.rmdir("d")
	r.ls(".")
}

func removeOpenFileOfAnother(r *Recorder) {
	r.as(alice, func(r *Recorder) {
		f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o600)
		f.write("text")
		r.as(bob, func(r *Recorder) { r.remove("f") })
		f.readAt(0, 10)
		f.write(" more")
		f.close()
	})
	r.lsSettled(".")
}

func removeManyOpenFiles(r *Recorder) {
	var open []*file
	for i := range 30 {
		f := r.open(fmt.Sprint(i), unix.O_CREAT|unix.O_RDWR, 0o644)
		f.write(fmt.Sprint(i))
		open = append(open, f)
	}
	for i := range 30 {
		r.remove(fmt.Sprint(i))
	}
	for _, f := range open {
		f.readAt(0, 10)
		f.close()
	}
	r.lsSettled(".")
}

func removeWorkingDirectory(r *Recorder) {
	r.mkdir("d", 0o755)
	r.chdir("d")
	r.rmdir("../d")
	r.make("f", 0o644, "")
	r.mkdir("e", 0o755)
	r.tryOpen("f", unix.O_RDONLY, 0)
	buf := make([]byte, 4096)
	_, err := unix.Getcwd(buf)
	r.note(err, "getcwd")
}

func removeDirectoriesNotEmpty(r *Recorder) {
	r.mkdir("d", 0o755)
	for _, k := range allKinds() {
		k.make(r, "d/x")
		r.rmdir("d")
		r.rename("d/x", k.name)
	}
	r.ls(".")
}

func removeDots(r *Recorder) {
	r.mkdir("d", 0o755)
	r.mkdir("d/e", 0o755)
	for _, name := range []string{"d/.", "d/..", "d/e/..", ".", "..", "d/e/"} {
		r.rmdir(name)
		r.remove(name)
	}
}

func removeMakeAgain(r *Recorder) {
	for i := range 10 {
		r.make("f", 0o644, fmt.Sprint(i))
		r.stat("f")
		r.read("f")
		r.remove("f")
		r.mkdir("f", 0o755)
		r.stat("f")
		r.rmdir("f")
		r.symlink(fmt.Sprint(i), "f")
		r.readlink("f")
		r.remove("f")
	}
}

func removeReplaced(r *Recorder) {
	r.make("f", 0o755, strings.Repeat("old", 3000))
	f := r.open("f", unix.O_RDONLY, 0)
	r.make("new", 0o755, strings.Repeat("NEW", 3000))
	r.rename("new", "f")
	f.readAt(8000, 9)
	r.read("f")
	f.close()
	r.read("f")
}

// readNames reads names from an open directory until its end or until there are n, -1 for all.
// Like ls, it leaves out "." and "..".
func readNames(fd, n int) ([]string, error) {
	var names []string
	buf := make([]byte, 4096)
	for n < 0 || len(names) < n {
		size, err := unix.Getdents(fd, buf)
		if err != nil || size == 0 {
			return names, err
		}
		for rest := buf[:size]; len(rest) > 0; rest = rest[binary.NativeEndian.Uint16(rest[16:]):] {
			name := string(rest[19:binary.NativeEndian.Uint16(rest[16:])])
			name, _, _ = strings.Cut(name, "\x00")
			if name != "." && name != ".." {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// listings are cases of directories that change while they are listed.
func listings(size Size) []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "list/" + name, Run: run}) }
	changing := func(name string, change func(i int) error) {
		add(name, func(r *Recorder) { listChanging(r, size.Names, change) })
	}
	changing("nothing changes", func(int) error { return nil })
	changing("names are added", func(i int) error { return unix.Mknod(fmt.Sprintf("d/new %d", i), unix.S_IFREG|0o644, 0) })
	changing("names are removed", func(i int) error { return unix.Unlink(fmt.Sprintf("d/other %d", i)) })
	changing("names are renamed", func(i int) error {
		return unix.Rename(fmt.Sprintf("d/other %d", i), fmt.Sprintf("d/renamed %d", i))
	})
	changing("names are replaced", func(i int) error {
		name := fmt.Sprintf("d/other %d", i)
		if err := unix.Unlink(name); err != nil {
			return err
		}
		return unix.Mkdir(name, 0o755)
	})
	add("rewound", listRewound)
	add("removing all while listing", func(r *Recorder) { listRemoving(r, size.Names) })
	add("of long names", listLongNames)
	return all
}

// listChanging lists a directory of n stable names and as many others while change changes those.
func listChanging(r *Recorder, n int, change func(i int) error) {
	r.mkdir("d", 0o755)
	var err error
	for i := range n {
		for _, kind := range []string{"stable", "other"} {
			if err == nil {
				err = unix.Mknod(fmt.Sprintf("d/%s %d", kind, i), unix.S_IFREG|0o644, 0)
			}
		}
	}
	r.note(err, "making them")
	r.note(listWhile(change, n), "each stable name once")
	after, err := list("d")
	r.note(err, "%d names afterwards", len(after))
}

// listRemoving removes all of n names, as many programs do: a few are listed, and removed.
func listRemoving(r *Recorder, n int) {
	r.mkdir("d", 0o755)
	for i := range n {
		if err := unix.Mknod(fmt.Sprintf("d/%d", i), unix.S_IFREG|0o644, 0); err != nil {
			r.note(err, "making %d", i)
		}
	}
	d := r.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for {
		some, err := readNames(d.fd, 10)
		if err != nil || len(some) == 0 {
			d.note(err, "end")
			break
		}
		for _, name := range some {
			if err := unix.Unlink("d/" + name); err != nil {
				r.note(err, "unlink %s", name)
			}
		}
	}
	d.close()
	r.ls("d")
	r.rmdir("d")
}

func listRewound(r *Recorder) {
	r.mkdir("d", 0o755)
	r.make("d/a", 0o644, "")
	d := r.open("d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	first, err := readNames(d.fd, -1)
	d.note(err, "names %q", first)
	r.make("d/b", 0o644, "")
	d.seek(0, unix.SEEK_SET)
	second, err := readNames(d.fd, -1)
	slices.Sort(second)
	d.note(err, "names %q", second)
	r.remove("d/a")
	r.remove("d/b")
	d.seek(0, unix.SEEK_SET)
	third, err := readNames(d.fd, -1)
	d.note(err, "names %q", third)
	r.rmdir("d")
	d.close()
}

func listLongNames(r *Recorder) {
	r.mkdir("d", 0o755)
	for i := range 50 {
		name := strings.Repeat(string(rune('a'+i%26)), 200+i)
		r.make("d/"+name, 0o644, "")
	}
	r.ls("d")
}

func changeAll(change func(i int) error, from, to int) error {
	for i := from; i < to; i++ {
		if err := change(i); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
	}
	return nil
}

// listWhile lists the directory d, a few names at a time, and changes something after each few.
// Every stable name has to be listed once. It depends on the file system how often a few names are
// listed: with btrfs, those that are added meanwhile are not. So all changes are made in the end.
func listWhile(change func(i int) error, stable int) error {
	fd, err := unix.Open("d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	seen, changed := map[string]int{}, 0
	for {
		some, err := readNames(fd, 20)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			break
		}
		for _, name := range some {
			seen[name]++
		}
		next := min(changed+10, stable)
		if err := changeAll(change, changed, next); err != nil {
			return err
		}
		changed = next
	}
	if err := changeAll(change, changed, stable); err != nil {
		return err
	}
	for i := range stable {
		name := fmt.Sprintf("stable %d", i)
		if seen[name] != 1 {
			return fmt.Errorf("%s was listed %d times", name, seen[name])
		}
	}
	return nil
}
