//go:build e2e || soak

package linuxclient

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func links() error {
	long := strings.Repeat("target/", 500)
	return errors.Join(
		os.WriteFile("a", []byte("a"), 0o644), os.Mkdir("d", 0o755),
		os.Link("a", "b"), os.Link("b", "d/c"), wantLinks("a", 3),
		want("link to a directory", os.Link("d", "e"), unix.EPERM),
		want("link to what is there", os.Link("a", "b"), unix.EEXIST),
		os.Remove("b"), wantLinks("d/c", 2),
		os.Symlink("../../..//no/such", "s"), os.Symlink(long, "long"), os.Link("s", "t"), wantLinks("s", 2),
		os.Mkdir("d/x", 0o755), os.Mkdir("d/y", 0o755), wantLinks("d", 4), os.Remove("d/x"), wantLinks("d", 3),
		want("removing a full directory", unix.Rmdir("d"), unix.ENOTEMPTY),
	)
}

func modes() error {
	return errors.Join(
		os.WriteFile("f", nil, 0o600), unix.Chmod("f", 0o6755), wantMode("f", 0o6755),
		// Root keeps these bits when it writes, nobody else does.
		unix.Chown("f", 1000, 1000), wantMode("f", 0o755), unix.Chmod("f", 0o6777),
		as(1000, "sh", "-c", "echo x >>f"), wantMode("f", 0o777),
		os.Mkdir("shared", 0o755), unix.Chown("shared", 0, 2000), unix.Chmod("shared", 0o3777),
		as(1000, "sh", "-c", "umask 0; echo x >shared/theirs; mkdir shared/dir"), wantMode("shared/dir", 0o2777),
		want("removing another's file from a sticky directory", as(1001, "sh", "-c", "rm -f shared/theirs 2>/dev/null"), errStatus),
		os.Mkdir("closed", 0o700), os.WriteFile("closed/f", []byte("secret"), 0o644),
		want("reading in a closed directory", as(1000, "sh", "-c", "cat closed/f 2>/dev/null"), errStatus),
		as(1000, "sh", "-c", "umask 022; echo once >shared/own; chmod 0444 shared/own; cat shared/own >/dev/null"),
		want("writing a read-only file", as(1000, "sh", "-c", "echo twice >>shared/own 2>/dev/null"), errStatus),
		// A file that is made read-only stays writable to who has it open.
		as(1000, "sh", "-c", "exec 3>shared/open; chmod 0400 shared/open; echo kept >&3"),
	)
}

// errStatus is what as returns for a command that fails.
var errStatus = errors.New("the command failed")

// as runs a command as another user, in no other group than its own.
func as(uid uint32, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	if errors.As(err, new(*exec.ExitError)) {
		return fmt.Errorf("%w: %d, %s %q: %s", errStatus, uid, name, args, out)
	}
	return err
}

func nodes() error {
	err := errors.Join(
		unix.Mknod("null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mknod("disk", unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))),
		unix.Mknod("fifo", unix.S_IFIFO|0o600, 0), unix.Mknod("socket", unix.S_IFSOCK|0o755, 0),
		want("node in the place of a file", unix.Mknod("fifo", unix.S_IFIFO, 0), unix.EEXIST),
	)
	st, statErr := stat("disk")
	if err = errors.Join(err, statErr); err == nil && uint64(st.Rdev) != unix.Mkdev(259, 70000) {
		err = fmt.Errorf("disk is device %#x; want %#x", st.Rdev, unix.Mkdev(259, 70000))
	}
	// The client's own device and FIFO, not the server's.
	return errors.Join(err, as(0, "sh", "-c", "echo x >fifo & cat fifo >copy; wait"))
}

func owners() error {
	return errors.Join(
		os.WriteFile("f", nil, 0o644), os.Chown("f", 4000000, 70000), os.Symlink("f", "l"), os.Lchown("l", 5, 6),
		os.Mkdir("d", 0o755), os.Chown("d", 1000, 1000), as(1000, "sh", "-c", "echo x >d/own; mkdir d/dir; ln -s x d/link"),
		want("giving a file away", as(1000, "chown", "1001", "d/own"), errStatus),
		want("making in another's directory", as(1001, "sh", "-c", "echo x >d/not 2>/dev/null"), errStatus),
		os.WriteFile("times", nil, 0o644),
		unix.UtimesNanoAt(unix.AT_FDCWD, "times", []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 1600000000, Nsec: 123456789}}, 0),
		unix.UtimesNanoAt(unix.AT_FDCWD, "l", []unix.Timespec{{Sec: 3, Nsec: 4}, {Sec: 1500000000, Nsec: 987654321}}, unix.AT_SYMLINK_NOFOLLOW),
	)
}

// attributes checks that extended attributes, which NFSv3 has not, are refused
// in the one way that programs expect.
func attributes() error {
	if err := os.WriteFile("f", nil, 0o644); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(".", &fs); err != nil || fs.Type != nfsMagic {
		return err
	}
	capability := make([]byte, 20) // none, but of a valid form: struct vfs_cap_data
	capability[3] = 2
	_, err := unix.Getxattr("f", "security.capability", nil)
	return errors.Join(
		want("setting an attribute", unix.Setxattr("f", "user.x", []byte("x"), 0), unix.ENOTSUP),
		want("setting a capability", unix.Setxattr("f", "security.capability", capability, 0), unix.ENOTSUP),
		want("reading a capability", err, unix.ENOTSUP, unix.ENODATA),
	)
}

// renames has several directories renamed in at once, over each other's files
// and from one directory to the next.
func renames() error {
	workers, rounds := 6, theLength().renames
	return sideBySide(workers, func(worker int) error {
		dir := strconv.Itoa(worker)
		if err := errors.Join(os.MkdirAll(dir+"/a", 0o755), os.MkdirAll(dir+"/b", 0o755)); err != nil {
			return err
		}
		for i := range rounds {
			text := []byte(dir + " " + strconv.Itoa(i))
			err := errors.Join(
				os.WriteFile(dir+"/a/new", text, 0o644), os.Rename(dir+"/a/new", dir+"/a/current"),
				os.Rename(dir+"/a/current", fmt.Sprintf("%s/b/%d", dir, i%7)),
				os.Rename(dir+"/a", dir+"/c"), os.Rename(dir+"/c", dir+"/a"),
			)
			if err != nil {
				return fmt.Errorf("round %d: %w", i, err)
			}
		}
		return want("renaming over a full directory", os.Rename(dir+"/a", dir+"/b"), unix.EEXIST, unix.ENOTEMPTY)
	})
}

// mapped writes through a mapping, in the middle of pages and of a file that
// grows and shrinks.
func mapped() error {
	const size = 3<<20 + 123
	f, err := os.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	for i := 0; i < size; i += 1000 {
		m[i] = byte(i / 1000)
	}
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	copy(m[size-5:], "at the end")
	if err := unix.Munmap(m); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("between"), 4090)
	return errors.Join(err, f.Truncate(size-50000), f.Truncate(size+50000), f.Sync())
}

// appends has two processes append to one file, and checks that no line is
// lost or torn.
func appends() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	err = sideBySide(2, func(worker int) error {
		cmd := exec.Command(program, "lines", strconv.Itoa(worker))
		cmd.Env = append(os.Environ(), workRole+"=appender")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("appending: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	text, err := os.ReadFile("lines")
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(text), "\n")
	slices.Sort(lines) // in which order they were written is chance
	return errors.Join(os.WriteFile("sorted", []byte(strings.Join(lines, "")), 0o644), os.Remove("lines"))
}

const appendedLines = 300

func appendLines(name, worker string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	for i := range appendedLines {
		if _, err := fmt.Fprintf(f, "%s %04d %s\n", worker, i, strings.Repeat(worker, i)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

// unlinked works on with files whose names are gone.
func unlinked() error {
	const size = 200 << 10
	for i := range 10 {
		f, err := os.OpenFile("f", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		text, got := bytes.Repeat([]byte{byte(i + 1)}, size), make([]byte, size)
		_, writeErr := f.WriteAt(text[:size/2], 0)
		err = errors.Join(writeErr, f.Sync(), os.Remove("f"))
		_, writeErr = f.WriteAt(text[size/2:], size/2)
		_, readErr := f.ReadAt(got, 0)
		if err = errors.Join(err, writeErr, f.Sync(), readErr, f.Close()); err != nil {
			return fmt.Errorf("round %d: %w", i, err)
		}
		if !bytes.Equal(got, text) {
			return fmt.Errorf("round %d: a removed file has other content than was written", i)
		}
	}
	return nil
}

// exclusives checks that of several that make a file only one does.
func exclusives() error {
	const workers, files = 4, 40
	var made [workers]int
	err := sideBySide(workers, func(worker int) error {
		for i := range files {
			f, err := os.OpenFile(strconv.Itoa(i), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
			if errors.Is(err, unix.EEXIST) {
				continue
			}
			if err != nil {
				return err
			}
			made[worker]++
			if err := errors.Join(f.Chmod(0o604), f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	if total := made[0] + made[1] + made[2] + made[3]; total != files {
		err = errors.Join(err, fmt.Errorf("%d files were made, %v; want %d", total, made, files))
	}
	return err
}

// many fills up a directory of many files, and removes those that it has made
// except every hundredth.
func many() error {
	before := theLength().madeBefore
	if err := eachOf(before, manyFiles, makeEmpty); err != nil {
		return err
	}
	if err := wantEntries(manyFiles); err != nil {
		return err
	}
	err := eachOf(before, manyFiles, func(i int) error {
		if i%100 == 0 {
			return nil
		}
		return os.Remove(numbered(i))
	})
	return errors.Join(err, wantEntries(before+(manyFiles-before)/100))
}

func numbered(i int) string { return fmt.Sprintf("file %05d", i) }

// makeEmpty does not open the file: that saves the emulated guest half of the
// calls.
func makeEmpty(i int) error { return unix.Mknod(numbered(i), unix.S_IFREG|0o644, 0) }

// eachOf calls f for each number from first to before end, several at a time.
func eachOf(first, end int, f func(i int) error) error {
	const workers = 8
	return sideBySide(workers, func(worker int) error {
		for i := first + worker; i < end; i += workers {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// wantEntries checks that the working directory lists n files, each once.
func wantEntries(n int) error {
	all, err := os.ReadDir(".")
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, e := range all {
		names[e.Name()] = true
	}
	if len(all) != n || len(names) != n {
		return fmt.Errorf("the directory lists %d files, %d different; want %d", len(all), len(names), n)
	}
	return nil
}
