//go:build bench && soak

package linuxclient

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
)

// nfsrootOptions are what nfsroot= could have, besides the version and TCP. The first leaves it to klibc
// how long it waits for a reply; the second is what boards get.
var nfsrootOptions = []string{
	"rsize=1048576,wsize=1048576",
	"rsize=1048576,wsize=1048576,timeo=600,retrans=2",
	"rsize=1048576,wsize=1048576,timeo=100,retrans=3",
	"rsize=131072,wsize=131072,timeo=600,retrans=2",
}

const (
	nfsrootBytes = 24 << 20
	lossPercent  = 1
)

// TestNFSRootOptions measures options of nfsroot= where frames are lost: klibc's nfsmount, which
// mounts the root in the initramfs of Debian and Raspberry Pi OS, mounts an export, and a file is read.
func TestNFSRootOptions(t *testing.T) {
	rounds, err := strconv.Atoi(cmp.Or(os.Getenv("ROUNDS"), "10"))
	if err != nil {
		t.Fatal(err)
	}
	lan := netlabtest.NewBridge(t, "")
	server := netlabtest.Host{Port: "server", Addr: serverAddr}.Join(t, lan)
	if err := lan.Tap(tapName); err != nil {
		t.Fatal(err)
	}
	if err := lan.Attach(tapName, netlabtest.Bridge); err != nil {
		t.Fatal(err)
	}
	dir := fastDisk(t)
	shareNFSRoot(t, dir, rounds)
	machine := makeMachine(t)
	loseFrames(t, lan)
	startServer(t, server, dir, 0)
	guest := machine.start(t, lan)
	select {
	case <-guest.ended:
	case <-t.Context().Done():
		t.Fatal("the guest has not ended")
	}
	report, err := os.ReadFile(filepath.Join(dir, "report", "times"))
	if lines := strings.Count(string(report), "\n"); err != nil || lines != len(nfsrootOptions) {
		t.Fatalf("the guest reports %d of %d options, %v; it said:\n%s", lines, len(nfsrootOptions), err, guest.output.String())
	}
	t.Logf("%d MB over NFS, %d %% of frames lost each way; seconds:\n%s", nfsrootBytes>>20, lossPercent, table(string(report)))
}

// shareNFSRoot makes the directories that the server exports.
func shareNFSRoot(t *testing.T, dir string, rounds int) {
	t.Helper()
	share, data := filepath.Join(dir, "share"), filepath.Join(dir, "data")
	for _, d := range []string{share, data, filepath.Join(dir, "report"), filepath.Join(dir, "root")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	klibc := t.TempDir()
	for _, name := range []string{"klibc-utils", "libklibc"} {
		run(t, "dpkg-deb", "-x", fetch(t, name), klibc)
	}
	run(t, "sh", "-ec", `find "$0" -name nfsmount -o -name 'klibc-*.so' | xargs cp -t "$1"`, klibc, share)
	run(t, "cp", "testdata/nfsroot", filepath.Join(share, "work"))
	writeSysctls(t, share)
	for name, text := range map[string]string{
		filepath.Join(share, "options"): strings.Join(nfsrootOptions, "\n") + "\n",
		filepath.Join(share, "rounds"):  strings.Repeat("round\n", rounds),
		filepath.Join(data, "file"):     strings.Repeat("pibootd ", nfsrootBytes/8),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	client := []netip.Addr{netip.MustParseAddr(guestAddr)}
	writeExports(t, dir, []nfs.Export{
		{ID: 1, Path: "/share", Dir: share, Clients: client, ReadOnly: true},
		{ID: 2, Path: "/report", Dir: filepath.Join(dir, "report"), Clients: client},
		{ID: 3, Path: "/roots/1", Dir: filepath.Join(dir, "root"), Clients: client},
		{ID: 4, Path: "/data", Dir: data, Clients: client, ReadOnly: true},
	})
}

// loseFrames has a bridge lose frames in both directions.
func loseFrames(t *testing.T, lan *netlab.Namespace) {
	t.Helper()
	rules := "table netdev lossy {"
	for _, port := range []string{"server", tapName} {
		rules += fmt.Sprintf(" chain %s { type filter hook ingress device %[1]q priority 0; numgen random mod 100 < %d drop; };", port, lossPercent)
	}
	if err := lan.Do(func() error {
		out, err := exec.CommandContext(t.Context(), "nft", rules+" }").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	}); err != nil {
		t.Fatalf("nft: %v", err)
	}
}

// table returns what the guest has reported for people: of the rounds the median and the worst.
func table(report string) string {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "options\tmount\tmedian\tworst\tsent again\t")
	for line := range strings.Lines(report) {
		fields := strings.Fields(line)
		var took []float64 // the mount, and the rounds
		for _, hundredths := range fields[1 : len(fields)-1] {
			n, _ := strconv.Atoi(hundredths) // the guest's own numbers
			took = append(took, float64(n)/100)
		}
		rounds := slices.Sorted(slices.Values(took[1:]))
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%s\t\n", fields[0], took[0], rounds[len(rounds)/2], rounds[len(rounds)-1], fields[len(fields)-1])
	}
	_ = w.Flush() // to memory
	return out.String()
}
