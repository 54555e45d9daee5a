//go:build bench

package nfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/peers"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

const (
	// speedDir is set for a process that is to serve that directory, and
	// speedProfile is where it writes a CPU profile, if anywhere.
	speedDir     = "PIBOOTD_SPEED_DIR"
	speedProfile = "PIBOOTD_SPEED_PROFILE"

	// speedRelaxed makes the export relaxed if it is not empty.
	speedRelaxed = "PIBOOTD_SPEED_RELAXED"

	speedAddr  = "127.0.0.1:2049"
	streamAddr = "127.0.0.1:2050"
	piecesAddr = "127.0.0.1:2051"
	mountAddr  = "127.0.0.1:20048" // of ganesha

	// What a piece and the question for it have, in bytes.
	pieceSize    = 128 << 10
	pieceRequest = 128
)

// TestMain serves instead of testing where the environment says so, so that the server
// is a process of its own whose CPU time can be read.
func TestMain(m *testing.M) {
	dir := os.Getenv(speedDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := serveSpeed(dir, os.Getenv(speedProfile)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveSpeed serves dir until standard input ends.
func serveSpeed(dir, profile string) error {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	s := &Server{Key: testKey(), CallsFile: dir + os.Getenv(speedRelaxed) + ".calls"} // as pibootd has it
	export := Export{ID: 1, Path: dir, Dir: dir, Clients: append(seenFrom(), loopback), Relaxed: os.Getenv(speedRelaxed) != ""}
	if err := s.Export(export); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", speedAddr)
	if err != nil {
		return err
	}
	for addr, send := range map[string]func(net.Conn, *os.File) error{streamAddr: sendAll, piecesAddr: sendPieces} {
		plain, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		defer plain.Close()
		go serveFile(plain, filepath.Join(dir, "big"), send)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return s.Serve(ctx, Listeners{NFS: ln})
}

// serveFile sends each who connects the file that the READ rows read, without
// any protocol. Who reads notices what is missing.
func serveFile(l net.Listener, name string, send func(net.Conn, *os.File) error) {
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		if f, err := os.Open(name); err == nil {
			_ = send(nc, f)
			_ = f.Close()
		}
		_ = nc.Close()
	}
}

// sendAll sends a file as fast as a TCP connection takes it.
func sendAll(nc net.Conn, f *os.File) error {
	_, err := io.Copy(nc, f) // sendfile(2)
	return err
}

// sendPieces sends a piece of a file for each question.
func sendPieces(nc net.Conn, f *os.File) error {
	question := make([]byte, pieceRequest)
	for {
		if _, err := io.ReadFull(nc, question); err != nil {
			return err
		}
		if _, err := io.CopyN(nc, f, pieceSize); err != nil {
			return err
		}
	}
}

// A contender is a server that runs in a namespace of its own.
type contender struct {
	t    *testing.T
	name string
	ns   *netlab.Namespace
	pid  int
	root []byte
	open []net.Conn
}

// startOurs runs this package in a process of its own.
func startOurs(t *testing.T, dir string) *contender {
	t.Helper()
	c := &contender{t: t, name: "pibootd"}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), speedDir+"="+dir)
	c.start(cmd)
	c.pid = cmd.Process.Pid
	c.root = c.mount(speedAddr, dir)
	return c
}

func startGanesha(t *testing.T, dir string) *contender {
	t.Helper()
	c := &contender{t: t, name: "ganesha"}
	conf, log := filepath.Join(t.TempDir(), "conf"), filepath.Join(t.TempDir(), "log")
	cmd, err := peers.Ganesha(dir, conf, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if b, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("log of ganesha:\n%s", b)
		}
	})
	c.start(cmd)
	c.root = c.mount(mountAddr, dir)
	c.pid = childCalled(t, cmd.Process.Pid, "ganesha.nfsd")
	return c
}

// start runs cmd in a new network namespace until the test ends.
func (c *contender) start(cmd *exec.Cmd) {
	c.t.Helper()
	c.ns = netlabtest.New(c.t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := c.ns.Do(cmd.Start); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		c.disconnect()
		stdin.Close()
		_ = cmd.Wait() // a shell that reads end of file fails
	})
}

// childCalled is the process that parent started under that name.
func childCalled(t *testing.T, parent int, name string) int {
	t.Helper()
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(list)) {
		comm, _ := os.ReadFile(filepath.Join("/proc", field, "comm"))
		if pid, err := strconv.Atoi(field); err == nil && strings.TrimSpace(string(comm)) == name {
			return pid
		}
	}
	t.Fatalf("process %d has no child %s, but %q", parent, name, list)
	return 0
}

// dial connects to the server, and waits for one that is just starting.
func (c *contender) dial(addr string) net.Conn {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var nc net.Conn
		err := c.ns.Do(func() (err error) { nc, err = net.Dial("tcp", addr); return err })
		if err == nil {
			c.open = append(c.open, nc)
			return nc
		}
		if !errors.Is(err, unix.ECONNREFUSED) || time.Now().After(deadline) {
			c.t.Fatalf("connecting to %s: %v", c.name, err)
		}
		<-time.After(100 * time.Millisecond)
	}
}

// disconnect closes the connections.
func (c *contender) disconnect() {
	for _, nc := range c.open {
		_ = nc.Close()
	}
	c.open = nil
}

func (c *contender) mount(addr, dir string) []byte {
	c.t.Helper()
	raw := &rawClient{t: c.t, conn: c.dial(addr), xid: 1}
	return append([]byte(nil), raw.mustMount(dir)...)
}

// cpu is the processor time that the server has used so far.
func (c *contender) cpu() time.Duration {
	const schedClock = 2 // clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^c.pid<<3|schedClock), &ts); err != nil {
		c.t.Fatalf("reading the CPU time of %s: %v", c.name, err)
	}
	return time.Duration(ts.Nano())
}

// peakMemory is the most memory that the server had, in MB.
func (c *contender) peakMemory() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	if err != nil {
		c.t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(kb)[0])
			return n >> 10
		}
	}
	return 0
}
