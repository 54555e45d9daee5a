//go:build netns

package rootfs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
)

const (
	testBootMB   = 4
	testRootMB   = 24
	firstLogical = 5 // the number of the first logical partition
)

// An imageSpec is a disk image in the layout of Raspberry Pi OS.
type imageSpec struct {
	label     string // of sfdisk: dos or gpt
	rootFirst bool
	logical   bool // the partitions are inside an extended one
	rootMB    int  // size of the root's partition, at least testRootMB
}

// Make writes the image with the tree root, whose boot/firmware becomes the
// FAT partition.
func (spec imageSpec) make(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	rootMB := max(spec.rootMB, testRootMB)
	imageMB := testBootMB + rootMB + 4
	image, fat, ext := filepath.Join(dir, "pi.img"), filepath.Join(dir, "fat"), filepath.Join(dir, "ext")
	sizes := []int{testBootMB, rootMB}
	parts := []string{fat, ext}
	if spec.rootFirst {
		sizes, parts = []int{rootMB, testBootMB}, []string{ext, fat}
	}
	starts := []int{1, 2 + sizes[0]}
	table := fmt.Sprintf("label: %s\n", spec.label)
	if spec.logical {
		table += fmt.Sprintf("1: start=1024, size=%dMiB, type=5\n", imageMB-1)
	}
	for i, size := range sizes {
		number := ""
		if spec.logical {
			number = fmt.Sprintf("%d: ", firstLogical+i)
		}
		table += fmt.Sprintf("%sstart=%dMiB, size=%dMiB\n", number, starts[i], size)
	}
	makeSized(t, image, int64(imageMB))
	makeSized(t, fat, testBootMB)
	makeSized(t, ext, int64(rootMB))
	sfdisk := exec.Command("sfdisk", "-q", image)
	sfdisk.Stdin = strings.NewReader(table)
	if out, err := sfdisk.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	boot := filepath.Join(root, "boot/firmware")
	command(t, "mkfs.vfat", "-n", "bootfs", fat)
	command(t, "sh", "-c", `cd "$1" && mcopy -i "$2" -s -m -Q * ::`, "sh", boot, fat)
	away := filepath.Join(dir, "boot")
	command(t, "mv", boot, away)
	roottest.Spec{"boot/firmware/": "dir"}.Make(t, root)
	command(t, "mkfs.ext4", "-q", "-d", root, ext)
	command(t, "rmdir", boot)
	command(t, "mv", away, boot)
	for i, part := range parts {
		command(t, "dd", "if="+part, "of="+image, "bs=1M", fmt.Sprintf("seek=%d", starts[i]), "conv=notrunc,sparse", "status=none")
	}
	return image
}

func makeSized(t *testing.T, path string, megabytes int64) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, megabytes<<20); err != nil {
		t.Fatal(err)
	}
}

// piTree is a root with boot files.
func piTree(t *testing.T) string {
	t.Helper()
	source := t.TempDir()
	rootlyTree(t, source)
	roottest.Spec{
		"boot/firmware/kernel8.img":                      strings.Repeat("kernel", 200000),
		"boot/firmware/START4.ELF":                       "start",
		"boot/firmware/FIXUP4.DAT":                       "fixup",
		"boot/firmware/overlays/a rather long name.dtbo": "overlay",
		"boot/firmware/empty":                            "",
	}.Make(t, source)
	return source
}

func TestImportImage(t *testing.T) {
	source := piTree(t)
	before := roottest.Snapshot(t, source)
	for name, spec := range map[string]imageSpec{
		"MBR":                 {label: "dos"},
		"GPT":                 {label: "gpt"},
		"MBR, root first":     {label: "dos", rootFirst: true},
		"GPT, root first":     {label: "gpt", rootFirst: true},
		"extended partitions": {label: "dos", logical: true},
	} {
		t.Run(name, func(t *testing.T) {
			checkImport(t, spec.make(t, source), before)
		})
	}
}

// checkImport imports an image and compares the template with the tree that the
// image was made from.
func checkImport(t *testing.T, image string, before map[string]roottest.Entry) {
	t.Helper()
	templates := &Templates{Dir: t.TempDir()}
	made, changes := importSmall(t, templates, image)
	names := changed(changes)
	got := roottest.Snapshot(t, made.tree)
	bootOf := func(tree map[string]roottest.Entry) map[string]string {
		files := make(map[string]string)
		for name, state := range tree {
			if inside, ok := strings.CutPrefix(name, "boot/firmware"); ok {
				if !names[name] {
					files[strings.ToLower(inside)] = state.Content
				}
				delete(tree, name)
			}
		}
		return files
	}
	want := wholeSeconds(before)
	if diff := cmp.Diff(bootOf(want), bootOf(got)); diff != "" {
		t.Errorf("boot files (-source +template):\n%s", diff)
	}
	if diff := cmp.Diff(without(want, names), without(got, names)); diff != "" {
		t.Errorf("root (-source +template):\n%s", diff)
	}
	checkNoLoop(t, image, templates.Dir)
}

// wholeSeconds returns a copy of tree with times as mkfs.ext4 -d keeps them.
func wholeSeconds(tree map[string]roottest.Entry) map[string]roottest.Entry {
	whole := make(map[string]roottest.Entry)
	for name, state := range tree {
		state.Modified.Nsec = 0
		whole[name] = state
	}
	return whole
}

// checkNoLoop looks for loop devices that still have a file of this test.
func checkNoLoop(t *testing.T, dirs ...string) {
	t.Helper()
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range backing {
		text, err := os.ReadFile(file)
		for _, dir := range dirs {
			if err == nil && bytes.HasPrefix(text, []byte(dir)) {
				t.Errorf("%s still has %s", file, text)
			}
		}
	}
}

func TestImportPackedImage(t *testing.T) {
	source := piTree(t)
	before := roottest.Snapshot(t, source)
	image := imageSpec{label: "dos"}.make(t, source)
	for format, script := range map[string]string{
		"gz":  `gzip -1 -c "$1" >"$2"`,
		"xz":  `xz -1 -T2 --block-size=4MiB -c "$1" >"$2"`,
		"zst": `zstd -q -1 -c "$1" >"$2"`,
		"zip": `zip -q -j "$2.zip" "$1" && mv "$2.zip" "$2"`,
	} {
		t.Run(format, func(t *testing.T) {
			packed := filepath.Join(t.TempDir(), "packed")
			command(t, "sh", "-c", script, "sh", image, packed)
			checkImport(t, packed, before)
		})
	}
	t.Run("xz without the program", func(t *testing.T) {
		packed := filepath.Join(t.TempDir(), "packed")
		command(t, "xz", "-1", "-k", image)
		command(t, "mv", image+".xz", packed)
		t.Setenv("PATH", "/nowhere")
		checkImport(t, packed, before)
	})
}
