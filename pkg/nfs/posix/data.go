package posix

import (
	"fmt"
	"math"
	"strings"

	"golang.org/x/sys/unix"
)

// openFlags are the flags with which each kind of file is opened.
func openFlags() []int {
	return []int{
		unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_WRONLY | unix.O_TRUNC, unix.O_RDONLY | unix.O_TRUNC, unix.O_RDWR | unix.O_APPEND,
		unix.O_CREAT | unix.O_RDWR, unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, unix.O_CREAT | unix.O_TRUNC | unix.O_WRONLY, unix.O_DIRECTORY, unix.O_DIRECTORY | unix.O_WRONLY,
		unix.O_NOFOLLOW, unix.O_NOFOLLOW | unix.O_CREAT | unix.O_WRONLY, unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW, unix.O_SYNC | unix.O_RDWR, unix.O_DSYNC | unix.O_RDWR, unix.O_NOATIME,
	}
}

// opens are cases of open(2).
func opens() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "open/" + name, Run: run}) }
	for _, k := range allKinds() {
		for _, u := range []user{root, alice} {
			add(fmt.Sprintf("a %s by %d", k.name, u.uid), func(r *Recorder) {
				for _, f := range openFlags() {
					dir := flagString(f)
					r.mkdir(dir, 0o777)
					r.as(root, func(r *Recorder) { r.chdir(dir); k.make(r, "x"); r.chmod("x", 0o644) })
					r.as(u, func(r *Recorder) { r.chdir(dir); r.tryOpen("x", f|unix.O_NONBLOCK, 0o640); r.stat("x") })
				}
			})
		}
	}
	add("a missing file", openMissingFile)
	add("appending", openAppending)
	add("read-only mode for writing", openReadOnlyModeWriting)
	add("truncating what others read", openTruncatingOthersRead)
	add("directly", openDirectly)
	add("a temporary file", func(r *Recorder) { r.tryOpen(".", unix.O_TMPFILE|unix.O_RDWR, 0o600) })
	add("wrong directions", openWrongDirections)
	return all
}

func openMissingFile(r *Recorder) {
	for _, f := range openFlags() {
		r.tryOpen("x"+flagString(f), f, 0o640)
	}
	r.ls(".")
}

func openAppending(r *Recorder) {
	r.make("f", 0o644, "one")
	a := r.open("f", unix.O_RDWR|unix.O_APPEND, 0)
	b := r.open("f", unix.O_RDWR|unix.O_APPEND, 0)
	for range 3 {
		a.write("a")
		b.write("b")
	}
	a.seek(0, unix.SEEK_SET)
	a.write("end")
	a.writeAt(0, "also at the end")
	a.seek(0, unix.SEEK_CUR)
	a.readAt(0, 40)
	a.close()
	b.close()
	r.read("f")
}

func openReadOnlyModeWriting(r *Recorder) {
	r.as(alice, func(r *Recorder) {
		f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o444)
		f.write("text")
		f.sync()
		f.readAt(0, 10)
		f.close()
		r.tryOpen("f", unix.O_RDWR, 0)
		r.read("f")
		g := r.open("g", unix.O_CREAT|unix.O_RDWR, 0)
		g.write("text")
		g.close()
		r.tryOpen("g", unix.O_RDONLY, 0)
	})
}

func openTruncatingOthersRead(r *Recorder) {
	r.make("f", 0o644, strings.Repeat("text", 3000))
	f := r.open("f", unix.O_RDONLY, 0)
	f.readAt(4000, 8)
	r.tryOpen("f", unix.O_WRONLY|unix.O_TRUNC, 0)
	f.readAt(4000, 8)
	f.stat()
	r.append("f", "new")
	f.readAt(0, 8)
	f.close()
}

func openDirectly(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT, 0o644)
	buf := aligned(8192)
	copy(buf, strings.Repeat("direct!\n", 1024))
	n, err := unix.Pwrite(f.fd, buf, 0)
	f.number("write directly", n, err)
	clear(buf)
	n, err = unix.Pread(f.fd, buf[:4096], 4096)
	f.number("read directly", n, err)
	f.Recorder.say("read %s", content(buf[:4096]))
	f.stat()
	f.close()
	r.read("f")
}

func openWrongDirections(r *Recorder) {
	r.make("f", 0o644, "text")
	f := r.open("f", unix.O_RDONLY, 0)
	f.write("x")
	f.truncate(0)
	f.close()
	f = r.open("f", unix.O_WRONLY, 0)
	f.read(1)
	f.close()
	d := r.open(".", unix.O_RDONLY, 0)
	d.read(1)
	d.sync()
	d.close()
}

// aligned is memory for O_DIRECT.
func aligned(size int) []byte {
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, size)
	}
	return m
}

// sizes are cases of offsets and sizes.
func sizes() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "sizes/" + name, Run: run}) }
	offsets := []int64{1, 511, 4095, 4096, 65535, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<40 + 5}
	for _, at := range offsets {
		add(fmt.Sprintf("write at %d", at), func(r *Recorder) { sizeWriteAt(r, at) })
	}
	limits := []int64{1<<44 - 1<<13, 1<<44 - 1<<12 - 4, 1<<44 - 1<<12, 1 << 44, 1 << 50, math.MaxInt64 - 4096, math.MaxInt64 - 4, math.MaxInt64 - 3, math.MaxInt64}
	for _, at := range limits {
		add(fmt.Sprintf("limit %d", at), func(r *Recorder) { sizeLimit(r, at) })
	}
	add("negative", sizeNegative)
	add("truncate", sizeTruncate)
	add("truncate without rights", sizeTruncateWithoutRights)
	add("old data behind a new end", sizeOldDataBehindNewEnd)
	add("holes", sizeHoles)
	return all
}

func sizeWriteAt(r *Recorder, at int64) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.writeAt(at, "here")
	f.sync()
	f.stat()
	for _, offset := range []int64{max(0, at-3), at + 3, at + 4, at / 2} {
		f.readAt(offset, 10)
	}
	f.seek(0, unix.SEEK_END)
	f.truncate(at + 1)
	f.readAt(at, 10)
	f.truncate(at + 100)
	f.readAt(at, 200)
	f.close()
	r.stat("f")
}

// sizeLimit makes a file of at bytes, and writes there.
func sizeLimit(r *Recorder, at int64) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.truncate(at)
	f.stat()
	f.readAt(at-2, 2)
	f.readAt(at, 2)
	f.truncate(0)
	f.close()
	f = r.open("g", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.writeAt(at, "data")
	f.sync()
	f.seek(at, unix.SEEK_SET)
	f.close()
	r.stat("g")
}

func sizeNegative(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.truncate(-1)
	f.readAt(-1, 1)
	f.writeAt(-1, "x")
	f.seek(-1, unix.SEEK_SET)
	f.truncate(math.MinInt64)
	f.close()
	r.truncate("f", -1)
}

func sizeTruncate(r *Recorder) {
	r.make("f", 0o644, strings.Repeat("0123456789", 1000))
	for _, size := range []int64{9999, 5000, 4097, 4096, 4095, 10, 0, 3, 5000, 3} {
		r.truncate("f", size)
		r.stat("f")
		r.read("f")
	}
}

func sizeTruncateWithoutRights(r *Recorder) {
	r.make("f", 0o444, "text")
	r.chown("f", int(alice.uid), int(alice.gid))
	for _, u := range []user{alice, bob} {
		r.as(u, func(r *Recorder) { r.truncate("f", 1); r.tryOpen("f", unix.O_RDONLY|unix.O_TRUNC, 0) })
	}
	r.stat("f")
}

func sizeOldDataBehindNewEnd(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.write(strings.Repeat("x", 10000))
	f.sync()
	f.truncate(5)
	f.truncate(10000)
	f.readAt(0, 10000)
	f.truncate(7)
	f.writeAt(9000, "y")
	f.readAt(0, 10000)
	f.close()
	r.read("f")
}

func sizeHoles(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.writeAt(1<<20, "end")
	f.writeAt(300000, "middle")
	f.close()
	r.read("f")
	f = r.open("f", unix.O_RDWR, 0)
	f.seek(1<<20+3, unix.SEEK_HOLE)
	f.seek(1<<20, unix.SEEK_DATA)
	f.seek(1<<20+2, unix.SEEK_HOLE)
	f.readAt(299998, 10)
	f.close()
}

// data are cases of what is written and read.
func data() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "data/" + name, Run: run}) }
	for _, size := range []int{0, 1, 1023, 1024, 1025, 4096, 32767, 131072, 131073, 1 << 20, 1<<20 + 1} {
		add(fmt.Sprintf("%d bytes", size), func(r *Recorder) {
			text := pattern(size)
			r.make("f", 0o644, text)
			r.stat("f")
			r.read("f")
			f := r.open("f", unix.O_RDWR, 0)
			f.writeAt(int64(size/2), "changed")
			f.readAt(int64(size/2-min(5, size/2)), 17)
			f.close()
			r.read("f")
		})
	}
	add("two descriptors", dataTwoDescriptors)
	for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
		add(flagString(flag), func(r *Recorder) {
			f := r.open("f", unix.O_CREAT|unix.O_RDWR|flag, 0o644)
			for i := range 5 {
				f.writeAt(int64(i)*1000, "some")
			}
			f.close()
			r.read("f")
		})
	}
	add("syncing", dataSyncing)
	add("vectors", dataVectors)
	add("copy within the kernel", dataCopyWithinKernel)
	add("allocation", dataAllocation)
	return all
}

func dataTwoDescriptors(r *Recorder) {
	a := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	b := r.open("f", unix.O_RDWR, 0)
	a.write("from a")
	b.readAt(0, 10)
	b.writeAt(5, "b")
	a.readAt(0, 10)
	a.truncate(2)
	b.readAt(0, 10)
	b.stat()
	a.close()
	b.close()
}

func dataSyncing(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.write(pattern(300000))
	f.note(unix.Fdatasync(f.fd), "data sync")
	f.note(unix.SyncFileRange(f.fd, 0, 4096, unix.SYNC_FILE_RANGE_WRITE), "range sync")
	f.sync()
	f.note(unix.Syncfs(f.fd), "file system sync")
	f.close()
	r.read("f")
}

func dataVectors(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	n, err := unix.Pwritev(f.fd, [][]byte{[]byte("one"), []byte("two"), []byte(pattern(10000))}, 5)
	f.number("writev", n, err)
	n, err = unix.Preadv(f.fd, [][]byte{make([]byte, 7), make([]byte, 20000)}, 3)
	f.number("readv", n, err)
	f.close()
	r.read("f")
}

func dataCopyWithinKernel(r *Recorder) {
	r.make("from", 0o644, pattern(200000))
	from := r.open("from", unix.O_RDONLY, 0)
	to := r.open("to", unix.O_CREAT|unix.O_RDWR, 0o644)
	to.note(copyRange(to.fd, from.fd, 150000), "copy_file_range")
	n, err := unix.Sendfile(to.fd, from.fd, nil, 50000)
	to.number("sendfile", n, err)
	from.close()
	to.close()
	r.read("to")
}

// copyRange copies n bytes. A file system may copy fewer in one call.
func copyRange(to, from, n int) error {
	for n > 0 {
		some, err := unix.CopyFileRange(from, nil, to, nil, n, 0)
		if err != nil || some == 0 {
			return err
		}
		n -= some
	}
	return nil
}

func dataAllocation(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.write("text")
	f.note(unix.Fallocate(f.fd, 0, 0, 10000), "fallocate")
	f.note(unix.Fallocate(f.fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2), "punching a hole")
	f.close()
}

// pattern is data of which no two parts are alike.
func pattern(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%x,", i)
	}
	return b.String()[:size]
}

// mappings are cases of mmap(2).
func mappings() []Case {
	var all []Case
	add := func(name string, run func(*Recorder)) { all = append(all, Case{Name: "mmap/" + name, Run: run}) }
	add("shared", mapShared)
	add("private", mapPrivate)
	add("of a removed file", mapRemovedFile)
	add("without rights", mapWithoutRights)
	return all
}

func mapShared(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.truncate(10000)
	if m := f.mapped(10000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); m != nil {
		copy(m[4090:], "across the page")
		f.readAt(4088, 20)
		f.writeAt(5000, "by write")
		r.say("mapped: %q", m[4999:5010])
		f.note(unix.Msync(m, unix.MS_SYNC), "msync")
		copy(m[9990:], "to the end")
		f.note(unix.Munmap(m), "unmap")
	}
	f.close()
	r.read("f")
	r.stat("f")
}

func mapPrivate(r *Recorder) {
	r.make("f", 0o644, "original")
	f := r.open("f", unix.O_RDONLY, 0)
	if m := f.mapped(8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE); m != nil {
		copy(m, "mine")
		r.say("mapped: %q", m)
		f.note(unix.Munmap(m), "unmap")
	}
	f.close()
	r.read("f")
}

func mapRemovedFile(r *Recorder) {
	f := r.open("f", unix.O_CREAT|unix.O_RDWR, 0o644)
	f.write(pattern(9000))
	m := f.mapped(9000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.close()
	r.remove("f")
	if m != nil {
		copy(m[8000:], "after removal")
		r.note(unix.Msync(m, unix.MS_SYNC), "msync")
		r.say("mapped: %s", content(m))
		r.note(unix.Munmap(m), "unmap")
	}
	r.lsSettled(".")
}

func mapWithoutRights(r *Recorder) {
	r.make("f", 0o644, "text")
	f := r.open("f", unix.O_RDONLY, 0)
	f.mapped(4, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	f.close()
}
