//go:build netns

package rootfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The import of a packed image needs little more space than the template takes,
// and stops where there is less. (btrfs takes back only whole pieces, as they were
// written; it needs twice the space.)
func TestImportNeedsTheResultsSpace(t *testing.T) {
	source := piTree(t)
	manySizes(t, filepath.Join(source, "srv"))
	image := imageSpec{label: "dos", rootMB: 130}.make(t, source)
	command(t, "zstd", "-q", "-1", image)
	whole, _ := importSmall(t, &Templates{Dir: t.TempDir()}, image+".zst")
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			disk := mountDisk(t, kind)
			const floor = 20 << 20 // more than is written between two looks
			leaveFree(t, disk, whole.SizeBytes*115/100+floor)
			templates := &Templates{Dir: filepath.Join(disk, "templates"), MinFree: floor}
			made, _ := importSmall(t, templates, image+".zst")
			if found, err := templates.Diff(whole, made); err != nil || len(found) > 0 {
				t.Errorf("on a full disk it became %v, %v; want the same", found, err)
			}
			if err := templates.Remove(made); err != nil {
				t.Fatal(err)
			}
			templates.MinFree = floor + whole.SizeBytes/2
			if _, _, err := templates.Import(t.Context(), "small", image+".zst", ImportOptions{}, nil); err == nil {
				t.Error("an import that leaves too little free = nil; want an error")
			}
			checkNothingLeft(t, templates)
		})
	}
}

// manySizes makes files of 85 MB that cannot be compressed: as in a root, most
// are small and a few have most of the bytes.
func manySizes(t *testing.T, dir string) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{2})
	for size, count := range map[int]int{8 << 10: 1500, 300 << 10: 100, 4 << 20: 5, 20 << 20: 1} {
		data := make([]byte, size)
		for i := range count {
			random.Read(data)
			name := filepath.Join(dir, fmt.Sprint(size), fmt.Sprint(i%16), fmt.Sprint(i))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// leaveFree fills a disk until so much is free. XFS frees the blocks of removed files later; it has
// freed all of them when it is frozen.
func leaveFree(t *testing.T, disk string, bytes int64) {
	t.Helper()
	command(t, "fsfreeze", "-f", disk)
	command(t, "fsfreeze", "-u", disk)
	var stat unix.Statfs_t
	if err := unix.Statfs(disk, &stat); err != nil {
		t.Fatal(err)
	}
	free := int64(stat.Bavail) * stat.Bsize
	if free <= bytes {
		t.Fatalf("the disk has %d bytes free; want more than %d", free, bytes)
	}
	command(t, "fallocate", "-l", fmt.Sprint(free-bytes), filepath.Join(disk, "fill"))
}
