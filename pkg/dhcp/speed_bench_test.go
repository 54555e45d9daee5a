//go:build bench

package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"pibootd/internal/peers"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

var (
	speedServer = netip.MustParsePrefix("10.77.0.1/16")
	speedRelay  = netip.MustParsePrefix("10.77.0.2/16")
	speedFirst  = netip.MustParseAddr("10.77.16.0")
	speedLast   = netip.MustParseAddr("10.77.255.254")
)

const (
	speedBurst  = 1000 // DISCOVERs at once, as after a power cut
	speedOffers = 1000 // DISCOVERs one by one
)

// speedRates are the rates that may be tried, in exchanges a second.
var speedRates = []int{200, 1000, 2000, 4000, 6000, 8000, 10000, 12000, 16000, 24000}

// A contender is a server to be measured, on the server's end of a cable.
type contender struct {
	name  string
	start func(t *testing.T, ns *netlab.Namespace) *process
}

// A process is a server that runs.
type process struct {
	pid  int
	stop func()
}

// cpu is the processor time that p has used so far.
func (p *process) cpu() (time.Duration, error) {
	const schedClock = 2 // clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^p.pid<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", p.pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// TestSpeed prints what perfdhcp and bursts of DISCOVERs get out of this server,
// dnsmasq and Kea, all with durable leases. Each run has a fresh server. dnsmasq
// is configured not to check whether an address is in use before it offers it,
// and Kea does not either; ours does.
func TestSpeed(t *testing.T) {
	contenders := []contender{{"pibootd", runOurs}, {"dnsmasq", runDnsmasq}, {"kea", runKea}}
	var rows [][]string
	rates := func(args ...string) func(*testing.T, contender) string {
		return func(t *testing.T, c contender) string { return highestRate(t, c, args...) }
	}
	costs := func(args ...string) func(*testing.T, contender) string {
		return func(t *testing.T, c contender) string { return costOf(t, c, args...) }
	}
	for _, row := range []struct {
		name string
		run  func(*testing.T, contender) string
	}{
		{"CPU µs for an OFFER", costs("-i")},
		{"CPU µs for a DORA", costs()},
		{"DISCOVER/OFFER a second, < 1 % lost", rates("-i")},
		{"DORA a second, < 1 % lost", rates()},
		{"OFFER, unloaded: p50, p99", unloaded},
		{"1000 DISCOVERs at once: answered, p99", burst},
	} {
		if !strings.Contains(row.name, os.Getenv("ROWS")) {
			continue
		}
		cells := []string{row.name}
		for _, c := range contenders {
			cells = append(cells, row.run(t, c))
			fmt.Printf("# %s, %s: %s\n", row.name, c.name, cells[len(cells)-1])
		}
		rows = append(rows, cells)
	}
	fmt.Printf("\n%-40s %16s %16s %16s\n", "", contenders[0].name, contenders[1].name, contenders[2].name)
	for _, r := range rows {
		fmt.Printf("%-40s %16s %16s %16s\n", r[0], r[1], r[2], r[3])
	}
}

// with is withProcess for what needs nothing of the server but its answers.
func with[T any](t *testing.T, c contender, f func(relay *netlab.Namespace) (T, error)) T {
	t.Helper()
	return withProcess(t, c, func(relay *netlab.Namespace, _ *process) (T, error) { return f(relay) })
}

// withProcess starts the server at one end of a cable and calls f for the other.
func withProcess[T any](t *testing.T, c contender, f func(relay *netlab.Namespace, p *process) (T, error)) T {
	t.Helper()
	server, relay := netlabtest.New(t), netlabtest.New(t)
	must(t, netlab.Connect(
		netlab.End{Namespace: server, Name: "s0", Addr: speedServer},
		netlab.End{Namespace: relay, Name: "c0", Addr: speedRelay}))
	p := c.start(t, server)
	defer p.stop()
	awaitOffer(t, c.name, relay)
	got, err := f(relay, p)
	must(t, err)
	return got
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// speedState and speedProfile are set for a process that is to serve instead of testing: where its
// leases are, and where it writes a CPU profile, if anywhere.
const (
	speedState   = "PIBOOTD_SPEED_STATE"
	speedProfile = "PIBOOTD_SPEED_PROFILE"
)

// TestMain serves instead of testing where the environment says so, so that the server is a process
// of its own whose CPU time can be read.
func TestMain(m *testing.M) {
	dir := os.Getenv(speedState)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := serveSpeed(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serveSpeed serves on s0 until it gets SIGTERM.
func serveSpeed(dir string) error {
	ctx, stop := ossignal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if name := os.Getenv(speedProfile); name != "" {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	st, err := store.Open(ctx, filepath.Join(dir, "db"))
	if err != nil {
		return err
	}
	defer st.Close()
	pool, err := OpenPool(ctx, st, speedFirst, speedLast, nil)
	if err != nil {
		return err
	}
	conn, err := Listen("s0", speedServer.Addr(), serverPort)
	if err != nil {
		return err
	}
	defer conn.Close()
	return (&Server{Policy: boards{}, Addr: speedServer, Pool: pool}).Serve(ctx, conn)
}

func runOurs(t *testing.T, ns *netlab.Namespace) *process {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), speedState+"="+t.TempDir())
	return startProcess(t, ns, cmd)
}

func runDnsmasq(t *testing.T, ns *netlab.Namespace) *process {
	dir := t.TempDir()
	return startProcess(t, ns, peers.Dnsmasq("--no-ping", "--interface=s0", "--dhcp-authoritative", "--dhcp-lease-max=65536", "--quiet-dhcp", "--log-facility="+filepath.Join(dir, "log"),
		"--pid-file="+filepath.Join(dir, "pid"), "--dhcp-leasefile="+filepath.Join(dir, "leases"),
		fmt.Sprintf("--dhcp-range=%s,%s,255.255.0.0,12h", speedFirst, speedLast)))
}

func runKea(t *testing.T, ns *netlab.Namespace) *process {
	dir := t.TempDir()
	config := filepath.Join(dir, "kea.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `{"Dhcp4": {
		"interfaces-config": {"interfaces": ["s0"], "dhcp-socket-type": "udp"},
		"lease-database": {"type": "memfile", "persist": true, "name": %q, "lfc-interval": 0},
		"valid-lifetime": 43200,
		"subnet4": [{"id": 1, "subnet": "10.77.0.0/16", "pools": [{"pool": "%s - %s"}]}],
		"loggers": [{"name": "kea-dhcp4", "severity": "ERROR", "output_options": [{"output": %q}]}]
	}}`, filepath.Join(dir, "leases"), speedFirst, speedLast, filepath.Join(dir, "log")), 0o600))
	cmd := peers.Command("kea-dhcp4", "-c", config)
	cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir, "KEA_DHCP_DATA_DIR="+dir, "KEA_LOG_FILE_DIR="+dir)
	return startProcess(t, ns, cmd)
}

func startProcess(t *testing.T, ns *netlab.Namespace, cmd *exec.Cmd) *process {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, ns.Do(cmd.Start))
	return &process{pid: cmd.Process.Pid, stop: func() {
		if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
			t.Errorf("%s ended: %v: %s", cmd, err, out.String())
		}
		_ = cmd.Wait() // some end with an error
	}}
}

var (
	sentPackets     = regexp.MustCompile(`sent packets: ([0-9]+)`)
	receivedPackets = regexp.MustCompile(`received packets: ([0-9]+)`)
	rcvbufErrors    = regexp.MustCompile(`Udp: [0-9]+ [0-9]+ [0-9]+ [0-9]+ ([0-9]+)`)
)

// highestRate returns the answered exchanges a second at the highest of speedRates
// at which the server lost less than 1 %, found by halving. A rate is tried
// twice: other work on the machine must not decide.
func highestRate(t *testing.T, c contender, args ...string) string {
	best := 0
	sort.Search(len(speedRates), func(i int) bool {
		for range 2 {
			if reached := rateOf(t, c, speedRates[i], args...); reached > 0 {
				best = max(best, reached)
				return false
			}
		}
		return true
	})
	return strconv.Itoa(best)
}

// costRate is the rate at which the cost of an exchange is measured: one at which neither the servers
// nor perfdhcp are at their limits, except dnsmasq, whose cost for a DORA is that of those it answers.
const costRate = 1000

// costOf returns the processor time that a server uses for an answered exchange, the median of so
// many runs. Where other work is done on the machine, or perfdhcp is slower than the servers, it says
// more than a rate.
func costOf(t *testing.T, c contender, args ...string) string {
	const runs = 3
	var all []float64
	for range runs {
		all = append(all, withProcess(t, c, func(relay *netlab.Namespace, p *process) (float64, error) {
			before, err := p.cpu()
			if err != nil {
				return 0, err
			}
			run, err := perfdhcp(relay, costRate, args...)
			if err != nil {
				return 0, err
			}
			after, err := p.cpu()
			return float64((after - before).Microseconds()) / float64(run.received/run.exchanges), err
		}))
	}
	slices.Sort(all)
	return fmt.Sprintf("%.0f", all[runs/2])
}

const perfSeconds = 2

// A perfRun is what perfdhcp has counted.
type perfRun struct{ sent, received, late, exchanges int }

func perfdhcp(relay *netlab.Namespace, rate int, args ...string) (perfRun, error) {
	args = append([]string{"-4", "-l", "c0", "-r", strconv.Itoa(rate), "-p", strconv.Itoa(perfSeconds), "-R", "40000", "-W", "1000000"}, args...)
	var out, counters []byte
	err := relay.Do(func() (err error) {
		// The exit status is 3 when something was lost.
		out, _ = exec.Command("perfdhcp", append(args, speedServer.Addr().String())...).CombinedOutput()
		counters, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	r := perfRun{sum(sentPackets, out), sum(receivedPackets, out), sum(rcvbufErrors, counters), len(sentPackets.FindAll(out, -1))}
	if err != nil || r.received == 0 {
		return r, fmt.Errorf("perfdhcp: %w: %s", err, out)
	}
	return r, nil
}

// rateOf returns how many exchanges a second were answered, 0 if the server lost
// 1 %. What came back but did not find room in perfdhcp's socket, which has the
// kernel's usual 200 KB and waits for a processor as the servers do, it did not
// lose.
func rateOf(t *testing.T, c contender, rate int, args ...string) int {
	return with(t, c, func(relay *netlab.Namespace) (int, error) {
		r, err := perfdhcp(relay, rate, args...)
		if err != nil || r.sent-r.received-r.late >= r.sent/100 {
			return 0, err
		}
		return (r.received + r.late) / r.exchanges / perfSeconds, nil
	})
}

// sum adds the numbers that re finds.
func sum(re *regexp.Regexp, text []byte) int {
	total := 0
	for _, m := range re.FindAllSubmatch(text, -1) {
		n, _ := strconv.Atoi(string(m[1]))
		total += n
	}
	return total
}

// relayConn is a relay's socket.
func relayConn(t *testing.T, relay *netlab.Namespace) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	must(t, relay.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(speedRelay.Addr(), serverPort)))
		return err
	}))
	must(t, conn.SetReadBuffer(8<<20))
	return conn
}

func discoverOf(n int) []byte {
	mac := pi.MAC{2, 0x77, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return message(mac, dhcpv4.MessageTypeDiscover, via(speedRelay.Addr().String()), func(m *dhcpv4.DHCPv4) {
		m.TransactionID = dhcpv4.TransactionID(mac[2:])
	}).ToBytes()
}

func awaitOffer(t *testing.T, name string, relay *netlab.Namespace) {
	t.Helper()
	conn := relayConn(t, relay)
	defer conn.Close()
	server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(speedServer.Addr(), serverPort))
	for range 50 {
		_, _ = conn.WriteTo(discoverOf(1<<30), server) // refused, until the server listens
		must(t, conn.SetReadDeadline(time.Now().Add(time.Second/2)))
		if _, _, err := conn.ReadFrom(make([]byte, maxPacket)); err == nil {
			return
		}
	}
	t.Fatalf("%s does not answer", name)
}

// unloaded asks one by one, for clients that the server knows: what boards are
// that were registered or booted before.
func unloaded(t *testing.T, c contender) string {
	return with(t, c, func(relay *netlab.Namespace) (string, error) {
		conn := relayConn(t, relay)
		defer conn.Close()
		server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(speedServer.Addr(), serverPort))
		buf := make([]byte, maxPacket)
		var took []time.Duration
		packet := discoverOf(1 << 30) // of awaitOffer
		for range speedOffers {
			began := time.Now()
			if _, err := conn.WriteTo(packet, server); err != nil {
				return "", err
			}
			if err := conn.SetReadDeadline(began.Add(4 * time.Second)); err != nil {
				return "", err
			}
			if _, _, err := conn.ReadFrom(buf); err != nil {
				return "", err
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return fmt.Sprintf("%.2f, %.2f ms", ms(took[len(took)/2]), ms(took[len(took)*99/100])), nil
	})
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// burst has many new clients ask at once, and counts those that get an OFFER
// before they would ask again.
func burst(t *testing.T, c contender) string {
	return with(t, c, func(relay *netlab.Namespace) (string, error) {
		conn := relayConn(t, relay)
		defer conn.Close()
		server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(speedServer.Addr(), serverPort))
		packets := make([][]byte, speedBurst)
		for i := range packets {
			packets[i] = discoverOf(i)
		}
		began := time.Now()
		go func() {
			for _, p := range packets {
				_, _ = conn.WriteTo(p, server)
			}
		}()
		if err := conn.SetReadDeadline(began.Add(4 * time.Second)); err != nil {
			return "", err
		}
		took := map[dhcpv4.TransactionID]time.Duration{}
		for buf := make([]byte, maxPacket); len(took) < speedBurst; {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				break // those that are missing would ask again
			}
			if n > 8 {
				took[dhcpv4.TransactionID(buf[4:8])] = time.Since(began)
			}
		}
		all := make([]time.Duration, 0, len(took))
		for _, d := range took {
			all = append(all, d)
		}
		slices.Sort(all)
		if len(all) == 0 {
			return "0", nil
		}
		return fmt.Sprintf("%d, %.0f ms", len(all), ms(all[len(all)*99/100])), nil
	})
}
