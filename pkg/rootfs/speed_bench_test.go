//go:build bench && netns

package rootfs

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
)

const (
	benchRounds  = 3
	importRounds = 2 // each takes a minute
	benchFiles   = 30000
	benchBytes   = 1 << 30
)

// debianTree makes a tree that is to a file system what a Debian root is: 30,000
// files of 1 GB, most of them small, in 3,000 directories, some with two names.
// It is the same each time.
func debianTree(t *testing.T) string {
	t.Helper()
	dir := piTree(t)
	random := rand.NewChaCha8([32]byte{1})
	sizes := rand.New(random)
	data := make([]byte, 64<<20)
	random.Read(data)
	for block := 0; block < len(data); block += 32 << 10 { // programs and texts repeat themselves
		copy(data[block+8<<10:block+32<<10], bytes.Repeat(data[block:block+8<<10], 3))
	}
	for i, left := 0, benchBytes; i < benchFiles; i++ {
		// Log-normal: half are below 4 kB, a few are tens of megabytes.
		size := min(int(math.Exp(8.3+2.05*sizes.NormFloat64())), len(data), max(left, 0))
		if i == benchFiles-1 {
			size = min(max(left, 0), len(data))
		}
		left -= size
		name := filepath.Join(dir, fmt.Sprintf("usr/share/%02d/%02d/file-%05d", i%60, i/60%50, i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		from := sizes.IntN(len(data) - size + 1)
		if err := os.WriteFile(name, data[from:from+size], 0o644); err != nil {
			t.Fatal(err)
		}
		if i%50 == 0 {
			if err := os.Link(name, name+"-again"); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// benchDisk mounts a new file system with room for a few clones.
func benchDisk(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	roottest.Spec{"mount/": "dir", "image": ""}.Make(t, dir)
	if err := os.Truncate(image, 6<<30); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs."+kind, "-q", image)
	command(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { command(t, "umount", mount) })
	return mount
}

// TestCloneSpeed prints how long clones take beside cp, both until all is on
// disk, in turn on the same file system.
func TestCloneSpeed(t *testing.T) {
	source, small := debianTree(t), t.TempDir()
	rootlyTree(t, small)
	fmt.Printf("%-6s %-9s %10s %10s  %-31s %7s  %s\n", "on", "way", "1 GB", "3 MB", "beside", "ratio", "wanted")
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) { cloneSpeedOn(t, kind, source, small) })
	}
}

func cloneSpeedOn(t *testing.T, kind, source, small string) {
	state := benchDisk(t, kind)
	b := installation{templates: &Templates{Dir: filepath.Join(state, "templates"), MinFree: 1}}
	b.roots = testRoots(t, filepath.Join(state, "roots"))
	b.roots.Templates, b.roots.MinFree = b.templates, 1
	b.src, _ = importSmall(t, b.templates, source)
	little, _ := importSmall(t, b.templates, small)
	t.Cleanup(func() { b.restartMachine(t) })
	for _, by := range Auto.candidates() {
		peer, wanted := []string{"cp", "-a", "--reflink=never"}, "1.30x faster"
		switch by {
		case Snapshot, Overlay:
			wanted = "< 0.3 s, any size"
		case Reflink:
			peer, wanted = []string{"cp", "-a", "--reflink=always"}, "2.00x faster"
		}
		var ours, littles, theirs, calls []time.Duration
		for round := range benchRounds {
			took, err := b.timeClone(t, b.src, by)
			if err != nil {
				break // the file system cannot
			}
			tookLittle, err := b.timeClone(t, little, by)
			if err != nil {
				t.Fatal(err)
			}
			ours, littles = append(ours, took), append(littles, tookLittle)
			to := filepath.Join(state, fmt.Sprint("peer", round))
			if by == Copy || by == Reflink {
				theirs = append(theirs, timeCopy(t, to, func() { command(t, peer[0], append(peer[1:len(peer):len(peer)], b.src.tree, to)...) }))
			}
			if by == Reflink {
				calls = append(calls, timeCopy(t, to, func() { reflinkCalls(t, b.src.tree, to) }))
			}
		}
		if len(ours) == 0 {
			continue
		}
		row := fmt.Sprintf("%-6s %-9s %8.2f s %8.2f s", kind, by, median(ours), median(littles))
		beside, ratio := "", ""
		if len(theirs) > 0 {
			beside, ratio = fmt.Sprintf("%s %.2f s", strings.Join(peer, " "), median(theirs)), fmt.Sprintf("%.2fx", median(theirs)/median(ours))
		}
		fmt.Printf("%s  %-31s %7s  %s\n", row, beside, ratio, wanted)
		if len(calls) > 0 {
			fmt.Printf("%-6s %-9s %8.2f s %21s %24.2fx  nobody could be faster\n", kind, "its calls", median(calls), "", median(theirs)/median(calls))
		}
	}
}

// reflinkCalls makes the files of a tree again, of shared blocks, with the calls
// that nobody can do without, on all cores at once.
func reflinkCalls(t *testing.T, from, to string) {
	var dirs []string
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
			err = os.MkdirAll(to+strings.TrimPrefix(path, from), 0o755)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var cores errgroup.Group
	cores.SetLimit(runtime.GOMAXPROCS(0))
	for _, dir := range dirs {
		cores.Go(func() error { return reflinkDir(dir, to+strings.TrimPrefix(dir, from)) })
	}
	if err := cores.Wait(); err != nil {
		t.Fatal(err)
	}
}

func reflinkDir(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		if err := reflinkFile(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func reflinkFile(from, to string) error {
	source, err := unix.Open(from, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	target, err := unix.Open(to, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	if err := unix.IoctlFileClone(target, source); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: 1}}, 0)
}

// timeClone clones a template once, and removes the clone. What came before is
// on disk already.
func (i installation) timeClone(t *testing.T, src Template, by CloneMethod) (time.Duration, error) {
	t.Helper()
	const serial = pi.Serial(7)
	command(t, "sync", "-f", i.templates.Dir)
	began := time.Now()
	_, err := i.roots.Clone(t.Context(), src, by, serial, identityOf(serial, "pi"), nil)
	took := time.Since(began)
	if err := i.roots.Remove(serial); err != nil {
		t.Fatal(err)
	}
	return took, err
}

// timeCopy has make make a tree called to, on disk, and removes it.
func timeCopy(t *testing.T, to string, make func()) time.Duration {
	t.Helper()
	command(t, "sync", "-f", filepath.Dir(to))
	began := time.Now()
	make()
	command(t, "sync", "-f", to)
	took := time.Since(began)
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	return took
}

func median(all []time.Duration) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2].Seconds()
}

// importImage is what this program does instead of its tests where it is set:
// import the image of that name.
const importImage = "ROOTFS_BENCH_IMAGE"

// TestImportSpeed prints how long the import of a large .img.xz takes beside xz
// alone, the fastest of a few times each, and how much memory the importing process has.
func TestImportSpeed(t *testing.T) {
	if image := os.Getenv(importImage); image != "" {
		importSmall(t, &Templates{Dir: filepath.Join(filepath.Dir(image), "templates"), MinFree: 1}, image)
		fmt.Println(memoryLine, memoryUsed(t, syscall.RUSAGE_SELF), memoryUsed(t, syscall.RUSAGE_CHILDREN))
		return
	}
	image := imageSpec{label: "dos", rootMB: 2500}.make(t, debianTree(t))
	// One block, as Raspberry Pi OS is packed. xz then works as hard to unpack it
	// as any, on one core; packing it by the usual presets would take minutes.
	command(t, "xz", "-T1", "--lzma2=preset=0,dict=32KiB,mf=hc3,nice=4,depth=1", image)
	var ours, theirs []time.Duration
	var memory, xzMemory int64 // at most
	for range importRounds {
		began := time.Now()
		command(t, "sh", "-c", "xz -T0 -dc \"$1\" >/dev/null", "sh", image+".xz")
		theirs = append(theirs, time.Since(began))

		importing := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestImportSpeed$")
		importing.Env = append(os.Environ(), importImage+"="+image+".xz")
		began = time.Now()
		out, err := importing.CombinedOutput()
		if err != nil {
			t.Fatalf("import: %v: %s", err, out)
		}
		ours = append(ours, time.Since(began))
		var own, xz int64
		if _, err := fmt.Sscanf(string(out), memoryLine+" %d %d", &own, &xz); err != nil {
			t.Fatalf("the import says %q, %v; want its memory", out, err)
		}
		memory, xzMemory = max(memory, own), max(xzMemory, xz)
		command(t, "rm", "-rf", filepath.Join(filepath.Dir(image), "templates"))
	}
	fmt.Printf("%-24s %9s %9s %6s  %10s %10s\n", "import of", "time", "xz -dc", "ratio", "memory", "its xz's")
	fmt.Printf("%-24s %7.1f s %7.1f s %5.2fx  %7d MB %7d MB  wanted: 256 MB\n", "a 2.5 GB .img.xz",
		fastest(ours), fastest(theirs), fastest(ours)/fastest(theirs), memory>>20, xzMemory>>20)
}

func fastest(all []time.Duration) float64 { return slices.Min(all).Seconds() }

// memoryLine is what an importing process says before how much memory it and its
// xz have had at most.
const memoryLine = "memory"

func memoryUsed(t *testing.T, who int) int64 {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(who, &used); err != nil {
		t.Fatal(err)
	}
	return used.Maxrss << 10
}
