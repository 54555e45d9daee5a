//go:build e2e || soak

package linuxclient

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/netlab"
)

// A machine is what the guest is made of.
type machine struct {
	kernel, initramfs string
	busybox           string
}

// makeMachine makes the guest out of Debian's packages: its kernel for virtual
// machines, busybox, and the modules for the network and NFS.
func makeMachine(t *testing.T) machine {
	t.Helper()
	dir := t.TempDir()
	run(t, "dpkg-deb", "-x", fetch(t, "busybox-static"), dir)
	run(t, "dpkg-deb", "-x", fetch(t, kernelPackage(t)), dir)
	for _, name := range []string{"bin", "lib"} { // packages since Debian 13 have all below usr
		if err := os.Symlink(filepath.Join("usr", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	kernels, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("the kernel package has the kernels %q, %v; want one", kernels, err)
	}
	m := machine{kernel: kernels[0], busybox: filepath.Join(dir, "bin", "busybox")}
	m.initramfs = m.makeInitramfs(t, dir)
	return m
}

// kernelPackage is the package that the current one stands for.
func kernelPackage(t *testing.T) string {
	t.Helper()
	depends := run(t, "apt-cache", "show", "--no-all-versions", "linux-image-cloud-amd64")
	for line := range strings.Lines(depends) {
		if name, ok := strings.CutPrefix(line, "Depends: "); ok {
			return strings.Fields(name)[0]
		}
	}
	t.Fatalf("linux-image-cloud-amd64 depends on nothing:\n%s", depends)
	return ""
}

func (m machine) makeInitramfs(t *testing.T, packages string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "install", "-D", m.busybox, filepath.Join(dir, "bin", "busybox"))
	run(t, "install", "testdata/init", filepath.Join(dir, "init"))
	if err := os.Mkdir(filepath.Join(dir, "modules"), 0o755); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, file := range m.modules(t, packages) {
		name := strings.TrimSuffix(filepath.Base(file), ".xz")
		order = append(order, name)
		run(t, "cp", file, filepath.Join(dir, "modules"))
		if strings.HasSuffix(file, ".xz") {
			run(t, "xz", "-d", filepath.Join(dir, "modules", filepath.Base(file)))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "modules", "order"), []byte(strings.Join(order, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(t.TempDir(), "initramfs")
	run(t, m.busybox, "sh", "-c", `cd "$1" && "$0" find . | "$0" cpio -o -H newc >"$2"`, m.busybox, dir, image)
	return image
}

// modules are the files of the modules that the guest needs, each after those
// that it needs itself.
func (m machine) modules(t *testing.T, packages string) []string {
	t.Helper()
	version := strings.TrimPrefix(filepath.Base(m.kernel), "vmlinuz-")
	run(t, "depmod", "-b", packages, version)
	var files []string
	have := map[string]bool{}
	for _, module := range []string{"virtio_pci", "virtio_net", "af_packet", "macvlan", "nfsv3"} {
		out := run(t, "modprobe", "-d", packages, "-S", version, "--show-depends", module)
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] != "insmod" || have[f[1]] {
				continue
			}
			have[f[1]] = true
			files = append(files, f[1])
		}
	}
	return files
}

// start starts the guest. It ends when its work is done.
func (m machine) start(t *testing.T, network *netlab.Namespace) *child {
	t.Helper()
	guest := &child{}
	guest.start(t, network, exec.Command("qemu-system-x86_64",
		"-M", "pc", "-cpu", "max", "-accel", "tcg,thread=multi", "-m", "768", "-smp", "2",
		"-kernel", m.kernel, "-initrd", m.initramfs, "-append", "console=ttyS0 quiet panic=-1",
		"-netdev", "tap,id=lan,ifname="+tapName+",script=no,downscript=no",
		"-device", "virtio-net-pci,netdev=lan,romfile=", "-device", "virtio-rng-pci",
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"))
	return guest
}
