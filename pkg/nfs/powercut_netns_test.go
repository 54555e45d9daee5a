//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPowerCut: what was answered is there after a power cut. The export is on
// a disk image; after each reply the image is copied as it is, without what
// the kernel still has in memory, and in the end the copies are mounted.
func TestPowerCut(t *testing.T) {
	for _, tt := range []struct {
		name, size, options string // the options make it long until the kernel syncs by itself
		copied              string // mount options of a copy: xfs remembers the original for a while
		mkfs                []string
	}{
		{"ext4", "12M", "commit=900", "", []string{"mkfs.ext4", "-q", "-F", "-J", "size=4"}},
		{"ext4 without a journal", "12M", "", "", []string{"mkfs.ext4", "-q", "-F", "-O", "^has_journal"}},
		{"xfs", "320M", "", "nouuid", []string{"mkfs.xfs", "-q"}},
		{"btrfs", "160M", "commit=900", "", []string{"mkfs.btrfs", "-q"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image := newImage(t, tt.size, tt.mkfs...)
			cut := &powerCuts{T: t, image: image, options: tt.options, copied: tt.copied}
			cut.during(func(b *bench) { changeEverything(b, cut.check) })
			cut.verify()
		})
	}
}

// TestPowerCutOfSharedCommits: what was answered is there after a power cut, with many calls in
// flight that share commits of the journal.
func TestPowerCutOfSharedCommits(t *testing.T) {
	for _, tt := range []struct {
		name, size, options, copied string
		mkfs                        []string
	}{
		{"ext4", "24M", "commit=900", "", []string{"mkfs.ext4", "-q", "-F", "-J", "size=4"}},
		{"xfs", "320M", "", "nouuid", []string{"mkfs.xfs", "-q"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			image := newImage(t, tt.size, tt.mkfs...)
			cut := &powerCuts{T: t, image: image, options: tt.options, copied: tt.copied}
			cut.during(func(b *bench) {
				var clients []*rawClient
				for range 8 {
					clients = append(clients, dial(b.T, b.s.addr))
				}
				for round := range 4 {
					cut.check(fmt.Sprint("round ", round), b.changeTogether(clients, round)...)
				}
			})
			cut.verify()
		})
	}
}

// changeTogether makes changes with several clients at a time, and returns what must be found
// after a power cut.
func (b *bench) changeTogether(clients []*rawClient, round int) (checks []func(dir string) error) {
	const files = 6
	var all sync.WaitGroup
	for i, c := range clients {
		all.Go(func() {
			for n := range files {
				name := fmt.Sprintf("%d-%d-%d", round, i, n)
				f := c.create(b.root, name, 0o600)
				b.want("SETATTR", b.call(c, 2, f, sattr{mode: ptr(uint32(0o640))}, false), statusOK)
				b.want("LINK", b.call(c, 15, f, b.root, name+".link"), statusOK)
				b.want("RENAME", b.call(c, 14, b.root, name, b.root, name+".new"), statusOK)
				b.want("REMOVE", b.call(c, 12, b.root, name+".link"), statusOK)
			}
		})
		for n := range files {
			checks = append(checks, func(dir string) error {
				name := fmt.Sprintf("%d-%d-%d", round, i, n)
				st, err := os.Lstat(filepath.Join(dir, name+".new"))
				if err != nil {
					return err
				}
				if st.Mode().Perm() != 0o640 {
					return fmt.Errorf("the mode of %s is %v; want 0640", name, st.Mode())
				}
				return errors.Join(removed(name)(dir), removed(name+".link")(dir))
			})
		}
	}
	all.Wait()
	return checks
}

// powerCuts are copies of a disk image, and what must be found in each.
type powerCuts struct {
	*testing.T
	image, options, copied string
	copies                 []powerCut
}

type powerCut struct {
	image, after string
	checks       []func(dir string) error
}

// during runs f on the image and unmounts it: a btrfs and its copy cannot be
// mounted at the same time.
func (p *powerCuts) during(f func(b *bench)) {
	p.Run("changes", func(t *testing.T) {
		f(newBench(t, loopMount(t, p.image, p.options)))
	})
}

func (p *powerCuts) check(what string, checks ...func(dir string) error) {
	p.Helper()
	image := filepath.Join(p.TempDir(), "cut")
	run(p.T, "cp", "--sparse=always", p.image, image)
	p.copies = append(p.copies, powerCut{image: image, after: what, checks: checks})
}

func (p *powerCuts) verify() {
	for _, c := range p.copies {
		p.Run(c.after, func(t *testing.T) {
			dir := loopMount(t, c.image, p.copied)
			for _, check := range c.checks {
				if err := check(dir); err != nil {
					t.Errorf("lost by a power cut: %v", err)
				}
			}
		})
	}
}

// changeEverything makes every kind of change and calls then after each.
func changeEverything(b *bench, then func(what string, checks ...func(dir string) error)) {
	var f []byte
	check := func(what string, s status, checks ...func(dir string) error) {
		b.Helper()
		b.want(what, s, statusOK)
		then(what, checks...)
	}
	check("CREATE", b.call(b.c, 8, b.root, "f", guarded, sattr{mode: ptr(uint32(0o640))}), exists("f"))
	f, _ = b.c.lookup(b.root, "f")
	f = bytes.Clone(f)
	check("WRITE", b.c.write(f, 0, fileSync, []byte("kept")), holds("f", "kept"))
	check("data-stable WRITE", b.c.write(f, 4, dataSync, []byte("!")), holds("f", "kept!"))
	b.want("UNSTABLE WRITE", b.c.write(f, 5, unstable, []byte("!")), statusOK)
	check("COMMIT", b.call(b.c, 21, f, uint64(0), 0), holds("f", "kept!!"))
	check("SETATTR", b.call(b.c, 2, f, sattr{mode: ptr(uint32(0o600))}, false), func(dir string) error {
		st, err := os.Lstat(filepath.Join(dir, "f"))
		if err == nil && st.Mode().Perm() != 0o600 {
			err = fmt.Errorf("the mode is %v; want 0600", st.Mode())
		}
		return err
	})
	check("MKDIR", b.call(b.c, 9, b.root, "d", sattr{}), exists("d"))
	check("SYMLINK", b.call(b.c, 10, b.root, "l", sattr{}, "target"), exists("l"))
	check("MKNOD", b.call(b.c, 11, b.root, "p", typeFIFO, sattr{}), exists("p"))
	for i, name := range []string{"l", "p", "l"} {
		special, _ := b.c.lookup(b.root, name)
		uid := uint32(7 + i)
		check("SETATTR of "+name, b.call(b.c, 2, special, sattr{uid: &uid}, false), func(dir string) error {
			var st unix.Stat_t
			err := unix.Lstat(filepath.Join(dir, name), &st)
			if err == nil && st.Uid != uid {
				err = fmt.Errorf("the owner is %d; want %d", st.Uid, uid)
			}
			return err
		})
	}
	check("LINK", b.call(b.c, 15, f, b.root, "g"), exists("g"))
	check("RENAME", b.call(b.c, 14, b.root, "g", b.root, "h"), exists("h"), removed("g"))
	check("REMOVE", b.call(b.c, 12, b.root, "h"), removed("h"), exists("f"))
	check("RMDIR", b.call(b.c, 13, b.root, "d"), removed("d"))
}

func exists(name string) func(string) error {
	return func(dir string) error { _, err := os.Lstat(filepath.Join(dir, name)); return err }
}

func removed(name string) func(string) error {
	return func(dir string) error {
		if err := exists(name)(dir); !errors.Is(err, os.ErrNotExist) {
			return errors.New(name + " is still there")
		}
		return nil
	}
}

func holds(name, content string) func(string) error {
	return func(dir string) error {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && string(got) != content {
			err = errors.New("it holds " + string(got))
		}
		return err
	}
}

// TestRelaxedExport: what is answered before it is on the disk is there soon, at once for contents
// that are synced, and always when the export ends.
func TestRelaxedExport(t *testing.T) {
	image := newImage(t, "12M", "mkfs.ext4", "-q", "-F", "-J", "size=4")
	cut := &powerCuts{T: t, image: image, options: "commit=900"}
	cut.during(func(b *bench) {
		tr := b.s.exports.at("/roots/1")
		relaxed := tr.export
		relaxed.Relaxed = true
		b.locally(b.s.Export(relaxed))
		tr = b.s.exports.at("/roots/1")

		f := b.c.create(b.root, "f", 0o600)
		b.want("WRITE", b.c.write(f, 0, fileSync, []byte("synced")), statusOK)
		cut.check("WRITE", holds("f", "synced"))

		b.want("SETATTR", b.call(b.c, 2, f, sattr{size: ptr(uint64(4))}, false), statusOK)
		b.want("RENAME", b.call(b.c, 14, b.root, "f", b.root, "g"), statusOK)
		tr.late.mu.Lock()
		pending := tr.late.pending
		tr.late.mu.Unlock()
		if pending == nil {
			b.Error("RENAME has waited for the disk")
		}
		awaitLate(b, tr)
		cut.check("RENAME", holds("g", "sync"), removed("f"))

		b.want("LINK", b.call(b.c, 15, f, b.root, "h"), statusOK)
		b.locally(b.s.Unexport("/roots/1"))
		cut.check("end of the export", exists("h"))
	})
	cut.verify()
}

// awaitLate waits until nothing is promised in tr: its calls hold back its end for so long.
func awaitLate(b *bench, tr *tree) {
	b.Helper()
	done := make(chan struct{})
	go func() { tr.calls.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		b.Fatal("what was promised is not on the disk after a minute")
	}
}
