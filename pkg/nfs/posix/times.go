package posix

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// tickPatience is far beyond the resolution of any file system's times.
const tickPatience = time.Minute

// A moment is when a file was changed last.
type moment struct{ modified, changed unix.Timespec }

func after(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

func momentOf(name string) (moment, error) {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	return moment{st.Mtim, st.Ctim}, err
}

// mark returns the times of a file as soon as the file system's clock has gone on since, so that
// a later change has later times.
func (r *Recorder) mark(name string) moment {
	m, err := momentOf(name)
	if err == nil {
		err = r.tick(m)
	}
	if err != nil {
		r.note(err, "mark %s", short(name))
	}
	return m
}

// tick waits until the file system gives later times than m's.
func (r *Recorder) tick(m moment) error {
	var st unix.Stat_t
	for began := time.Now(); time.Since(began) < tickPatience; {
		if err := unix.Fchmod(r.ticker, 0o666); err != nil {
			return err
		}
		if err := unix.Fstat(r.ticker, &st); err != nil {
			return err
		}
		if after(st.Ctim, m.changed) && (after(st.Ctim, m.modified) || m.modified.Sec > st.Ctim.Sec) {
			return nil
		}
	}
	return fmt.Errorf("the file system's clock stands still")
}

// changed notes which times of a file have gone on since m.
func (r *Recorder) changed(name string, m moment) {
	now, err := momentOf(name)
	which := ""
	if now.modified != m.modified {
		which += " mtime"
	}
	if now.changed != m.changed {
		which += " ctime"
	}
	r.note(err, "changed %s:%s", short(name), which)
}

// A changingCall is a call and the files whose times it may change.
type changingCall struct {
	name  string
	do    func(*Recorder)
	watch []string
}

// changingCalls are calls in the tree that changes makes.
func changingCalls() []changingCall {
	return append([]changingCall{
		{"create", func(r *Recorder) { r.make("d/new", 0o644, "") }, []string{"d"}},
		{"create over", func(r *Recorder) { r.tryOpen("d/f", unix.O_CREAT|unix.O_RDWR, 0o600) }, []string{"d", "d/f"}},
		{"create truncating", func(r *Recorder) { r.tryOpen("d/f", unix.O_CREAT|unix.O_RDWR|unix.O_TRUNC, 0o600) }, []string{"d", "d/f"}},
		{"truncate open empty", func(r *Recorder) { r.tryOpen("d/empty", unix.O_RDWR|unix.O_TRUNC, 0) }, []string{"d/empty"}},
		{"exclusive over", func(r *Recorder) { r.tryOpen("d/f", unix.O_CREAT|unix.O_RDWR|unix.O_EXCL, 0o600) }, []string{"d", "d/f"}},
		{"mkdir", func(r *Recorder) { r.mkdir("d/new", 0o755) }, []string{"d"}},
		{"mkdir over", func(r *Recorder) { r.mkdir("d/sub", 0o755) }, []string{"d", "d/sub"}},
		{"rmdir", func(r *Recorder) { r.rmdir("d/sub") }, []string{"d"}},
		{"unlink", func(r *Recorder) { r.remove("d/f") }, []string{"d"}},
		{"unlink of one link", func(r *Recorder) { r.remove("d/f") }, []string{"d", "e/link"}},
		{"unlink missing", func(r *Recorder) { r.remove("d/none") }, []string{"d"}},
		{"link", func(r *Recorder) { r.link("d/f", "e/new") }, []string{"d", "d/f", "e"}},
		{"link over", func(r *Recorder) { r.link("d/f", "e/link") }, []string{"d", "d/f", "e"}},
		{"symlink", func(r *Recorder) { r.symlink("f", "d/new") }, []string{"d", "d/f"}},
		{"mknod", func(r *Recorder) { r.mknod("d/new", unix.S_IFIFO|0o600, 0) }, []string{"d"}},
		{"rename", func(r *Recorder) { r.rename("d/empty", "d/new") }, []string{"d"}},
		{"rename away", func(r *Recorder) { r.rename("d/empty", "e/new") }, []string{"d", "e"}},
		{"rename over", func(r *Recorder) { r.rename("d/empty", "e/link") }, []string{"d", "e", "d/f"}},
		{"rename to itself", func(r *Recorder) { r.rename("d/f", "d/f") }, []string{"d", "d/f"}},
		{"rename to a link of itself", func(r *Recorder) { r.rename("d/f", "e/link") }, []string{"d", "d/f", "e"}},
		{"rename missing", func(r *Recorder) { r.rename("d/none", "e/link") }, []string{"d", "e", "e/link"}},
		{"rename of a directory away", func(r *Recorder) { r.rename("d/sub", "e/sub") }, []string{"d", "e"}},
		{"list", func(r *Recorder) { r.ls("d") }, []string{"d"}},
	}, changingFile()...)
}

// changingFile are calls that change a file and no directory.
func changingFile() []changingCall {
	return []changingCall{
		{"chmod", func(r *Recorder) { r.chmod("d/f", 0o600) }, []string{"d", "d/f"}},
		{"chmod refused", func(r *Recorder) { r.as(bob, func(r *Recorder) { r.chmod("d/f", 0o600) }) }, []string{"d/f"}},
		{"chown", func(r *Recorder) { r.chown("d/f", 5, 6) }, []string{"d", "d/f"}},
		{"chown to the same", func(r *Recorder) { r.chown("d/f", 0, 0) }, []string{"d/f"}},
		{"chown of nothing", func(r *Recorder) { r.chown("d/f", -1, -1) }, []string{"d/f"}},
		{"write", func(r *Recorder) { r.append("d/f", "x") }, []string{"d", "d/f"}},
		{"write of nothing", func(r *Recorder) { r.append("d/f", "") }, []string{"d/f"}},
		{"truncate shorter", func(r *Recorder) { r.truncate("d/f", 1) }, []string{"d", "d/f"}},
		{"truncate longer", func(r *Recorder) { r.truncate("d/f", 100) }, []string{"d/f"}},
		{"truncate to the same size", func(r *Recorder) { r.truncate("d/f", 4) }, []string{"d/f"}},
		{"truncate refused", func(r *Recorder) { r.as(bob, func(r *Recorder) { r.truncate("d/f", 0) }) }, []string{"d/f"}},
		{"read", func(r *Recorder) { r.read("d/f") }, []string{"d", "d/f"}},
		{"utimes", func(r *Recorder) { r.utimes("d/f", at(1, 2), at(3, 4)) }, []string{"d", "d/f"}},
		{"utimes access only", func(r *Recorder) { r.utimes("d/f", at(1, 2), omit) }, []string{"d/f"}},
		{"utimes omit both", func(r *Recorder) { r.utimes("d/f", omit, omit) }, []string{"d/f"}},
		{"utimes now", func(r *Recorder) { r.utimes("d/f", now, now) }, []string{"d/f"}},
	}
}

// changes are cases of the times that calls change.
func changes() []Case {
	var all []Case
	for _, c := range changingCalls() {
		all = append(all, Case{Name: "changes/" + c.name, Run: func(r *Recorder) {
			r.mkdir("d", 0o755)
			r.mkdir("d/sub", 0o755)
			r.mkdir("e", 0o755)
			r.make("d/f", 0o644, "text")
			r.make("d/empty", 0o644, "")
			r.link("d/f", "e/link")
			marks := make([]moment, len(c.watch))
			for i, name := range c.watch {
				marks[i] = r.mark(name)
			}
			c.do(r)
			for i, name := range c.watch {
				r.changed(name, marks[i])
			}
		}})
	}
	return all
}

var (
	now  = unix.Timespec{Nsec: unix.UTIME_NOW}
	omit = unix.Timespec{Nsec: unix.UTIME_OMIT}
)

func at(sec, nsec int64) unix.Timespec { return unix.Timespec{Sec: sec, Nsec: nsec} }

func timeName(t unix.Timespec) string {
	switch t.Nsec {
	case unix.UTIME_NOW:
		return "now"
	case unix.UTIME_OMIT:
		return "omit"
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}

// utimes sets the times of a file; of a link, the link's own.
func (r *Recorder) utimes(name string, access, modified unix.Timespec) {
	err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{access, modified}, unix.AT_SYMLINK_NOFOLLOW)
	r.note(err, "utimes %s %s %s", short(name), timeName(access), timeName(modified))
}

// times notes the times that are older than anything that happens now.
func (r *Recorder) times(name string) {
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	then := func(t unix.Timespec) string {
		if t.Sec > 1700000000 && t.Sec < 1<<31-1 {
			return "today"
		}
		return timeName(t)
	}
	r.note(err, "times %s: %s %s", short(name), then(st.Atim), then(st.Mtim))
}

// A namedTime is a time with what it is called.
type namedTime struct {
	name string
	time unix.Timespec
}

// farMoments are the times at which something may end.
func farMoments() []namedTime {
	return []namedTime{
		{"zero", at(0, 0)}, {"one ns", at(0, 1)}, {"most ns", at(1, 999999999)}, {"2038", at(1<<31-1, 5)}, {"after 2038", at(1<<31, 6)},
		{"before 1970", at(-1, 7)}, {"2106", at(1<<32-1, 8)}, {"after 2106", at(1<<32, 9)}, {"year 2446", at(15032385535, 10)},
	}
}

// times are cases of utimensat(2).
func times() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "times/" + name, Run: run}) }
	for _, m := range farMoments() {
		add("set "+m.name, func(r *Recorder) {
			r.make("f", 0o644, "")
			r.utimes("f", m.time, at(1000, 0))
			r.times("f")
			r.utimes("f", at(2000, 0), m.time)
			r.times("f")
		})
	}
	for _, kind := range allKinds() {
		add("of a "+kind.name, func(r *Recorder) {
			kind.make(r, "x")
			r.utimes("x", at(11, 12), at(13, 14))
			r.times("x")
			r.utimes("x", omit, at(15, 16))
			r.times("x")
			r.utimes("x", now, omit)
			r.times("x")
		})
	}
	pairs := [][2]unix.Timespec{{now, now}, {now, omit}, {omit, now}, {omit, omit}, {at(1, 1), at(2, 2)}, {at(1, 1), omit}, {at(1, 1), now}}
	for _, p := range pairs {
		for _, u := range []user{alice, bob, carol} { // the owner, one who may write, one who may not
			add(fmt.Sprintf("%s %s by %d", timeName(p[0]), timeName(p[1]), u.uid), func(r *Recorder) {
				r.make("f", 0o664, "")
				r.chown("f", int(alice.uid), team)
				r.utimes("f", at(100, 0), at(200, 0))
				r.as(u, func(r *Recorder) { r.utimes("f", p[0], p[1]) })
				r.times("f")
			})
		}
	}
	add("set by the owner of a read-only file", timeSetOwnerReadOnlyFile)
	add("bad nanoseconds", timeBadNanoseconds)
	add("through an open file", timeThroughOpenFile)
	return all
}

func timeSetOwnerReadOnlyFile(r *Recorder) {
	r.make("f", 0o444, "")
	r.chown("f", int(alice.uid), int(alice.gid))
	r.as(alice, func(r *Recorder) {
		r.utimes("f", at(5, 5), at(6, 6))
		r.times("f")
		r.utimes("f", now, now)
		r.times("f")
	})
}

func timeBadNanoseconds(r *Recorder) {
	r.make("f", 0o644, "")
	r.utimes("f", at(1, 1000000000), at(1, 0))
	r.utimes("f", at(1, -1), at(1, 0))
}

func timeThroughOpenFile(r *Recorder) {
	r.make("f", 0o644, "text")
	f := r.open("f", unix.O_RDWR, 0)
	f.write("more")
	f.note(unix.UtimesNanoAt(f.fd, "", []unix.Timespec{at(7, 8), at(9, 10)}, unix.AT_EMPTY_PATH), "utimes")
	f.close()
	r.times("f")
}
