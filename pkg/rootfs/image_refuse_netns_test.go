//go:build netns

package rootfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"pibootd/pkg/rootfs/roottest"
)

// damaged returns a copy of an image with a change.
func damaged(t *testing.T, image string, change func([]byte) []byte) string {
	t.Helper()
	content, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	return writeTemp(t, change(content))
}

// Offsets in the ext4 superblock, the MBR's second entry and the fields of an entry.
const (
	blocksAt      = 1024 + 0x04
	secondEntryAt = 446 + 16
	startAt       = 8
	sectorsAt     = 12
)

func TestImportImageRefuses(t *testing.T) {
	image := imageSpec{label: "dos"}.make(t, piTree(t))
	rootAt := (2 + testBootMB) << 20
	packed := filepath.Join(t.TempDir(), "packed.xz")
	command(t, "sh", "-c", `xz -0 -c "$1" >"$2"`, "sh", image, packed)
	noRoot := t.TempDir()
	roottest.Spec{"boot/firmware/config.txt": "x", "data": "x"}.Make(t, noRoot)
	for name, test := range map[string]struct{ source, want string }{
		"cut image": {damaged(t, image, func(b []byte) []byte { return b[:len(b)/2] }), "cut short"},
		"cut xz":    {damaged(t, packed, func(b []byte) []byte { return b[:len(b)/2] }), "damaged or cut short"},
		"flipped xz": {damaged(t, packed, func(b []byte) []byte {
			b[len(b)/2] ^= 0x55
			return b
		}), "damaged or cut short"},
		"ext4 larger than its partition": {damaged(t, image, func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[rootAt+blocksAt:], 1<<30)
			return b
		}), "partition 2: its ext4 says"},
		"ext4 without its inodes": {damaged(t, image, func(b []byte) []byte {
			clear(b[rootAt+4096 : rootAt+(1<<20)])
			return b
		}), "partition 2: "},
		"partition past the end": {damaged(t, image, func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[secondEntryAt+sectorsAt:], 1<<31)
			return b
		}), "partition 2 ends at byte"},
		"partitions in each other": {damaged(t, image, func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[secondEntryAt+startAt:], 4096)
			return b
		}), "inside another one"},
		"boot files alone": {damaged(t, image, func(b []byte) []byte {
			clear(b[secondEntryAt : secondEntryAt+16])
			return b
		}), "it has boot files only, and no root file system"},
		"no root": {imageSpec{label: "gpt"}.make(t, noRoot), "no partition holds a root file system"},
	} {
		t.Run(name, func(t *testing.T) {
			templates := &Templates{Dir: filepath.Join(t.TempDir(), "templates")}
			_, _, err := templates.Import(t.Context(), "bad", test.source, ImportOptions{}, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Import = %v; want %q", err, test.want)
			}
			checkNothingLeft(t, templates)
			checkNoLoop(t, test.source, templates.Dir)
		})
	}
}

// What unpacks to far more than the disk holds stops at the floor.
func TestImportBomb(t *testing.T) {
	var bomb bytes.Buffer
	w, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2048)
	copy(head[510:], "\x55\xaa")
	block := bytes.Repeat([]byte("bomb"), 1<<18)
	readers := []io.Reader{bytes.NewReader(head)}
	for range 300 {
		readers = append(readers, bytes.NewReader(block))
	}
	if _, err := io.Copy(w, io.MultiReader(readers...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	state := mountXFS(t)
	const floor = 100 << 20
	templates := &Templates{Dir: filepath.Join(state, "templates"), MinFree: floor}
	_, _, err = templates.Import(t.Context(), "bomb", writeTemp(t, bomb.Bytes()), ImportOptions{}, nil)
	if err == nil || !strings.Contains(err.Error(), "MB free") {
		t.Errorf("Import = %v; want it stopped by the floor", err)
	}
	checkNothingLeft(t, templates)
}

// importer is what a second process of this test runs: an import that is
// killed.
const importer = "PIBOOTD_TEST_IMPORT"

func TestKilledImporter(t *testing.T) {
	args := strings.Split(os.Getenv(importer), "\n")
	if len(args) != 2 {
		return // only a part of TestImportKilled
	}
	_, _, err := (&Templates{Dir: args[0]}).Import(t.Context(), "small", args[1], ImportOptions{}, func(step string, _, _ int64) {
		os.Stdout.WriteString("at " + step + "\n") // tells the parent where to kill
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A kill at any step leaves neither template, mount nor loop device, and the
// next sweep takes what is left of the stage.
func TestImportKilled(t *testing.T) {
	tree := piTree(t)
	image := imageSpec{label: "dos"}.make(t, tree)
	packed, archive := filepath.Join(t.TempDir(), "packed.xz"), filepath.Join(t.TempDir(), "root.tar")
	command(t, "sh", "-c", `xz -0 -c "$1" >"$2"`, "sh", image, packed)
	command(t, "tar", "-C", tree, "--xattrs", "-cf", archive, ".")
	for name, at := range map[string]struct{ source, step string }{
		"packed image at unpack": {packed, "at unpack"},
		"packed image at copy":   {packed, "at copy"},
		"packed image at boot":   {packed, "at copy the boot files"},
		"packed image at hash":   {packed, "at hash"},
		"image at copy":          {image, "at copy"},
		"image at hash":          {image, "at hash"},
		"archive at unpack":      {archive, "at unpack"},
		"archive at hash":        {archive, "at hash"},
		"directory at copy":      {tree, "at copy"},
		"directory at disk":      {tree, "at write to disk"},
	} {
		t.Run(name, func(t *testing.T) {
			templates := &Templates{Dir: filepath.Join(t.TempDir(), "templates")}
			killAt(t, at.step, templates.Dir+"\n"+at.source)
			checkNoLoop(t, at.source, templates.Dir)
			if err := templates.Sweep(); err != nil {
				t.Fatal(err)
			}
			checkNothingLeft(t, templates)
		})
	}
}

// killAt runs TestKilledImporter until it says step, and kills it.
func killAt(t *testing.T, step, args string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestKilledImporter$")
	cmd.Env = append(os.Environ(), importer+"="+args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(said.String(), step+"\n") {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("import never came to %q: %v: %s", step, err, said.String())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the import ended before it was killed")
	}
}
