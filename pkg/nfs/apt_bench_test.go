//go:build bench

package nfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// aptSize is the size of a file in bytes, about the median in Debian's packages.
const aptSize = 3000

// An installation is what the calls of some boards for an apt install come to.
type installation struct {
	calls   int
	took    time.Duration
	cpu     time.Duration
	commits uint64 // of the journal
	flushes uint64 // of the disk's cache
}

// TestAptSpeed prints what the calls of an apt install cost, by one board and by four at once, on
// an ext4 in a file: on this server, whose every answer is on the disk, on this server with
// Relaxed, and on ganesha, which answers before.
func TestAptSpeed(t *testing.T) {
	files, err := strconv.Atoi(os.Getenv("FILES"))
	if err != nil || files < 1 {
		t.Fatalf("FILES is %q; want how many files are installed, e.g. 2000", os.Getenv("FILES"))
	}
	dir, disk := newAptDisk(t)
	t.Setenv(speedRelaxed, "")
	servers := []*contender{startOurs(t, dir), startGanesha(t, dir)}
	t.Setenv(speedRelaxed, "1")
	servers = append(servers, startOurs(t, dir))
	servers[2].name = "pibootd, relaxed"
	fmt.Printf("apt install of %d files, medians of %d:\n%-18s %6s %8s %8s %12s %13s %13s\n", files, speedRounds(t),
		"", "boards", "calls", "calls/s", "CPU µs/call", "commits/call", "flushes/call")
	for _, boards := range []int{1, 4} {
		got := make([][]installation, len(servers))
		for round := range speedRounds(t) {
			for i := range servers {
				i = (i + round) % len(servers) // each is first in turn
				got[i] = append(got[i], servers[i].install(dir, disk, boards, files))
			}
		}
		for i, c := range servers {
			printInstallation(c.name, boards, got[i])
		}
	}
}

func printInstallation(name string, boards int, all []installation) {
	middle := func(f func(installation) float64) float64 {
		var s []sample
		for _, in := range all {
			s = append(s, sample{rate: f(in)})
		}
		return median(s).rate
	}
	perCall := func(f func(installation) float64) float64 {
		return middle(func(in installation) float64 { return f(in) / float64(in.calls) })
	}
	fmt.Printf("%-18s %6d %8d %8.0f %12.1f %13.3f %13.3f\n", name, boards, all[0].calls,
		middle(func(in installation) float64 { return float64(in.calls) / in.took.Seconds() }),
		perCall(func(in installation) float64 { return float64(in.cpu.Microseconds()) }),
		perCall(func(in installation) float64 { return float64(in.commits) }),
		perCall(func(in installation) float64 { return float64(in.flushes) }))
}

func runs(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// newAptDisk mounts a new ext4 and returns where, and the name of its disk.
func newAptDisk(t *testing.T) (dir, disk string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	runs(t, "truncate", "-s", "1G", image)
	runs(t, "mkfs.ext4", "-q", "-F", image)
	dir = t.TempDir()
	runs(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	disk, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Base(disk)
}

// diskCounts returns how often the disk's journal was committed, and its cache flushed.
func (c *contender) diskCounts(disk string) (commits, flushes uint64) {
	c.t.Helper()
	info, err := os.ReadFile("/proc/fs/jbd2/" + disk + "-8/info")
	stat, err2 := os.ReadFile("/sys/block/" + disk + "/stat")
	if err := errors.Join(err, err2); err != nil {
		c.t.Fatal(err)
	}
	commits, err = strconv.ParseUint(strings.Fields(string(info))[0], 10, 64)
	const flushField = 15 // Documentation/admin-guide/iostats.rst, of linux
	flushes, err2 = strconv.ParseUint(strings.Fields(string(stat))[flushField], 10, 64)
	if err := errors.Join(err, err2); err != nil {
		c.t.Fatal(err)
	}
	return commits, flushes
}

// install runs the calls of so many boards at once, and removes the files.
func (c *contender) install(dir, disk string, boards, files int) installation {
	c.t.Helper()
	var all errgroup.Group
	cpu, start := c.cpu(), time.Now()
	commits, flushes := c.diskCounts(disk)
	calls := make([]int, boards)
	for i := range boards {
		k := c.caller()
		all.Go(func() (err error) {
			calls[i], err = c.unpack(k, "root-"+strconv.Itoa(i), files)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		c.t.Fatalf("%s: %v", c.name, err)
	}
	in := installation{took: time.Since(start), cpu: c.cpu() - cpu}
	in.commits, in.flushes = c.diskCounts(disk)
	in.commits, in.flushes = in.commits-commits, in.flushes-flushes
	for i := range boards {
		in.calls += calls[i]
		if err := os.RemoveAll(filepath.Join(dir, "root-"+strconv.Itoa(i))); err != nil {
			c.t.Fatal(err)
		}
	}
	c.disconnect()
	unix.Sync()
	return in
}

// A dpkg makes the calls of Linux for what dpkg does (dpkg 1.22, src/main/archives.c), one after
// the other, as one process does.
type dpkg struct {
	*caller
	calls int
	err   error
}

func (k *dpkg) do(proc uint32, all ...any) decoder {
	if k.err != nil {
		return decoder{}
	}
	k.calls++
	d, err := k.call(proc, all...)
	if err != nil && !errors.Is(err, statusNoEnt) {
		k.err = fmt.Errorf("procedure %d: %w", proc, err)
	}
	return d
}

// make makes a file or directory, and returns its handle.
func (k *dpkg) make(proc uint32, all ...any) []byte {
	d := k.do(proc, all...)
	d.Bool()
	return append([]byte(nil), d.handle()...)
}

func (c *contender) unpack(k *caller, name string, files int) (calls int, err error) {
	p := &dpkg{caller: k}
	root := p.make(9, c.root, name, sattr{mode: ptr(uint32(0o755))})
	var dir []byte
	var renames [][2]any
	for i := range files {
		if i%20 == 0 { // a directory, in which the files before it get their names
			p.finish(dir, renames)
			renames = nil
			dir = p.make(9, root, numbered(i), sattr{mode: ptr(uint32(0o755))})
			p.do(2, dir, sattr{uid: ptr(uint32(0)), gid: ptr(uint32(0))}, false)
			p.do(2, dir, sattr{mtime: &unix.Timespec{Sec: 1}, atime: &unix.Timespec{Sec: 1}}, false)
		}
		p.file(dir, numbered(i), i%25 == 0)
		renames = append(renames, [2]any{numbered(i) + ".dpkg-new", numbered(i)})
	}
	p.finish(dir, renames)
	return p.calls, p.err
}

// file unpacks a file or, if link is set, a symbolic link.
func (k *dpkg) file(dir []byte, name string, link bool) {
	k.do(3, dir, name) // LOOKUP
	k.do(3, dir, name+".dpkg-tmp")
	k.do(3, dir, name+".dpkg-new")
	if link {
		k.make(10, dir, name+".dpkg-new", sattr{}, "target")
		return
	}
	wire := k.make(8, dir, name+".dpkg-new", exclusive, raw("verifier"))
	k.do(2, wire, sattr{mode: ptr(uint32(0)), mtime: now(), atime: now()}, false) // ends an exclusive CREATE
	k.do(2, wire, sattr{uid: ptr(uint32(0)), gid: ptr(uint32(0))}, false)
	k.do(2, wire, sattr{mode: ptr(uint32(0o644))}, false)
	k.do(7, wire, uint64(0), aptSize, fileSync, make([]byte, aptSize)) // on close, as one WRITE suffices
	k.do(2, wire, sattr{mtime: &unix.Timespec{Sec: 1}, atime: now()}, false)
}

// finish gives files their names.
func (k *dpkg) finish(dir []byte, renames [][2]any) {
	for _, r := range renames {
		k.do(14, dir, r[0], dir, r[1])
	}
}

func now() *unix.Timespec { return &unix.Timespec{Nsec: unix.UTIME_NOW} }
