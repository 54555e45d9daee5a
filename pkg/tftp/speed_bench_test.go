//go:build bench

package tftp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
)

// speedDir is set for a process that is to serve that directory on speedAddr,
// and speedProfile is where it writes a CPU profile, if anywhere.
const (
	speedDir     = "PIBOOTD_SPEED_DIR"
	speedProfile = "PIBOOTD_SPEED_PROFILE"
	speedAddr    = "10.78.0.1:69"
)

// TestMain serves instead of testing where it is told to, so that the server
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
	nas := benchNamespace(t)
	c.boards = benchNamespace(t)
	must(t, netlab.Connect(
		netlab.End{Namespace: nas, Name: "eth0", Addr: netip.MustParsePrefix("10.78.0.1/16")},
		netlab.End{Namespace: c.boards, Name: "eth0", Addr: netip.PrefixFrom(boardAddr(0), 16)}))
	for i := range maxBoards - 1 {
		must(t, c.boards.AddAddr("eth0", netip.PrefixFrom(boardAddr(i+1), 16)))
	}
	switch name {
	case "pibootd":
		c.cmd = exec.Command(os.Args[0])
		c.cmd.Env = append(os.Environ(), speedDir+"="+dir)
	case "dnsmasq":
		c.cmd = exec.Command("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root", "--interface=eth0", "--bind-interfaces",
			"--enable-tftp", "--tftp-root="+dir, "--tftp-max=1000", "--pid-file", "--log-facility=/dev/null")
	case "tftpd-hpa":
		c.cmd = exec.Command("in.tftpd", "--foreground", "--secure", "--address", speedAddr, "--user", "root", dir)
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

func benchNamespace(t *testing.T) *netlab.Namespace {
	t.Helper()
	ns, err := netlab.New()
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cpu is the processor time that the server has used; of one that forks, what
// the whole machine did beside the boards cannot be told apart, so its children
// that have ended are read from /proc.
func (c *contender) cpu() time.Duration {
	if c.forks {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		must(c.t, err)
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
		var ticks int
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			n, _ := strconv.Atoi(fields[i])
			ticks += n
		}
		return time.Duration(ticks) * 10 * time.Millisecond
	}
	const schedClock = 2 // clock_getcpuclockid(3)
	var ts unix.Timespec
	must(c.t, unix.ClockGettime(int32(^c.cmd.Process.Pid<<3|schedClock), &ts))
	return time.Duration(ts.Nano())
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

// A board reads files as boot code does: lockstep, or windows of RFC 7440.
type board struct {
	fd      int
	block   int
	window  int
	loss    float64 // of the packets that come, this part is taken for lost
	random  *rand.Rand
	slowest time.Duration // of its files
	bytes   int64
	lost    int
	tries   int // boots that were begun anew
}

// Of a Pi 4: how long it waits for a packet before it repeats itself, how long it
// gives a file (TFTP_FILE_TIMEOUT), how long it waits before it boots anew, and how
// often a board of this benchmark does that.
const (
	patience = 2 * time.Second
	fileTime = 30 * time.Second
	pause    = 5 * time.Second
	attempts = 3
)

// errFileTime is why a board gives up a file.
var errFileTime = fmt.Errorf("not done within %v", fileTime)

func (c *contender) newBoard(i, block, window int) (*board, error) {
	b := &board{block: block, window: window, random: rand.New(rand.NewPCG(uint64(i), 1))}
	err := c.boards.Do(func() (err error) {
		b.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = unix.Bind(b.fd, &unix.SockaddrInet4{Addr: boardAddr(i).As4()})
	}
	if err != nil {
		return nil, err
	}
	patient := unix.NsecToTimeval(patience.Nanoseconds())
	return b, errors.Join(
		unix.SetsockoptTimeval(b.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patient),
		unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20))
}

// boot reads the files of a set, from the first again where one takes too long.
func (b *board) boot(set map[string]int) error {
	for {
		err := b.try(set)
		if b.tries++; !errors.Is(err, errFileTime) || b.tries == attempts {
			return err
		}
		time.Sleep(pause) // as a Pi's boot code does; nothing happens meanwhile that could be waited for
	}
}

func (b *board) try(set map[string]int) error {
	for _, name := range slices.Sorted(mapsKeys(set)) {
		began := time.Now()
		n, err := b.read(name)
		if err == nil && n != set[name] {
			err = fmt.Errorf("%s has %d bytes; want %d", name, n, set[name])
		}
		if err != nil {
			return err
		}
		b.slowest = max(b.slowest, time.Since(began))
		b.bytes += int64(n)
	}
	return nil
}

func mapsKeys(set map[string]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range set {
			if !yield(name) {
				return
			}
		}
	}
}

// read reads a file and returns its size.
func (b *board) read(name string) (int, error) {
	request := fmt.Appendf(nil, "\x00\x01%s\x00octet\x00tsize\x000\x00blksize\x00%d\x00", name, b.block)
	if b.window > 1 {
		request = fmt.Appendf(request, "windowsize\x00%d\x00", b.window)
	}
	packet := make([]byte, b.block+4)
	send, to := request, unix.Sockaddr(&unix.SockaddrInet4{Port: 69, Addr: [4]byte{10, 78, 0, 1}})
	next, total, inWindow, window := uint16(1), 0, 0, 1
	for limit := time.Now().Add(fileTime); time.Now().Before(limit); {
		if send != nil {
			if err := unix.Sendto(b.fd, send, 0, to); err != nil {
				return 0, err
			}
		}
		n, from, err := unix.Recvfrom(b.fd, packet, 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if b.loss > 0 && b.random.Float64() < b.loss {
			b.lost++
			send = nil
			continue
		}
		switch op := binary.BigEndian.Uint16(packet); {
		case op == opOAck:
			to, send = from, []byte{0, opAck, 0, 0}
			if strings.Contains(string(packet[:n]), "windowsize") {
				window = b.window
			}
		case op == opError:
			return 0, fmt.Errorf("%s: ERROR %q", name, packet[4:n])
		case op == opData && binary.BigEndian.Uint16(packet[2:]) == next:
			total += n - 4
			inWindow++
			last := n < b.block+4
			send = nil
			if inWindow >= window || last {
				send, inWindow = []byte{0, opAck, byte(next >> 8), byte(next)}, 0
			}
			next++
			if last {
				return total, unix.Sendto(b.fd, send, 0, to)
			}
		default: // a repetition, or behind a gap
			inWindow = 0
			send = nil
			if window > 1 {
				send = []byte{0, opAck, byte((next - 1) >> 8), byte(next - 1)}
			}
		}
	}
	return 0, fmt.Errorf("%s: after %d bytes: %w", name, total, errFileTime)
}

// A storm is boards that are switched on at once.
type storm struct {
	wall    time.Duration
	cpu     time.Duration
	bytes   int64
	slowest time.Duration // file
	failed  int
	again   int // boots begun anew
	lost    int
}

func (c *contender) storm(boards, block, window int, loss float64, set map[string]int) storm {
	var s storm
	all := make([]*board, boards)
	for i := range all {
		b, err := c.newBoard(i, block, window)
		must(c.t, err)
		b.loss = loss
		all[i] = b
		defer unix.Close(b.fd)
	}
	failed := make([]error, boards)
	cpu, began := c.cpu(), time.Now()
	var g errgroup.Group
	for i, b := range all {
		g.Go(func() error { failed[i] = b.boot(set); return nil })
	}
	_ = g.Wait()
	s.wall, s.cpu = time.Since(began), c.cpu()-cpu
	for i, b := range all {
		s.bytes += b.bytes
		s.lost += b.lost
		s.again += max(b.tries-1, 0)
		s.slowest = max(s.slowest, b.slowest)
		if failed[i] != nil {
			s.failed++
		}
	}
	return s
}

// await returns when the server answers.
func (c *contender) await(name string) {
	for range 100 {
		b, err := c.newBoard(0, 512, 1)
		must(c.t, err)
		short := unix.NsecToTimeval((100 * time.Millisecond).Nanoseconds())
		must(c.t, unix.SetsockoptTimeval(b.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &short))
		_, err = b.read(name)
		unix.Close(b.fd)
		if err == nil {
			return
		}
	}
	c.t.Fatalf("%s does not answer", c.name)
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
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
	names := []string{"pibootd", "dnsmasq", "tftpd-hpa"}
	var all []*contender
	for _, name := range names {
		c := startContender(t, name, dir)
		c.await("small00")
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

func printStorms(t *testing.T, all []*contender, set map[string]int, only string) {
	fmt.Printf("\n%-34s %10s %10s %10s %8s\n", "storm of Pi 4s, 30 MB each", all[0].name, all[1].name, all[2].name, "ratio")
	for _, n := range []int{1, 16, 64, 200} {
		if only != "" && only != strconv.Itoa(n) {
			continue
		}
		rounds := 3
		if n == 200 {
			rounds = 1
		}
		wall, cpu := make([][]float64, len(all)), make([][]float64, len(all))
		slowest, failed, again := make([]float64, len(all)), make([]int, len(all)), make([]int, len(all))
		for round := range rounds {
			for i := range all {
				i = (i + round) % len(all)
				s := all[i].storm(n, 1024, 1, 0, set)
				wall[i] = append(wall[i], s.wall.Seconds())
				cpu[i] = append(cpu[i], s.cpu.Seconds()/float64(s.bytes)*1e9)
				slowest[i] = max(slowest[i], s.slowest.Seconds())
				failed[i] += s.failed
				again[i] += s.again
			}
		}
		w, k := make([]float64, len(all)), make([]float64, len(all))
		for i := range all {
			w[i], k[i] = median(wall[i]), median(cpu[i])
		}
		fmt.Printf("%3d boards: wall, s %27.2f %10.2f %10.2f %8.2f\n", n, w[0], w[1], w[2], w[0]/min(w[1], w[2]))
		fmt.Printf("%3d boards: server CPU, s/GB %20.2f %10.2f %10.2f %8.2f\n", n, k[0], k[1], k[2], k[0]/k[1])
		fmt.Printf("%3d boards: slowest file, s %21.1f %10.1f %10.1f\n", n, slowest[0], slowest[1], slowest[2])
		fmt.Printf("%3d boards: boots begun anew %20d %10d %10d\n", n, again[0], again[1], again[2])
		fmt.Printf("%3d boards: given up %28d %10d %10d\n", n, failed[0], failed[1], failed[2])
		if n == 1 && failed[0] > 0 {
			t.Errorf("a lone board failed")
		}
	}
}

func printStreams(t *testing.T, all []*contender) {
	fmt.Printf("\n%-34s %10s %10s %10s %8s\n", "one board reads 18 MB, MB/s", all[0].name, all[1].name, all[2].name, "ratio")
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
			fmt.Printf("blksize %4d windowsize %2d %19.0f %10.0f %10.0f %8.2f\n", block, window, rate[0], rate[1], rate[2], rate[0]/max(rate[1], rate[2]))
		}
	}
}

func printLoss(t *testing.T, all []*contender, set map[string]int) {
	fmt.Printf("\n%-34s %10s %10s %10s\n", "one board, 0.1 % of packets lost", all[0].name, all[1].name, all[2].name)
	var wall, slowest, each [3]float64
	for i, c := range all {
		s := c.storm(1, 1024, 1, 0.001, set)
		wall[i], slowest[i], each[i] = s.wall.Seconds(), s.slowest.Seconds(), s.wall.Seconds()/float64(max(s.lost, 1))
		if s.failed > 0 && i == 0 {
			t.Error("the board failed")
		}
	}
	fmt.Printf("whole boot, s %31.1f %10.1f %10.1f\n", wall[0], wall[1], wall[2])
	fmt.Printf("slowest file, s %29.1f %10.1f %10.1f\n", slowest[0], slowest[1], slowest[2])
	fmt.Printf("for each lost packet, s %21.2f %10.2f %10.2f\n", each[0], each[1], each[2])
}
