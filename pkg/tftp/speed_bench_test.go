//go:build bench

package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/peers"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
)

// speedDir is set for a process that is to serve that directory on speedAddr,
// and speedProfile is where it writes a CPU profile, if anywhere.
const (
	speedDir     = "PIBOOTD_SPEED_DIR"
	speedProfile = "PIBOOTD_SPEED_PROFILE"
	speedEcho    = "PIBOOTD_SPEED_ECHO" // set: by an echo
	speedAddr    = "10.78.0.1:69"
)

// TestMain serves instead of testing if its environment says so: the server
// is then a process of its own whose CPU time can be read.
func TestMain(m *testing.M) {
	dir := os.Getenv(speedDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	serve := func() error { return serveSpeed(dir, os.Getenv(speedProfile)) }
	if os.Getenv(speedEcho) != "" {
		serve = func() error { return serveEcho(dir) }
	}
	if err := serve(); err != nil {
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
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp4", speedAddr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return (&Server{Source: rootSource{root}}).Serve(ctx, conn)
}

// rootSource serves the files of a directory.
type rootSource struct{ root *os.Root }

func (s rootSource) Open(_ context.Context, _ netip.Addr, name string) (io.ReadCloser, int64, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// bootSet is what a Pi 4 loads, by size: some 30 MB.
func bootSet() map[string]int {
	set := map[string]int{"start4.elf": 2_260_000, "kernel8.img": 9_200_000, "initramfs8": 18_000_000}
	for i := range 12 {
		set[fmt.Sprintf("small%02d", i)] = 5_500 + 1000*i
	}
	return set
}

// A contender is a server in a namespace of its own, at the other end of a
// cable from the boards.
type contender struct {
	t      *testing.T
	name   string
	boards *netlab.Namespace
	cmd    *exec.Cmd
	forks  bool // each transfer is a process of its own
}

func startContender(t *testing.T, name, dir string) *contender {
	t.Helper()
	c := &contender{t: t, name: name, forks: name == "tftpd-hpa"}
	nas, boards := netlabtest.NewPair(t, "10.78.0.1/16", boardAddr(0).String()+"/16")
	c.boards = boards
	for i := range maxBoards - 1 {
		must(t, c.boards.AddAddr("eth0", netip.PrefixFrom(boardAddr(i+1), 16)))
	}
	switch name {
	case "pibootd":
		c.cmd = exec.Command(os.Args[0])
		c.cmd.Env = append(os.Environ(), speedDir+"="+dir)
	case "echo":
		c.cmd = exec.Command(os.Args[0])
		c.cmd.Env = append(os.Environ(), speedDir+"="+dir, speedEcho+"=1")
	case "dnsmasq":
		c.cmd = peers.Dnsmasq("--interface=eth0", "--enable-tftp", "--tftp-root="+dir, "--tftp-max=1000", "--pid-file", "--log-facility=/dev/null")
	case "tftpd-hpa":
		c.cmd = peers.Command("in.tftpd", "--foreground", "--secure", "--address", speedAddr, "--user", "root", dir)
	}
	stdin, err := c.cmd.StdinPipe()
	must(t, err)
	c.cmd.Stderr = os.Stderr
	must(t, nas.Do(c.cmd.Start))
	t.Cleanup(func() {
		stdin.Close()
		if name != "pibootd" { // which ends by itself, and writes its profile
			_ = c.cmd.Process.Kill()
		}
		_ = c.cmd.Wait()
	})
	return c
}

const maxBoards = 200

// boardAddr is the address of a board.
func boardAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 78, 1, byte(1 + i)}) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is the processor time that the server has used; NaN where processes that are
// gone have used it.
func (c *contender) cpu() float64 {
	if c.forks {
		return math.NaN()
	}
	const schedClock = 2 // clock_getcpuclockid(3)
	var ts unix.Timespec
	must(c.t, unix.ClockGettime(int32(^c.cmd.Process.Pid<<3|schedClock), &ts))
	return time.Duration(ts.Nano()).Seconds()
}

// peakMemory is the most memory that the server had, in MB.
func (c *contender) peakMemory() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	must(c.t, err)
	for l := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(kb)[0])
			return n >> 10
		}
	}
	return 0
}

// A storm is boards that are switched on at once.
type storm struct {
	wall    time.Duration
	cpu     float64 // seconds
	bytes   int64
	slowest time.Duration // file
	failed  int
	again   int // boots repeated
	lost    int
}

func (c *contender) storm(boards, block, window int, loss float64, set map[string]int) storm {
	var s storm
	all := make([]*board, boards)
	for i := range all {
		all[i] = newBoard(i, block, window, set)
		all[i].loss = loss
	}
	cpu, began := c.cpu(), time.Now()
	must(c.t, c.boards.Do(func() error { return bootAll(all) }))
	s.wall, s.cpu = time.Since(began), c.cpu()-cpu
	for _, b := range all {
		s.bytes += b.bytes
		s.lost += b.lost
		s.again += b.again
		s.slowest = max(s.slowest, b.slowest)
		if b.err != nil {
			s.failed++
			c.t.Logf("%s: board %v: %v", c.name, b.addr, b.err)
		}
	}
	return s
}

// await returns when the server answers.
func (c *contender) await(set map[string]int, name string) {
	b := newBoard(0, 512, 1, map[string]int{name: set[name]})
	must(c.t, c.boards.Do(func() error { return bootAll([]*board{b}) }))
	if b.err != nil {
		c.t.Fatalf("%s does not answer: %v", c.name, b.err)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// TestSpeed prints what boot storms and single streams get out of this server,
// dnsmasq and tftpd-hpa. It fails only if this server fails a lone board: how fast
// a machine is is not for a test to judge.
func TestSpeed(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	set := bootSet()
	for name, size := range set {
		must(t, os.WriteFile(filepath.Join(dir, name), pattern(size), 0o644))
	}
	var rlimit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &rlimit) == nil {
		rlimit.Cur = rlimit.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &rlimit)
	}
	names := []string{"pibootd", "dnsmasq", "tftpd-hpa", "echo"}
	var all []*contender
	for _, name := range names {
		c := startContender(t, name, dir)
		c.await(set, "small00")
		all = append(all, c)
	}
	rows := os.Getenv("ROWS")
	if strings.Contains("storm", rows) || strings.HasPrefix(rows, "storm") {
		printStorms(t, all, set, strings.TrimPrefix(rows, "storm"))
	}
	if strings.Contains("stream", rows) {
		printStreams(t, all)
	}
	if strings.Contains("loss", rows) {
		printLoss(t, all, set)
	}
	for _, c := range all {
		fmt.Printf("%s: %d MB of memory at most\n", c.name, c.peakMemory())
	}
}

// header prints the names of the contenders over the columns of a table.
func header(title string, all []*contender, ratios ...string) {
	fmt.Printf("\n%-32s", title)
	for _, c := range all {
		fmt.Printf(" %9s", c.name)
	}
	for _, ratio := range ratios {
		fmt.Printf(" %9s", ratio)
	}
	fmt.Println()
}

// row prints a number for each contender, and ratios.
func row(title string, digits int, numbers []float64, ratios ...float64) {
	fmt.Printf("%-32s", title)
	for _, n := range numbers {
		fmt.Printf(" %9.*f", digits, n)
	}
	for _, ratio := range ratios {
		fmt.Printf(" %9.2f", ratio)
	}
	fmt.Println()
}

func printStorms(t *testing.T, all []*contender, set map[string]int, only string) {
	header("storm of Pi 4s, 30 MB each", all, "best peer", "dnsmasq", "echo")
	for _, n := range []int{1, 16, 64, 200} {
		if only != "" && only != strconv.Itoa(n) {
			continue
		}
		rounds := map[int]int{64: 2, 200: 1}[n] // gigabytes each
		if rounds == 0 {
			rounds = 3
		}
		wall, cpu := make([][]float64, len(all)), make([][]float64, len(all))
		slowest, failed, again := make([]float64, len(all)), make([]float64, len(all)), make([]float64, len(all))
		for round := range rounds {
			for i := range all {
				i = (i + round) % len(all)
				s := all[i].storm(n, 1024, 1, 0, set)
				wall[i] = append(wall[i], s.wall.Seconds())
				cpu[i] = append(cpu[i], s.cpu/float64(s.bytes)*1e9)
				slowest[i] = max(slowest[i], s.slowest.Seconds())
				failed[i] += float64(s.failed)
				again[i] += float64(s.again)
			}
		}
		w, k := make([]float64, len(all)), make([]float64, len(all))
		for i := range all {
			w[i], k[i] = median(wall[i]), median(cpu[i])
		}
		of := func(what string) string { return fmt.Sprintf("%3d boards: %s", n, what) }
		row(of("wall, s"), 2, w, w[0]/min(w[1], w[2]), w[0]/w[1], w[0]/w[3])
		row(of("server CPU, s/GB"), 2, k, k[0]/k[1], k[0]/k[1], k[0]/k[3])
		row(of("slowest file, s"), 1, slowest)
		row(of("boots repeated"), 0, again)
		row(of("given up"), 0, failed)
		if n == 1 && failed[0] > 0 {
			t.Errorf("a lone board failed")
		}
	}
}

func printStreams(t *testing.T, all []*contender) {
	header("one board reads 18 MB, MB/s", all, "best peer", "echo")
	set := map[string]int{"initramfs8": bootSet()["initramfs8"]}
	for _, block := range []int{512, 1024, 1468} {
		for _, window := range []int{1, 4, 16} {
			rate := make([]float64, len(all))
			for i, c := range all {
				var got []float64
				for range 3 {
					s := c.storm(1, block, window, 0, set)
					if s.failed > 0 && i == 0 {
						t.Errorf("a stream of %d bytes by %d failed", block, window)
					}
					got = append(got, float64(s.bytes)/1e6/s.wall.Seconds())
				}
				rate[i] = median(got)
			}
			row(fmt.Sprintf("blksize %4d windowsize %2d", block, window), 0, rate, rate[0]/max(rate[1], rate[2]), rate[0]/rate[3])
		}
	}
}

func printLoss(t *testing.T, all []*contender, set map[string]int) {
	all = all[:3] // an echo has no clock
	header("one board, 0.1 % of packets lost", all)
	wall, slowest, each := make([]float64, len(all)), make([]float64, len(all)), make([]float64, len(all))
	for i, c := range all {
		s := c.storm(1, 1024, 1, 0.001, set)
		wall[i], slowest[i], each[i] = s.wall.Seconds(), s.slowest.Seconds(), s.wall.Seconds()/float64(max(s.lost, 1))
		if s.failed > 0 && i == 0 {
			t.Error("the board failed")
		}
	}
	row("whole boot, s", 1, wall)
	row("slowest file, s", 1, slowest)
	row("for each lost packet, s", 2, each)
}
