package debian

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/rootfs/roottest"
)

// shown is what apt-cache show prints, shortened.
const shown = `Package: busybox-static
Source: busybox (1:1.35.0-4)
Version: 1:1.35.0-4+deb12u1+b1
Architecture: arm64
Depends: none
Description: Standalone rescue shell
 with a second line: that is no field
Size: 822236
SHA256: 732c9135564fc71337e0e05fb4da4d11e6c28c1834bce3e405e575afef2a52f5

Package: linux-image-arm64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-arm64 (= 6.1.176-1)

`

func TestParseRecords(t *testing.T) {
	records, err := parseRecords([]byte(shown))
	if err != nil || len(records) != 2 {
		t.Fatalf("parseRecords = %d records, %v; want 2", len(records), err)
	}
	got, err := records[0].deb("/cache")
	want := debFile{
		name: "busybox-static", version: "1:1.35.0-4+deb12u1+b1", file: "/cache/busybox-static_1%3a1.35.0-4+deb12u1+b1_arm64.deb",
		size: 822236, sha256: "732c9135564fc71337e0e05fb4da4d11e6c28c1834bce3e405e575afef2a52f5",
	}
	if err != nil || got != want {
		t.Errorf("deb = %+v, %v; want %+v", got, err, want)
	}
	name, version, err := records[1].kernel()
	if err != nil || name != "linux-image-6.1.0-50-arm64" || version != "6.1.0-50-arm64" {
		t.Errorf("kernel = %q, %q, %v; want linux-image-6.1.0-50-arm64", name, version, err)
	}
	if name, _, err := records[0].kernel(); err == nil {
		t.Errorf("kernel of busybox = %q; want an error", name)
	}
}

func TestDebRefuses(t *testing.T) {
	good := record{"Package": "a", "Version": "1", "Architecture": "all", "Size": "1", "SHA256": strings.Repeat("0", 64)}
	if _, err := good.deb("/cache"); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"Package": "../a", "Version": "1/2", "Architecture": "", "Size": "-1", "SHA256": "0"} {
		bad := record{}
		for k, v := range good {
			bad[k] = v
		}
		bad[key] = value
		if deb, err := bad.deb("/cache"); err == nil {
			t.Errorf("%s %q: deb = %+v; want an error", key, value, deb)
		}
	}
}

func FuzzParseRecords(f *testing.F) {
	f.Add([]byte(shown))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, err := parseRecords(text)
		if err != nil {
			return
		}
		for _, r := range records {
			if deb, err := r.deb("/cache"); err == nil && filepath.Dir(deb.file) != "/cache" {
				t.Errorf("package file %q is not in the cache", deb.file)
			}
		}
	})
}

func TestAptLines(t *testing.T) {
	m := installLine.FindStringSubmatch("Inst ffmpeg (7:5.1.9-0+deb12u1 Debian:12.15/oldstable [arm64]) []")
	if diff := cmp.Diff([]string{"ffmpeg", "7:5.1.9-0+deb12u1"}, m[1:]); diff != "" {
		t.Error(diff)
	}
	m = getLine.FindStringSubmatch("Get:12 http://deb.debian.org/debian bookworm/main arm64 libc6 arm64 2.36-9 [2322 kB]")
	if len(m) != 2 || m[1] != "libc6" {
		t.Errorf("getLine = %q; want libc6", m)
	}
}

// A file of the right size but other content must not be taken for the package.
func TestPresent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.deb")
	deb := debFile{file: file, size: 3, sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
	for content, want := range map[string]bool{"abc": true, "abd": false, "": false} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := deb.present(); got != want {
			t.Errorf("present with %q = %v; want %v", content, got, want)
		}
	}
	if err := os.Remove(file); err != nil || deb.present() {
		t.Errorf("present without the file = true, %v", err)
	}
}

func TestPatterns(t *testing.T) {
	list := newPatterns([]string{"usr/share/doc/", "usr/lib/*/dri/", "usr/lib/*/libLLVM*"})
	for name, want := range map[string]bool{
		"usr/share/doc": true, "usr/share/doc/a/b": true, "usr/share/docs": false, "usr/share": false,
		"usr/lib/aarch64-linux-gnu/dri/x.so": true, "usr/lib/aarch64-linux-gnu/libLLVM-15.so.1": true,
		"usr/lib/aarch64-linux-gnu/libLLVM/x": false, "usr/lib/libLLVM": false, ".": false,
	} {
		if got := list.match(name); got != want {
			t.Errorf("match(%s) = %v; want %v", name, got, want)
		}
	}
	if got := merged("lib/systemd/x"); got != "usr/lib/systemd/x" {
		t.Errorf("merged = %q", got)
	}
}

func TestModules(t *testing.T) {
	dir := t.TempDir()
	roottest.Spec{
		"modules.dep":             "kernel/fs/nfs/nfs.ko: kernel/net/sunrpc/sunrpc.ko kernel/fs/lockd/lockd.ko\nkernel/net/sunrpc/sunrpc.ko:\nkernel/fs/lockd/lockd.ko: kernel/net/sunrpc/sunrpc.ko\nkernel/virtio-rng.ko.xz:\n",
		"modules.builtin":         "kernel/drivers/clk/clk-raspberrypi.ko\n",
		"modules.builtin.modinfo": "", "modules.order": "",
		"kernel/fs/nfs/nfs.ko": "nfs", "kernel/net/sunrpc/sunrpc.ko": "sunrpc", "kernel/fs/lockd/lockd.ko": "lockd",
		"kernel/virtio-rng.ko.xz": string(roottest.Pack(t, roottest.Packers()["tar.xz"], []byte("rng"))),
	}.Make(t, dir)
	tree, err := readModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := tree.copyTo(to, []string{"nfs", "lockd", "virtio_rng", "clk_raspberrypi", "?nonsense"}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kernel/fs/nfs/nfs.ko": "nfs", "kernel/net/sunrpc/sunrpc.ko": "sunrpc", "kernel/fs/lockd/lockd.ko": "lockd", "kernel/virtio-rng.ko": "rng",
	} {
		if got := roottest.ReadFile(t, to, name); got != want {
			t.Errorf("%s = %q; want %q", name, got, want)
		}
	}
	if _, err := tree.pick([]string{"nonsense"}); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("pick(nonsense) = %v; want an error naming it", err)
	}
}

func TestBuildOptions(t *testing.T) {
	for _, o := range []BuildOptions{{Release: "book worm"}, {Release: "-o"}, {Mirror: "http://x [trusted=yes]"}, {Mirror: "a\nb"}} {
		if err := o.Complete(); err == nil {
			t.Errorf("complete(%+v) = nil; want an error", o)
		}
	}
	var o BuildOptions
	if err := o.Complete(); err != nil || len(o.sources()) != 2 || !strings.HasSuffix(o.sources()[1], "bookworm-security") {
		t.Errorf("sources of the default = %q, %v; want bookworm and its security updates", o.sources(), err)
	}
	own := BuildOptions{Mirror: "http://mirror/debian", Release: "trixie"}
	if got := own.sources(); len(got) != 1 || got[0] != "http://mirror/debian trixie" {
		t.Errorf("sources of a mirror = %q; want it alone", got)
	}
}

func TestAptRefusesPath(t *testing.T) {
	a := &apt{dir: filepath.Join(t.TempDir(), `with"quote`)}
	if err := a.prepare(); err == nil {
		t.Error("prepare in a directory with a quote = nil; want an error")
	}
	if _, err := os.Stat(a.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory of a refused cache: %v; want none", err)
	}
}
