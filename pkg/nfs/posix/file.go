package posix

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"golang.org/x/sys/unix"
)

// A file is one that a case has open. Its methods do nothing if it could not be opened.
type file struct {
	*Recorder
	name string
	fd   int
}

// flagNames are the flags of open(2) that cases use, in the order in which they are noted.
var flagNames = []struct {
	flag int
	name string
}{
	{unix.O_RDWR, "RDWR"}, {unix.O_WRONLY, "WRONLY"}, {unix.O_CREAT, "CREAT"}, {unix.O_EXCL, "EXCL"}, {unix.O_TRUNC, "TRUNC"},
	{unix.O_APPEND, "APPEND"}, {unix.O_NONBLOCK, "NONBLOCK"}, {unix.O_DIRECTORY, "DIRECTORY"}, {unix.O_NOFOLLOW, "NOFOLLOW"},
	{unix.O_PATH, "PATH"}, {unix.O_DIRECT, "DIRECT"}, {unix.O_SYNC, "SYNC"}, {unix.O_DSYNC, "DSYNC"}, {unix.O_NOATIME, "NOATIME"},
}

func flagString(flags int) string {
	names := ""
	for _, f := range flagNames {
		if flags&f.flag == f.flag {
			names += "|" + f.name
			flags &^= f.flag
		}
	}
	if names == "" {
		return "RDONLY"
	}
	return names[1:]
}

func (r *Recorder) open(name string, flags int, mode uint32) *file {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, mode)
	r.note(err, "open %s %s %o", short(name), flagString(flags), mode)
	return &file{Recorder: r, name: short(name), fd: fd}
}

// tryOpen opens a file and closes it.
func (r *Recorder) tryOpen(name string, flags int, mode uint32) { r.open(name, flags, mode).close() }

func (f *file) note(err error, format string, args ...any) {
	if f.fd >= 0 {
		f.Recorder.note(err, "%s of %s", fmt.Sprintf(format, args...), f.name)
	}
}

func (f *file) close() {
	if f.fd >= 0 {
		f.note(unix.Close(f.fd), "close")
		f.fd = -1
	}
}

func (f *file) write(text string) {
	n, err := unix.Write(f.fd, []byte(text))
	f.note(err, "write %s = %d", content([]byte(text)), n)
}

func (f *file) writeAt(offset int64, text string) {
	n, err := unix.Pwrite(f.fd, []byte(text), offset)
	f.note(err, "write %s at %d = %d", content([]byte(text)), offset, n)
}

func (f *file) readAt(offset int64, size int) {
	buf := make([]byte, size)
	n, err := unix.Pread(f.fd, buf, offset)
	f.note(err, "read %d at %d = %s", size, offset, content(buf[:max(n, 0)]))
}

func (f *file) read(size int) {
	buf := make([]byte, size)
	n, err := unix.Read(f.fd, buf)
	f.note(err, "read %d = %s", size, content(buf[:max(n, 0)]))
}

func (f *file) seek(offset int64, from int) {
	n, err := unix.Seek(f.fd, offset, from)
	f.note(err, "seek %d %d = %d", offset, from, n)
}

func (f *file) truncate(size int64)                  { f.note(unix.Ftruncate(f.fd, size), "truncate %d", size) }
func (f *file) sync()                                { f.note(unix.Fsync(f.fd), "sync") }
func (f *file) chmod(mode uint32)                    { f.note(unix.Fchmod(f.fd, mode), "chmod %o", mode) }
func (f *file) chown(uid, gid int)                   { f.note(unix.Fchown(f.fd, uid, gid), "chown %d:%d", uid, gid) }
func (f *file) flock(how int)                        { f.note(unix.Flock(f.fd, how|unix.LOCK_NB), "flock %d", how) }
func (f *file) number(what string, n int, err error) { f.note(err, "%s = %d", what, n) }

func (f *file) stat() {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	f.note(err, "stat: %s", describe(&st))
}

// mapped maps the file, and returns nil if it cannot.
func (f *file) mapped(size, prot, flags int) []byte {
	m, err := unix.Mmap(f.fd, 0, size, prot, flags)
	f.note(err, "map %d", size)
	return m
}

// read notes the content of a file.
func (r *Recorder) read(name string) {
	text, err := readFile(name)
	r.note(err, "content of %s = %s", short(name), content(text))
}

func readFile(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var all bytes.Buffer
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, buf)
		if n <= 0 || err != nil {
			return all.Bytes(), err
		}
		all.Write(buf[:n])
	}
}

// write replaces or makes a file.
func (r *Recorder) write(name, text string) {
	f := r.open(name, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	f.write(text)
	f.close()
}

// append writes to the end of a file that is there.
func (r *Recorder) append(name, text string) {
	f := r.open(name, unix.O_WRONLY|unix.O_APPEND, 0)
	f.write(text)
	f.close()
}

// content is data as it is noted: much of it by its size and sum.
func content(data []byte) string {
	if len(data) > 40 {
		return fmt.Sprintf("(%d bytes, sum %08x)", len(data), crc32.ChecksumIEEE(data))
	}
	return fmt.Sprintf("%q", data)
}
