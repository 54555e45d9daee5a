//go:build bench

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/internal/peers"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/roottest"
	boots "pibootd/pkg/virtualpi/recording"
)

// bootTemplates are the templates whose boots are recorded.
var bootTemplates = []string{"minimal", "debian"}

// The board of the recordings.
const (
	bootBoard      = "hlspi1"
	bootMAC        = "dc:a6:32:33:34:7a"
	bootSerial     = "3333347a"
	bootAddr       = "10.77.0.192"
	bootServerAddr = "10.77.0.1"
	bootExport     = "/roots/" + bootSerial
	bootTimeout    = 30 * time.Minute
)

func recordingOf(template string) string {
	return filepath.Join("../../pkg/virtualpi/recording/testdata", template+".json.gz")
}

// TestRecordBoot boots a board from each of the templates under QEMU, and writes what it asks for
// until its worker is online to the recordings that TestBootSpeed makes again.
func TestRecordBoot(t *testing.T) {
	for _, template := range bootTemplates {
		if !strings.Contains(template, os.Getenv("TEMPLATE")) {
			continue
		}
		rec, took := recordBoot(t, template)
		if err := rec.Save(recordingOf(template)); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d files by TFTP, %d calls of NFS on %d nodes in %v", template, len(rec.Files), len(rec.Calls), len(rec.Nodes), took)
	}
}

func recordBoot(t *testing.T, template string) (*boots.Recording, time.Duration) {
	t.Helper()
	l := newLab(t)
	if out, err := l.build(t, template).CombinedOutput(); err != nil {
		t.Fatalf("template build %s: %v\n%s", template, err, out)
	}
	l.serve(t)
	l.pibootd(t, "add-pi", "--mac", bootMAC, "--serial", bootSerial, "--name", bootBoard, "--ip", bootAddr, "--template", template)
	stop, err := boots.Capture(l.net, "br0", bootExport, netip.MustParseAddr(bootServerAddr), netip.MustParseAddr(bootAddr))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	board := l.start(t, "rehearse", bootBoard, "--qemu", "--memory", "1024", "--console", filepath.Join(t.TempDir(), "console"))
	board.waitWithin(t, "worker online", bootTimeout)
	took := time.Since(began)
	rec, err := stop()
	if err != nil {
		t.Fatal(err)
	}
	if err := board.end(t, syscall.SIGINT); err != nil {
		t.Errorf("the rehearsal ends with %v; want nil", err)
	}
	return rec, took
}

// A bootServer is servers of a board, on a bridge of their own.
type bootServer struct {
	name   string
	player boots.Player
	pids   []int
	tree   string   // the root
	keep   []string // of tree: what is not in the recording
}

// TestBootSpeed makes the recorded requests of whole boots again, and prints what they take of the
// daemon, and of dnsmasq and ganesha. Beside that it prints what a boot under QEMU takes, which is
// mostly QEMU's time. It fails only if a server answers wrongly.
func TestBootSpeed(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("ROUNDS"))
	if err != nil || rounds < 1 {
		t.Fatalf("ROUNDS is %q; want how often each boot is made, e.g. 5", os.Getenv("ROUNDS"))
	}
	for _, template := range bootTemplates {
		if !strings.Contains(template, os.Getenv("TEMPLATE")) {
			continue
		}
		rec, err := boots.Load(recordingOf(template))
		if err != nil {
			t.Fatal(err)
		}
		servers := []*bootServer{ourBootServer(t, rec), otherBootServer(t, rec)}
		var times [2][]bootTime
		for round := range rounds {
			for i := range servers {
				i = (i + round) % len(servers) // each is first in turn
				times[i] = append(times[i], servers[i].boot(t, rec))
			}
		}
		printBoots(template, rec, times)
	}
	_, took := recordBoot(t, bootTemplates[0])
	fmt.Printf("boot of %s under QEMU, until its worker is online: %.1f s\n", bootTemplates[0], took.Seconds())
}

// A bootTime is what a boot took.
type bootTime struct {
	boots.Played
	cpu time.Duration // of the servers
}

func (b bootTime) wall() time.Duration { return b.DHCP + b.TFTP + b.NFS }

// boot makes a boot on a tree that is as it was before the first.
func (s *bootServer) boot(t *testing.T, rec *boots.Recording) bootTime {
	t.Helper()
	if err := rec.MakeTree(s.tree, s.keep...); err != nil {
		t.Fatal(err)
	}
	syscall.Sync() // what was written for this boot is not waited for in it
	before := s.cpu(t)
	played, err := s.player.Play(rec)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	b := bootTime{Played: played, cpu: s.cpu(t) - before}
	if b.Differ > b.Calls/100 {
		t.Errorf("%s: the status of %d of %d replies is not the recorded one; want 1 in 100 at most", s.name, b.Differ, b.Calls)
	}
	return b
}

func (s *bootServer) cpu(t *testing.T) time.Duration {
	t.Helper()
	var all time.Duration
	for _, pid := range s.pids {
		all += processorTime(t, pid)
	}
	return all
}

func ourBootServer(t *testing.T, rec *boots.Recording) *bootServer {
	t.Helper()
	l := newLab(t)
	root := filepath.Join(t.TempDir(), "root")
	roottest.Small().Make(t, root)
	l.pibootd(t, "template", "import", "tiny", root)
	l.serve(t)
	l.pibootd(t, "add-pi", "--mac", bootMAC, "--serial", bootSerial, "--name", bootBoard, "--ip", bootAddr)
	s := &bootServer{name: "pibootd", tree: filepath.Join(l.state, bootExport), keep: []string{"boot"}}
	generated := func(name string) bool { return name == "config.txt" || name == "cmdline.txt" }
	err := errors.Join(rec.MakeTree(s.tree, s.keep...), rec.MakeFiles(filepath.Join(s.tree, "boot/firmware"), bootSerial+"/", generated))
	if err != nil {
		t.Fatal(err)
	}
	s.pids = []int{l.daemon.cmd.Process.Pid}
	s.player = bootPlayer(t, l.net, bootExport, 2049)
	return s
}

func otherBootServer(t *testing.T, rec *boots.Recording) *bootServer {
	t.Helper()
	network := netlabtest.NewBridge(t, bootServerAddr+"/24")
	dir := t.TempDir()
	tftp, tree := filepath.Join(dir, "tftp"), filepath.Join(dir, "root")
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755), os.Mkdir(tftp, 0o755), os.Mkdir(tree, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := rec.MakeFiles(tftp, "", func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	nfs, err := peers.Ganesha(tree, filepath.Join(dir, "conf"), filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	sh := startPeer(t, network, nfs)
	dnsmasq := startPeer(t, network, peers.Dnsmasq("--interface=br0", "--no-ping", "--quiet-dhcp", "--quiet-tftp",
		"--log-facility=/dev/null", "--pid-file", "--dhcp-leasefile="+filepath.Join(dir, "leases"),
		"--dhcp-range="+bootServerAddr+",static,12h", "--dhcp-host="+bootMAC+","+bootAddr,
		"--pxe-service=0,Raspberry Pi Boot", "--enable-tftp", "--tftp-root="+tftp))
	s := &bootServer{name: "dnsmasq, ganesha", tree: tree, player: bootPlayer(t, network, tree, peers.GaneshaMount)}
	awaitPort(t, s.player.Board, netip.AddrPortFrom(s.player.Server, peers.GaneshaMount))
	s.pids = []int{dnsmasq, childOf(t, sh, "ganesha.nfsd")}
	return s
}

// bootPlayer plugs the recorded board into a network.
func bootPlayer(t *testing.T, network *netlab.Namespace, mount string, mountPort uint16) boots.Player {
	t.Helper()
	mac, err := pi.ParseMAC(bootMAC)
	if err != nil {
		t.Fatal(err)
	}
	board := netlabtest.Host{Port: "board", MAC: mac, Addr: bootAddr + "/24"}.Join(t, network)
	if err := board.AddRoute("eth0", netip.MustParsePrefix("255.255.255.255/32")); err != nil {
		t.Fatal(err)
	}
	return boots.Player{Board: board, Addr: netip.MustParseAddr(bootAddr), Server: netip.MustParseAddr(bootServerAddr), Mount: mount, MountPort: mountPort}
}

// startPeer starts a server that ends with the test, and returns its process.
func startPeer(t *testing.T, network *netlab.Namespace, cmd *exec.Cmd) int {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := network.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// awaitPort waits until a server listens.
func awaitPort(t *testing.T, from *netlab.Namespace, addr netip.AddrPort) {
	t.Helper()
	for deadline := time.Now().Add(labTimeout); ; {
		var conn net.Conn
		err := from.Do(func() (err error) { conn, err = net.Dial("tcp", addr.String()); return err })
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// childOf is the process that parent started under that name.
func childOf(t *testing.T, parent int, name string) int {
	t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(list)) {
		comm, _ := os.ReadFile(filepath.Join("/proc", field, "comm"))
		if pid, err := strconv.Atoi(field); err == nil && strings.TrimSpace(string(comm)) == name {
			return pid
		}
	}
	t.Fatalf("process %d has no child %s, but %q", parent, name, list)
	return 0
}

func printBoots(template string, rec *boots.Recording, times [2][]bootTime) {
	fmt.Printf("boot of %s: %d files by TFTP, %d MB, and %d calls of NFS; medians of %d\n%-12s %10s %18s %7s\n",
		template, len(rec.Files), times[0][0].Bytes/1e6, times[0][0].Calls, len(times[0]), "", "pibootd", "dnsmasq, ganesha", "ratio")
	for _, row := range []struct {
		name string
		of   func(bootTime) time.Duration
	}{
		{"whole boot, ms", bootTime.wall},
		{"DHCP, ms", func(b bootTime) time.Duration { return b.DHCP }},
		{"TFTP, ms", func(b bootTime) time.Duration { return b.TFTP }},
		{"NFS, ms", func(b bootTime) time.Duration { return b.NFS }},
		{"CPU, ms", func(b bootTime) time.Duration { return b.cpu }},
	} {
		ours, theirs := medianOf(times[0], row.of), medianOf(times[1], row.of)
		fmt.Printf("%-14s %8.1f %18.1f %7.2f\n", row.name, ours.Seconds()*1000, theirs.Seconds()*1000, ours.Seconds()/theirs.Seconds())
	}
}

func medianOf(times []bootTime, of func(bootTime) time.Duration) time.Duration {
	var all []time.Duration
	for _, b := range times {
		all = append(all, of(b))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
