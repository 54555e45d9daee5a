//go:build e2e

package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/fleet"
	"pibootd/pkg/netlab/netlabtest"
)

// On a machine whose nfsd runs, pibootd has it serve the roots, under their
// own paths, to their boards alone, and takes back only what it gave.
func TestKernelServesTheRoots(t *testing.T) {
	nas := startNAS(t)
	nas.sh(t, `pibootd template import tiny /tiny --state-dir /srv/pibootd
		pibootd serve --interface eth0 --state-dir /srv/pibootd </dev/null >/serve.log 2>&1 &
		until grep -q msg=serving /serve.log || ! kill -0 $!; do sleep 0.2; done`)
	if log := nas.sh(t, "cat /serve.log"); !strings.Contains(log, "driver=kernel") {
		t.Errorf("pibootd serves with another driver:\n%s", log)
	}
	added := nas.add(t, "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--ip", "10.79.0.11")
	const root = "/srv/pibootd/roots/3333347a"
	const proof = root + " mounted by 10.79.0.1, sbin/init read, a file written, read back and removed; open to 10.79.0.11 by nfsd's list, a mount from there was not tried"
	if added.Export != root || len(added.Proof) != 3 || added.Proof[0] != proof {
		t.Errorf("added %+v; want the export %s and the proof %q", added, root, proof)
	}
	nas.add(t, "--mac", "b8:27:eb:33:34:7b", "--serial", "3333347b", "--ip", "10.79.0.12")
	if text := nas.sh(t, "pibootd show-pi 3333347a --json --state-dir /srv/pibootd"); !strings.Contains(text, "nfsroot=10.79.0.1:"+root+",vers=3") {
		t.Errorf("the board's kernel arguments do not name %s:\n%s", root, text)
	}

	const media = "/srv/pibootd/media"
	one, two := netip.MustParsePrefix("10.79.0.11/24"), netip.MustParsePrefix("10.79.0.12/24")
	for _, tt := range []struct {
		from netip.Prefix
		path string
		want string // of the error
	}{
		{one, root, ""}, {two, root, "MNT3ERR_ACCES"},
		{two, "/srv/pibootd/roots/3333347b", ""}, {one, "/srv/pibootd/roots/3333347b", "MNT3ERR_ACCES"},
		{one, media, ""}, {two, media, ""}, {one, "/srv/pibootd", "MNT3ERR_ACCES"},
		{one, media + "/.scratch/3333347a", ""}, {two, media + "/.scratch/3333347a", "NFS3ERR_ACCES"},
	} {
		if err := nas.use(t, tt.from, tt.path); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s uses %s: %v; want %q", tt.from.Addr(), tt.path, err, tt.want)
		}
	}

	nas.sh(t, "pibootd remove-pi 3333347a --yes --state-dir /srv/pibootd")
	if err := nas.use(t, one, root); err == nil {
		t.Error("a removed board still mounts its root")
	}
	table := nas.sh(t, "exportfs -s; cat /etc/exports.d/pibootd.exports")
	for text, want := range map[string]int{"/srv/other  10.79.0.50": 1, "3333347a": 0, "roots/3333347b": 2, "10.79.0.11": 0, "10.79.0.1(": 0, "fsid=2409037823": 1} {
		if got := strings.Count(table, text); got != want {
			t.Errorf("%q is there %d times; want %d:\n%s", text, got, want, table)
		}
	}
}

func (n *nas) add(t *testing.T, args ...string) fleet.Added {
	t.Helper()
	var added fleet.Added
	out := n.sh(t, "pibootd add-pi --json --state-dir /srv/pibootd "+strings.Join(args, " "))
	if err := json.Unmarshal([]byte(out[max(0, strings.Index(out, "{")):]), &added); err != nil {
		t.Fatalf("add-pi: %v\n%s%s", err, out, n.sh(t, "cat /serve.log"))
	}
	return added
}

// use mounts an export from an address of its own and lists it.
func (n *nas) use(t *testing.T, from netip.Prefix, path string) error {
	t.Helper()
	port := "b" + strings.ReplaceAll(from.Addr().String(), ".", "")
	board := netlabtest.Host{Port: port, Addr: from.String()}.Join(t, n.host)
	defer func() {
		if err := n.host.Delete(port); err != nil {
			t.Error(err)
		}
	}()
	return board.Do(func() error {
		m, err := nfsclient.DialMount("10.79.0.1")
		if err != nil {
			return err
		}
		defer m.Close()
		target, err := m.Mount(path, rpc.NewAuthUnix("board", 0, 0).Auth())
		if err != nil {
			return err
		}
		defer target.Close()
		_, err = target.ReadDirPlus(".")
		return err
	})
}

// startNAS makes the guest out of Debian's packages and starts it.
func startNAS(t *testing.T) *nas {
	t.Helper()
	kernel, initramfs := makeNAS(t)
	disk := filepath.Join(t.TempDir(), "disk")
	tool(t, "mke2fs", "-q", "-t", "ext4", disk, "512M")
	return startGuest(t, "-m", "1024", "-kernel", kernel, "-initrd", initramfs, "-append", "console=ttyS0 quiet panic=-1", "-drive", "if=virtio,format=raw,file="+disk)
}

// makeNAS returns a kernel and an initramfs with nfs-kernel-server, pibootd,
// and a tree to make a template of.
func makeNAS(t *testing.T) (kernel, initramfs string) {
	t.Helper()
	pkgs, root := t.TempDir(), t.TempDir()
	image, _, _ := strings.Cut(tool(t, "sh", "-c", "apt-cache show --no-all-versions linux-image-cloud-amd64 | sed -n 's/^Depends: //p'"), " ")
	tirpc := tool(t, "sh", "-c", "apt-cache depends --no-recommends --no-suggests nfs-kernel-server | sed -n 's/.*Depends: \\(libtirpc3.*\\)/\\1/p'")
	for _, name := range []string{strings.TrimSpace(image), "nfs-kernel-server", "rpcbind", strings.TrimSpace(tirpc), "libtirpc-common", "libwrap0", "libkeyutils1", "busybox-static"} {
		tool(t, "dpkg-deb", "-x", debianPackage(t, name), pkgs)
	}
	for _, name := range []string{"bin", "sbin", "lib"} { // packages since Debian 13 have all below usr
		if err := os.Symlink(filepath.Join("usr", name), filepath.Join(pkgs, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
	}
	kernels, err := filepath.Glob(filepath.Join(pkgs, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("kernels: %q, %v; want one", kernels, err)
	}
	tool(t, "install", "-D", "testdata/nas", filepath.Join(root, "init"))
	tool(t, "install", "-D", filepath.Join(pkgs, "bin/busybox"), filepath.Join(root, "bin/busybox"))
	tool(t, "install", "-D", "../../bin/pibootd", filepath.Join(root, "bin/pibootd"))
	for _, program := range []string{"usr/sbin/exportfs", "usr/sbin/rpc.mountd", "usr/sbin/rpc.nfsd", "sbin/rpcbind"} {
		tool(t, "install", "-D", filepath.Join(pkgs, program), filepath.Join(root, program))
		putLibraries(t, pkgs, program, root)
	}
	for file, text := range map[string]string{
		"etc/passwd": "root:x:0:0::/:/bin/sh\n_rpc:x:100:65534::/run/rpcbind:/bin/false\n", "etc/group": "root:x:0:\nnogroup:x:65534:\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nnetgroup: files\n",
		"etc/hosts":         "127.0.0.1 localhost\n10.79.0.1 nas\n", "etc/services": "sunrpc 111/tcp portmapper\nsunrpc 111/udp portmapper\nnfs 2049/tcp\nnfs 2049/udp\n", "etc/protocols": "tcp 6 TCP\nudp 17 UDP\n",
		"tiny/etc/os-release": "PRETTY_NAME=Tiny\n", "tiny/boot/firmware/config.txt": "kernel=kernel8.img\n",
	} {
		putText(t, filepath.Join(root, file), text)
	}
	tool(t, "install", "-D", filepath.Join(pkgs, "etc/netconfig"), filepath.Join(root, "etc/netconfig"))
	tool(t, "install", "-D", filepath.Join(pkgs, "bin/busybox"), filepath.Join(root, "tiny/bin/sh"))
	tool(t, "install", "-D", filepath.Join(pkgs, "bin/busybox"), filepath.Join(root, "tiny/sbin/init"))
	putModules(t, pkgs, strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-"), root)
	initramfs = filepath.Join(t.TempDir(), "initramfs")
	tool(t, "sh", "-c", `cd "$0" && find . | "$1" cpio -o -H newc >"$2"`, root, filepath.Join(pkgs, "bin/busybox"), initramfs)
	return kernels[0], initramfs
}

// debianPackage downloads a package to where PIBOOTD_APT_CACHE says, unless it
// is there.
func debianPackage(t *testing.T, name string) string {
	t.Helper()
	cache := t.TempDir()
	if kept := os.Getenv("PIBOOTD_APT_CACHE"); kept != "" {
		cache = filepath.Join(kept, "nas")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	// The version may have changed, so apt-get is asked anyway; it leaves alone
	// what it has.
	tool(t, "sh", "-c", `cd "$0" && apt-get download -q -o APT::Sandbox::User=root "$1"`, cache, name)
	files, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(files) == 0 {
		t.Fatalf("apt-get left no %s: %v", name, err)
	}
	return files[len(files)-1]
}

// putLibraries copies the shared libraries of a program, those that no package
// here has from this machine.
func putLibraries(t *testing.T, pkgs, program, root string) {
	t.Helper()
	dirs := filepath.Join(pkgs, "lib/x86_64-linux-gnu") + ":" + filepath.Join(pkgs, "usr/lib/x86_64-linux-gnu")
	out := tool(t, "env", "LD_LIBRARY_PATH="+dirs, "ldd", filepath.Join(pkgs, program))
	for word := range strings.FieldsSeq(out) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		to := "lib/x86_64-linux-gnu"
		if strings.HasPrefix(word, "/lib64/") {
			to = "lib64"
		}
		tool(t, "install", "-D", word, filepath.Join(root, to, filepath.Base(word)))
	}
}

// putModules copies the modules of the kernel that the guest needs, and the
// order in which to load them.
func putModules(t *testing.T, pkgs, version, root string) {
	t.Helper()
	tool(t, "depmod", "-b", pkgs, version)
	var order []string
	have := map[string]bool{}
	for _, module := range []string{"virtio_pci", "virtio_net", "virtio_blk", "af_packet", "ext4", "crc32c_generic", "nfsd"} {
		for line := range strings.Lines(tool(t, "modprobe", "-d", pkgs, "-S", version, "--show-depends", module)) {
			f := strings.Fields(line)
			if len(f) < 2 || f[0] != "insmod" || have[f[1]] {
				continue
			}
			have[f[1]] = true
			module := filepath.Join(root, "modules", filepath.Base(f[1]))
			tool(t, "install", "-D", f[1], module)
			if strings.HasSuffix(module, ".xz") { // which the guest's insmod does not unpack
				tool(t, "xz", "-d", module)
			}
			order = append(order, strings.TrimSuffix(filepath.Base(f[1]), ".xz"))
		}
	}
	putText(t, filepath.Join(root, "modules/order"), strings.Join(order, "\n")+"\n")
}
