//go:build e2e || soak

// Package linuxclient has a Linux kernel use the NFS server as boards do: what
// a Debian root goes through in its life is done on an export while the server
// is killed again and again, and has to leave what it leaves on a local disk.
package linuxclient

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/posix"
)

// The roles that this test's program has besides running the tests.
const (
	serveRole = "NFS_SERVE" // the directory to serve: see server_test.go
	callsLeft = "NFS_CALLS" // answered calls after which that server kills itself; absent: never
	workRole  = "ROOTWORK"  // a part of the work: see work_test.go
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(serveRole) != "":
		os.Exit(exitCode(serve(os.Getenv(serveRole))))
	case os.Getenv(workRole) != "":
		os.Exit(exitCode(rootWork(os.Getenv(workRole), os.Args[1:])))
	}
	os.Exit(m.Run())
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	fmt.Println(err)
	return 1
}

// A length is how long the test lasts: see short_test.go and long_test.go.
type length struct {
	name     string        // what testdata/inside knows it by
	patience time.Duration // far beyond what the guest takes

	// The server is killed after a random number of calls in between, up to so
	// often. Calls, not seconds: a fast machine has to see as many kills as a
	// slow one.
	minCalls, maxCalls uint64
	maxKills           int

	// wantKills is how many kills prove anything.
	wantKills int

	// madeBefore is how many of manyFiles are there when the guest begins.
	madeBefore int

	renames  int      // rounds of them
	untarred []string // what of a Debian root the guest unpacks
	maxRead  int64    // bytes of the largest file that the guest reads again when all is done
}

// manyFiles is how many files the large directory has.
const manyFiles = 10000

// TestLinuxClient: a Linux client's work on an export, through kills of the
// server, leaves the tree that it leaves on a local disk, and every command
// has the same result.
func TestLinuxClient(t *testing.T) {
	network := newNetwork(t)
	share := makeShare(t)
	dir := fastDisk(t)
	for _, d := range []string{"root", "report", "local", "local-report"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	client := []netip.Addr{netip.MustParseAddr(guestAddr)}
	writeExports(t, dir, []nfs.Export{
		{ID: 1, Path: "/share", Dir: share, Clients: client, ReadOnly: true},
		{ID: 2, Path: "/report", Dir: filepath.Join(dir, "report"), Clients: client},
		{ID: 3, Path: "/roots/1", Dir: filepath.Join(dir, "root"), Clients: client},
	})
	for _, root := range []string{"local", "root"} {
		run(t, "tar", "-xpf", filepath.Join(share, "root.tar"), "-C", filepath.Join(dir, root))
		makeMany(t, filepath.Join(dir, root, "srv", "work", "many"))
	}
	for _, report := range []string{"local-report", "report"} {
		preparePOSIX(t, filepath.Join(dir, report, "cases"), posix.Short())
	}
	machine := makeMachine(t)

	start := time.Now()
	began := start
	workLocally(t, machine.busybox, filepath.Join(dir, "local"), share, filepath.Join(dir, "local-report"))
	t.Logf("the work took %v on a local disk", time.Since(began).Round(time.Second))
	began = time.Now()
	kills := workOverNFS(t, network, machine, dir)
	t.Logf("the work took %v over NFS, with %d kills of the server", time.Since(began).Round(time.Second), kills)
	if times, err := os.ReadFile(filepath.Join(dir, "report", "times")); err == nil {
		t.Logf("when its parts began, in seconds of the guest's:\n%s", times)
	}
	if want := theLength().wantKills; kills < want {
		t.Errorf("the server was killed %d times; want at least %d", kills, want)
	}
	sameReports(t, filepath.Join(dir, "local-report"), filepath.Join(dir, "report"))
	comparePOSIX(t, filepath.Join(dir, "local-report", "posix"), filepath.Join(dir, "report", "posix"))
	sameTrees(t, filepath.Join(dir, "local"), filepath.Join(dir, "root"), filepath.Join(dir, "report", "seen"), start.UnixNano())
}

// fastDisk mounts an ext4 file system whose disk is memory. Nearly every reply
// waits for the disk, and this test is not about waiting.
func fastDisk(t *testing.T) string {
	t.Helper()
	return memoryDisk(t, "ext4", "1900m")
}

// memoryDisk mounts a file system of a kind whose disk is memory.
func memoryDisk(t *testing.T, kind, size string) string {
	t.Helper()
	memory, disk := t.TempDir(), t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", memory)
	// The kernel may let go of the image a moment after its file system is gone.
	t.Cleanup(func() { run(t, "umount", "--lazy", memory) })
	image := filepath.Join(memory, "image")
	run(t, "truncate", "-s", size, image)
	run(t, "mkfs."+kind, "-q", image)
	run(t, "mount", "-o", "loop,noatime", image, disk)
	t.Cleanup(func() { run(t, "umount", disk) })
	return disk
}

// workLocally does the work in a mount namespace of its own, of which nothing
// is left.
func workLocally(t *testing.T, busybox, root, share, report string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
		busybox, "sh", filepath.Join(share, "work"), root, share, report)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the work on a local disk: %v\n%s", err, out)
	}
}

// workOverNFS has the guest do the work, and returns how often the server was
// killed meanwhile.
func workOverNFS(t *testing.T, network *netlab.Namespace, machine machine, dir string) int {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("moments of the kills: seed %d", seed)
	next := func(kills int) *child {
		calls, l := uint64(0), theLength()
		if kills < l.maxKills {
			calls = l.minCalls + random.Uint64N(l.maxCalls-l.minCalls)
		}
		return startServer(t, network, dir, calls)
	}
	server := next(0)
	guest := machine.start(t, network)
	late := time.After(theLength().patience)
	for kills := 0; ; {
		select {
		case <-guest.ended:
			server.kill(t)
			return kills
		case <-late:
			t.Fatalf("the guest does not end:\n%s", guest.output.String())
		case <-server.ended:
			if !server.killed() {
				t.Fatalf("the server ended by itself:\n%s", server.output.String())
			}
			kills++
			server = next(kills)
		}
	}
}

// sameReports checks that every command of the work said the same.
func sameReports(t *testing.T, local, nfs string) {
	t.Helper()
	for _, name := range []string{"untar", "log", "status", "posix-errors"} {
		want, err := os.ReadFile(filepath.Join(local, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(nfs, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s over NFS:\n%s\nwant what it is on a local disk:\n%s", name, got, want)
		}
		if name == "status" && strings.TrimSpace(string(want)) != "0" {
			log, _ := os.ReadFile(filepath.Join(local, "log"))
			t.Errorf("the work fails on a local disk:\n%s", log)
		}
	}
}

// A child is a program that runs beside the test.
type child struct {
	cmd    *exec.Cmd
	output syncBuffer
	ended  chan struct{}
}

// start starts cmd in a network, and kills it when the test ends.
func (c *child) start(t *testing.T, network *netlab.Namespace, cmd *exec.Cmd) {
	t.Helper()
	c.cmd, c.ended = cmd, make(chan struct{})
	cmd.Stdout, cmd.Stderr = &c.output, &c.output
	// The kernel sends Pdeathsig when the thread that started the program
	// ends, so that thread is the one that waits for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		defer close(c.ended)
		_ = network.Do(func() error {
			err := cmd.Start()
			started <- err
			if err != nil {
				return err
			}
			return cmd.Wait()
		})
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill(t)
		if t.Failed() {
			t.Logf("output of %s:\n%s", filepath.Base(cmd.Path), c.output.String())
		}
	})
}

// kill kills the child, if it still runs, and returns when it has ended.
func (c *child) kill(t *testing.T) {
	t.Helper()
	select {
	case <-c.ended: // its number may be another's by now
		return
	default:
	}
	if err := c.cmd.Process.Kill(); err != nil {
		t.Logf("killing %s: %v", c.cmd.Path, err)
	}
	<-c.ended
}

// killed reports whether SIGKILL ended the child, which has ended.
func (c *child) killed() bool {
	status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
