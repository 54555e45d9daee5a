//go:build netns

package rootfs

import (
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/debian"
)

// TestBuildMinimal really builds the template from Debian's servers.
// PIBOOTD_APT_CACHE names a directory that keeps the packages between runs.
func TestBuildMinimal(t *testing.T) {
	cache := os.Getenv("PIBOOTD_APT_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	templates := &Templates{Dir: t.TempDir()}
	release := os.Getenv("PIBOOTD_TEST_RELEASE") // "" is the default release
	templates.MinFree = 1 << 60
	o := debian.BuildOptions{CacheDir: cache, Release: release}
	if _, err := templates.BuildMinimal(t.Context(), "minimal", o, nil); err == nil || !strings.Contains(err.Error(), "MB left after it") {
		t.Errorf("BuildMinimal where there is no room = %v; want that said", err)
	}
	templates.MinFree = 0
	steps := map[string]bool{}
	made, err := templates.BuildMinimal(t.Context(), "minimal", o,
		func(step string, done, total int64) { steps[step] = true })
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", made)
	if made.String() != "minimal@1" || made.Arch != pi.ARM64 || made.BootDir != "boot/firmware" || len(made.Kernels) != 1 {
		t.Errorf("template = %+v; want minimal@1, arm64, boot/firmware and one kernel", made)
	}
	if !slices.Equal(made.Boards, []pi.Model{pi.Pi3, pi.Pi4}) {
		t.Errorf("complete for %q; want the Pi 3 and 4", made.Boards)
	}
	if !strings.HasPrefix(made.OS, "minimal Debian ") {
		t.Errorf("OS = %q; want minimal Debian", made.OS)
	}
	const most = 400 << 20
	if made.SizeBytes > most {
		t.Errorf("size = %d; want at most %d", made.SizeBytes, most)
	}
	for _, step := range []string{"package lists", "unpack", "kernel modules", "boot files", "write to disk"} {
		if !steps[step] {
			t.Errorf("progress never said %q", step)
		}
	}
	found, err := templates.Find("minimal")
	if err != nil || found.Created != made.Created || templates.Root(found) != made.tree {
		t.Errorf("Find(minimal) = %+v, %v; want %+v", found, err, made)
	}
	checkBoot(t, filepath.Join(made.tree, made.BootDir), made.Kernels[0])
	checkUserland(t, made.tree)
}

func checkBoot(t *testing.T, boot, kernel string) {
	t.Helper()
	for _, name := range []string{
		"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "config.txt", "cmdline.txt",
		"bcm2837-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", "kernel8.img",
	} {
		if info, err := os.Stat(filepath.Join(boot, name)); err != nil || info.Size() == 0 {
			t.Errorf("boot file %s: %v", name, err)
		}
	}
	image, err := os.ReadFile(filepath.Join(boot, "kernel8.img"))
	const magicAt = 56 // Documentation/arch/arm64/booting.rst
	if err != nil || len(image) < magicAt+4 || string(image[magicAt:magicAt+4]) != "ARM\x64" {
		t.Errorf("kernel8.img is not an arm64 Image (%v)", err)
	}
	names := initramfsNames(t, filepath.Join(boot, "initrd.img"))
	for _, want := range []string{"init", "bin/busybox", "bin/sh", "sbin/modprobe", "etc/udhcpc.sh", "lib/modules/" + kernel + "/modules.dep"} {
		if !slices.Contains(names, want) {
			t.Errorf("initramfs has no %s", want)
		}
	}
	for _, want := range []string{"nfsv3.ko", "virtio_net.ko", "virtio_mmio.ko", "genet.ko", "smsc95xx.ko", "lan78xx.ko", "dwc2.ko", "sunrpc.ko"} {
		if !slices.ContainsFunc(names, func(name string) bool { return filepath.Base(name) == want }) {
			t.Errorf("initramfs has no module %s", want)
		}
	}
}

func initramfsNames(t *testing.T, file string) []string {
	t.Helper()
	packed, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := zstd.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var names []string
	for archive := cpio.NewReader(plain); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

func checkUserland(t *testing.T, tree string) {
	t.Helper()
	program, err := elf.Open(filepath.Join(tree, "usr/bin/ffmpeg"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	if program.Machine != elf.EM_AARCH64 {
		t.Errorf("ffmpeg is for %v; want AArch64", program.Machine)
	}
	for _, name := range []string{"etc/inittab", "etc/init.d/rcS", "usr/bin/ffprobe", "usr/lib/aarch64-linux-gnu/libblas.so.3"} {
		if _, err := os.Stat(filepath.Join(tree, name)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"etc/init.d/rcS", "etc/init.d/lease", "etc/udhcpc.sh"} {
		if info, err := os.Stat(filepath.Join(tree, name)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v; want a program", name, info, err)
		}
	}
	if target, err := os.Readlink(filepath.Join(tree, "sbin/init")); err != nil || target != "../bin/busybox" {
		t.Errorf("sbin/init -> %q, %v; want ../bin/busybox", target, err)
	}
	for _, name := range []string{"usr/share/man", "usr/share/doc", "usr/include"} {
		if _, err := os.Stat(filepath.Join(tree, name)); err == nil {
			t.Errorf("%s is in the root; want it dropped", name)
		}
	}
}
