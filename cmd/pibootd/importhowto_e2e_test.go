//go:build e2e

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/web"
)

// What the older pool's own instructions lead to is taken over: a dry run says
// what would be done and does nothing, the import makes boards that boot, and leaves
// the older servers' files as they were.
func TestImportHowto(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.buildTemplate(t)
	old := t.TempDir()
	root := filepath.Join(old, "PiRoots/HLSPi1")
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "cp", "-a", filepath.Join(l.state, "templates/minimal/1/root"), root)
	tool(t, "sh", "-ec", `echo mine >"$1/root/mine"; mkdir -p "$0/tftp/3333347a"; cp -r "$1/boot/firmware/." "$0/tftp"; cd "$0/tftp/3333347a"; ln -s ../* .; rm -f 3333347a cmdline.txt config.txt; cp ../config.txt .; echo gpu_mem=192 >>config.txt`, old, root)
	putText(t, filepath.Join(old, "tftp/3333347a/cmdline.txt"), "selinux=0 console=tty1 nfsroot=10.77.0.1:"+root+",v3 ip=dhcp root=/dev/nfs rw rootwait muxid=1 muxhwdec=1\n")
	putText(t, filepath.Join(old, "exports"), root+"/ 10.77.0.0/255.255.255.0(rw,sync,no_subtree_check,no_root_squash)\n")
	putText(t, filepath.Join(old, "dhcpd.conf"), strings.ReplaceAll(readAll("../../pkg/howto/testdata/dhcpd.conf"), "192.168.1.", "10.77.0."))
	before := hashTree(t, old)
	flags := []string{"import-howto", "--dhcpd", filepath.Join(old, "dhcpd.conf"), "--exports", filepath.Join(old, "exports"), "--tftp", filepath.Join(old, "tftp")}

	out := l.pibootd(t, flags...) // no daemon runs
	for _, want := range []string{"hlspi1  serial 3333347a", "10.77.0.10", "muxid 1", "gpu-mem 192", "host printer", "1 of 1 boards", "Nothing was changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat(filepath.Join(l.state, "templates/hlspi1")); err == nil {
		t.Error("the dry run has made a template")
	}
	if _, errs, err := l.try(t, append(flags, "--apply")...); err == nil || !strings.Contains(errs, "pibootd serve") {
		t.Errorf("--apply without a daemon: %v, %q; want a hint that it has to run", err, errs)
	}

	l.serve(t)
	l.pibootd(t, append(flags, "--apply")...)
	board := decode[web.Pi](t, l, "show-pi", "hlspi1")
	if board.IP.String() != "10.77.0.10" || board.Settings.MuxID != 1 || !board.Settings.HWDecode || board.Settings.GPUMem != 192 {
		t.Errorf("show-pi: %+v; want the address and the settings of before", board.Pi)
	}
	if mine := readAll(filepath.Join(l.state, "roots/3333347a/root/mine")); mine != "mine\n" {
		t.Errorf("a file of the root's user = %q; want it as it was", mine)
	}
	l.pibootd(t, "rehearse", "hlspi1")
	if out := l.pibootd(t, append(flags, "--apply")...); !strings.Contains(out, "already registered") {
		t.Errorf("the second import says %q; want that the board is there", out)
	}
	if after := hashTree(t, old); after != before {
		t.Errorf("the older servers' files have changed:\n%s\nwant\n%s", after, before)
	}
}

// hashTree returns a hash of all names, modes, owners, times and contents below a directory.
func hashTree(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("sh", "-ec", `cd "$0"; find . -printf '%p %y %m %U:%G %s %T@ %l\n' | sort | sha256sum; find . -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum`, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
