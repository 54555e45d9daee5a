//go:build netns

package daemon

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/nats-io/nats.go"
	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/config"
	"pibootd/pkg/diagnosis"
	"pibootd/pkg/fleet"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/transcode"
	"pibootd/pkg/virtualpi"
	"pibootd/pkg/web"
)

// A sickbay is a daemon and its network, on which boards go wrong.
type sickbay struct {
	net    *netlab.Namespace
	state  string
	client *web.Client
}

// sickFiles are a root that boots every model.
func sickFiles() map[string]string {
	files := map[string]string{
		"sbin/init": "", "bin/sh": "", "etc/os-release": "PRETTY_NAME=Sick\n", "boot/firmware/config.txt": "initramfs initrd.img followkernel\n",
		"boot/firmware/cmdline.txt": "console=tty1\n", "boot/firmware/initrd.img": strings.Repeat("initramfs", 1000),
	}
	for _, name := range []string{
		"bootcode.bin", "start.elf", "fixup.dat", "start4.elf", "fixup4.dat", "kernel8.img", "bcm2710-rpi-3-b.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb",
	} {
		files["boot/firmware/"+name] = strings.Repeat(name, 1000)
	}
	return files
}

// newSickbay starts a daemon for which everything is pace times faster than with real boards.
func newSickbay(t *testing.T, pace int) *sickbay {
	t.Helper()
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	netlabtest.Host{Port: "other"}.Join(t, network) // so that the bridge has a carrier
	state := filepath.Join(t.TempDir(), "state")
	importSick(t, state)
	startProcess(t, network, state, pace)
	return &sickbay{net: network, state: state, client: web.NewClient(sickConfig(state).SocketFile())}
}

func sickConfig(state string) config.Config {
	cfg := config.Default()
	cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", state, config.Embedded
	return cfg
}

// processState names the state directory of a daemon that is a process of its own: all of its
// threads are in a network namespace then. processPace is its Options.Pace.
const (
	processState = "PIBOOTD_TEST_STATE"
	processPace  = "PIBOOTD_TEST_PACE"
)

func TestMain(m *testing.M) {
	state := os.Getenv(processState)
	if state == "" {
		flag.Parse()
		_ = flag.Set("test.parallel", "16") // boards that go wrong keep no processor busy
		os.Exit(m.Run())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	pace, err := strconv.Atoi(os.Getenv(processPace))
	if err == nil {
		err = Run(ctx, Options{Config: sickConfig(state), Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), Pace: pace})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// startProcess returns when a daemon serves the network. It ends with the test.
func startProcess(t *testing.T, network *netlab.Namespace, state string, pace int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processState+"="+state, processPace+"="+strconv.Itoa(pace))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = network.Do(cmd.Start)
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(lines.Text(), "msg=serving") {
		t.Log(lines.Text())
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, out) // a pipe that nobody reads would stop the daemon
	}()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		<-read
		if err := cmd.Wait(); err != nil {
			t.Errorf("the daemon: %v", err)
		}
	})
}

func importSick(t *testing.T, state string) {
	t.Helper()
	source := t.TempDir()
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range sickFiles() {
		data := []byte(text)
		if text == "" {
			data = program
		}
		file := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	templates := &rootfs.Templates{Dir: filepath.Join(state, "templates")}
	if _, _, err := templates.Import(t.Context(), "sick", source, rootfs.ImportOptions{AllowMismatch: true}, nil); err != nil {
		t.Fatal(err)
	}
}

// A patient is a registered board.
type patient struct {
	*sickbay
	t     *testing.T
	name  string
	board *virtualpi.Board
	addr  netip.Addr
	hosts map[netip.Addr]*netlab.Namespace // by system
}

// admit registers the nth board, of a model.
func (s *sickbay) admit(t *testing.T, n int, model virtualpi.Model) *patient {
	t.Helper()
	b := &virtualpi.Board{Model: model, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, byte(n)}, Serial: pi.Serial(0x20000000 + n)}
	if model == virtualpi.Pi3B {
		b.MAC, b.Serial = pi.MAC{0xb8, 0x27, 0xeb, 0, 1, byte(n)}, pi.Serial(0x20000100+n)
	}
	b.Timing = virtualpi.Timing{TFTPRetry: 2 * time.Second, FileTimeout: time.Minute, DHCPTimeout: time.Minute}
	p := &patient{sickbay: s, t: t, name: fmt.Sprintf("pi%d", n), board: b, addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + n)}), hosts: map[netip.Addr]*netlab.Namespace{}}
	added, err := s.client.AddPi(t.Context(), fleet.Request{MAC: b.MAC, Serial: b.Serial, Name: p.name, IP: p.addr}, func(string, int64, int64) {})
	if err != nil || len(added.Lacks) > 0 {
		t.Fatalf("adding %s: %v, it lacks %q", p.name, err, added.Lacks)
	}
	return p
}

// root is a file of the board's root.
func (p *patient) root(name string) string {
	return filepath.Join(p.state, "roots", p.board.Serial.String(), name)
}

func (p *patient) remove(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if err := os.Remove(p.root(name)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *patient) powerOn() error {
	for addr := range p.hosts { // its system ends
		if err := p.net.Delete(p.port(addr)); err != nil {
			p.t.Fatal(err)
		}
		delete(p.hosts, addr)
	}
	_, err := p.board.PowerOn(p.t.Context(), virtualpi.Socket{Namespace: p.net, Bridge: netlabtest.Bridge})
	return err
}

// loads powers the board on, which then has its kernel.
func (p *patient) loads() {
	p.t.Helper()
	if err := p.powerOn(); err != nil {
		p.t.Fatal(err)
	}
}

// system joins the network as the board's system, with an address.
func (p *patient) system(mac pi.MAC, addr netip.Addr) *netlab.Namespace {
	p.t.Helper()
	if host, ok := p.hosts[addr]; ok {
		return host
	}
	host := netlabtest.Host{Port: p.port(addr), MAC: mac, Addr: addr.String() + "/24"}.Join(p.t, p.net)
	p.hosts[addr] = host
	return host
}

// port is where the board's system is plugged in, with an address.
func (p *patient) port(addr netip.Addr) string {
	return p.name + "-" + strings.ReplaceAll(addr.String(), ".", "")[4:]
}

// mount mounts an export from a host, and returns the error.
func mount(host *netlab.Namespace, export string) error {
	return host.Do(func() error {
		m, err := nfsclient.DialMount("10.77.0.1")
		if err != nil {
			return err
		}
		defer m.Close()
		target, err := m.Mount(export, rpc.NewAuthUnix("board", 0, 0).Auth())
		if err == nil {
			target.Close()
		}
		return err
	})
}

// rootExport is what the board mounts as its root.
func (p *patient) rootExport() string { return "/roots/" + p.board.Serial.String() }

// dhcp sends DHCP messages as the board: a DISCOVER, and REQUESTs for addresses of servers.
func (p *patient) dhcp(messages ...*dhcpv4.DHCPv4) {
	p.t.Helper()
	host := netlabtest.Host{Port: p.name + "-dhcp", MAC: p.board.MAC}.Join(p.t, p.net)
	var conn net.PacketConn
	err := host.Do(func() (err error) {
		conn, err = nclient4.NewRawUDPConn("eth0", nclient4.ClientPort)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	for _, m := range messages {
		p.send(conn, m)
	}
}

// send sends a message until it is answered, because the first may be lost while the link comes
// up. One for another server is not answered.
func (p *patient) send(conn net.PacketConn, m *dhcpv4.DHCPv4) {
	p.t.Helper()
	buf := make([]byte, 2048)
	for {
		if _, err := conn.WriteTo(m.ToBytes(), nclient4.DefaultServers); err != nil {
			p.t.Fatal(err)
		}
		if server := m.ServerIdentifier(); server != nil && server.String() != "10.77.0.1" {
			return
		}
		if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			p.t.Fatal(err)
		}
		for {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				break // none within the time: again
			}
			if reply, err := dhcpv4.FromBytes(buf[:n]); err == nil && reply.TransactionID == m.TransactionID {
				return
			}
		}
	}
}

func (p *patient) message(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	p.t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(p.board.MAC[:]), dhcpv4.WithMessageType(kind),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001")),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, pi.EncodeGUID(pi.Pi4, 0xc03111, p.board.MAC, p.board.Serial)),
	}, more...)...)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *patient) discover() *dhcpv4.DHCPv4 { return p.message(dhcpv4.MessageTypeDiscover) }

func (p *patient) request(addr netip.Addr, server string) *dhcpv4.DHCPv4 {
	return p.message(dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(addr.AsSlice())), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server).To4())))
}

// stall asks for a file and confirms its blocks up to one; -1: none, not even the OACK.
func (p *patient) stall(name string, last int) {
	p.t.Helper()
	host := p.system(p.board.MAC, p.addr)
	var conn *net.UDPConn
	err := host.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: p.addr.AsSlice()})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	server := p.ask(conn, append([]byte{0, 1}, fmt.Sprintf("%s/%s\x00octet\x00tsize\x000\x00blksize\x001024\x00", p.board.Serial, name)...))
	for block := 0; block <= last; block++ {
		if block > 0 {
			if _, _, err := conn.ReadFromUDPAddrPort(make([]byte, 2048)); err != nil {
				p.t.Fatal(err)
			}
		}
		if _, err := conn.WriteToUDPAddrPort(binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(block)), server); err != nil {
			p.t.Fatal(err)
		}
	}
	p.wait(diagnosis.TransferBlocked, diagnosis.TransferMTU, diagnosis.TransferLoss) // with the socket open
}

// ask sends a TFTP request until it is answered, because the first may be lost while the link
// comes up, and returns the port that sends the file.
func (p *patient) ask(conn *net.UDPConn, request []byte) netip.AddrPort {
	p.t.Helper()
	for {
		if _, err := conn.WriteToUDPAddrPort(request, netip.MustParseAddrPort("10.77.0.1:69")); err != nil {
			p.t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(3 * time.Second)); err != nil {
			p.t.Fatal(err)
		}
		_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 2048))
		if err != nil {
			continue // none within the time
		}
		if err := conn.SetReadDeadline(time.Time{}); err != nil {
			p.t.Fatal(err)
		}
		return from
	}
}

// worker logs in to the queue as the board's worker, with the token of its root unless another is
// given, and says hello.
func (p *patient) worker(token string, hello transcode.Hello) error {
	p.t.Helper()
	_, mounted := p.hosts[p.addr]
	host := p.system(p.board.MAC, p.addr)
	if !mounted {
		if err := mount(host, p.rootExport()); err != nil {
			p.t.Fatal(err)
		}
	}
	if token == "" {
		token = p.token()
	}
	name := p.board.Serial.String()
	nc, err := nats.Connect("nats://10.77.0.1:4222", nats.UserInfo(name, token), nats.CustomInboxPrefix("_INBOX."+name), nats.SetCustomDialer(dialer{host}), nats.MaxReconnects(0))
	if err != nil {
		return err
	}
	defer nc.Close()
	hello.Protocol = transcode.Protocol
	body, err := json.Marshal(hello)
	if err != nil {
		return err
	}
	_, err = nc.Request(transcode.SubjectHello+"."+name, body, time.Minute)
	return err
}

// A dialer connects from a host.
type dialer struct{ host *netlab.Namespace }

func (d dialer) Dial(network, address string) (conn net.Conn, err error) {
	err = d.host.Do(func() error {
		conn, err = net.Dial(network, address)
		return err
	})
	return conn, err
}

func (p *patient) token() string {
	p.t.Helper()
	text, err := os.ReadFile(p.root("etc/pibootd/worker.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	var cfg struct{ Token string }
	if err := json.Unmarshal(text, &cfg); err != nil {
		p.t.Fatal(err)
	}
	return cfg.Token
}

// wait returns the board's diagnosis when it has one of these codes. An event comes with each.
func (p *patient) wait(codes ...diagnosis.Code) diagnosis.Diagnosis {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Minute)
	defer cancel()
	var last diagnosis.Diagnosis
	for _, err := range p.client.Follow(ctx, p.name, 0) {
		if err != nil {
			break
		}
		shown, err := p.client.Pi(ctx, p.name)
		if err != nil {
			break
		}
		last = shown.Diagnosis
		for _, code := range codes {
			if last.Code == code {
				return last
			}
		}
	}
	p.t.Fatalf("%s is %+v; want one of %s", p.name, last, codes)
	return last
}

// An illness is what goes wrong with a board, and what the daemon says of it. PI stands for the
// board's name, SERIAL for its serial number, IP for its address and N for a number.
type illness struct {
	model virtualpi.Model
	cause func(p *patient)
	state diagnosis.State
	code  diagnosis.Code
	says  string // "": whatever the code says
}

// diagnose has boards go wrong, and checks what is said of each.
func diagnose(t *testing.T, s *sickbay, all map[string]illness) {
	t.Helper()
	n := 0
	for name, is := range all {
		n++
		number := n
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := s.admit(t, number, is.model)
			serial := p.board.Serial
			is.cause(p)
			d := p.wait(is.code)
			words := strings.NewReplacer("PI", p.name, "SERIAL", serial.String(), "OTHER", p.board.Serial.String(), "IP", p.addr.String())
			want := regexp.QuoteMeta(words.Replace(is.says))
			want = regexp.MustCompile(`\bN\b`).ReplaceAllString(want, `[0-9]+`)
			if said := regexp.MustCompile("^" + want + "$"); d.State != is.state || is.says != "" && !said.MatchString(d.Sentence) {
				t.Errorf("%s %q; want %s %q", d.State, d.Sentence, is.state, said)
			}
		})
	}
}

func illnesses() map[string]illness {
	const four, three, five = virtualpi.Pi4B, virtualpi.Pi3B, virtualpi.Pi5
	lacks := func(names ...string) func(p *patient) {
		return func(p *patient) {
			p.remove(names...)
			if p.powerOn() == nil {
				p.t.Errorf("%s boots without %q", p.name, names)
			}
		}
	}
	hello := func(h transcode.Hello) func(*patient) {
		return func(p *patient) {
			p.loads()
			h.Machine.Time = time.Now()
			if err := p.worker("", h); err != nil {
				p.t.Fatal(err)
			}
		}
	}
	elsewhere := netip.MustParseAddr("10.77.0.77")
	return map[string]illness{
		"no start4.elf":  {four, lacks("boot/firmware/start4.elf"), diagnosis.Stuck, diagnosis.MissingFirmware, "PI is a Raspberry Pi 4B and finds no firmware, start4.elf."},
		"no start.elf":   {three, lacks("boot/firmware/start.elf"), diagnosis.Stuck, diagnosis.MissingFirmware, "PI is a Raspberry Pi 3B and finds no firmware, start.elf."},
		"no boot code":   {three, lacks("boot/firmware/bootcode.bin"), diagnosis.Stuck, diagnosis.MissingBootCode, "PI is a Raspberry Pi 3B and finds no boot code, bootcode.bin."},
		"no kernel":      {four, lacks("boot/firmware/kernel8.img"), diagnosis.Stuck, diagnosis.MissingKernel, "PI is a Raspberry Pi 4B and finds no kernel, kernel8.img."},
		"no device tree": {five, lacks("boot/firmware/bcm2712-rpi-5-b.dtb"), diagnosis.Stuck, diagnosis.MissingTree, "PI is a Raspberry Pi 5 and finds no device tree, bcm2712-rpi-5-b.dtb or bcm2712d0-rpi-5-b.dtb."},
		"no initramfs":   {four, lacks("boot/firmware/initrd.img"), diagnosis.Stuck, diagnosis.MissingInitramfs, "PI is a Raspberry Pi 4B and finds no initramfs, initrd.img, which its config.txt names."},
		"another serial number": {four, func(p *patient) { p.board.Serial += 0x1000; p.loads() }, diagnosis.Booting, diagnosis.SerialMismatch,
			"PI is registered with the serial number SERIAL, and its boot code says OTHER."},
		"a wrong prefix": {four, func(p *patient) { p.board.Prefix = "0badcafe/"; p.loads() }, diagnosis.Booting, diagnosis.WrongPrefix,
			"PI asks for its files in 0badcafe, and its own directory is SERIAL."},
		"another directory": {three, func(p *patient) { p.board.MaskROM = true; p.board.Serial += 0x1000; p.loads() }, diagnosis.Booting, diagnosis.WrongPrefix,
			"PI asks for its files in OTHER, and its own directory is SERIAL."},
		"another server": {four, func(p *patient) { p.dhcp(p.discover(), p.request(elsewhere, "10.77.0.254")) }, diagnosis.Stuck, diagnosis.OtherServer,
			"PI accepted the offer of another DHCP server, 10.77.0.254."},
		"another address": {four, func(p *patient) { p.dhcp(p.discover(), p.request(elsewhere, "10.77.0.1")) }, diagnosis.Stuck, diagnosis.AddressRefused,
			"PI was refused the address that it asked for: asked for 10.77.0.77, which is not the reserved address."},
		"no TFTP": {four, func(p *patient) {
			r := p.request(p.addr, "10.77.0.1")
			p.dhcp(p.discover(), r, p.discover(), r, p.discover(), r, p.discover(), r)
		}, diagnosis.Stuck, diagnosis.NoTFTP, "PI has got its address 4 times and asks for no file."},
		"an address in use": {four, func(p *patient) {
			netlabtest.Host{Port: p.name + "-user", MAC: pi.MAC{0x52, 0x54, 0, 0, 0, 9}, Addr: p.addr.String() + "/24"}.Join(p.t, p.net)
			p.dhcp(p.discover())
		}, diagnosis.Stuck, diagnosis.AddressInUse, "IP, the address of PI, is used by another host, 52:54:00:00:00:09."},
		"a firewall":     {four, func(p *patient) { p.stall("kernel8.img", -1) }, diagnosis.Stuck, diagnosis.TransferBlocked, "PI asks for SERIAL/kernel8.img and confirms none of its packets: something between drops them."},
		"a small MTU":    {four, func(p *patient) { p.stall("kernel8.img", 0) }, diagnosis.Stuck, diagnosis.TransferMTU, "SERIAL/kernel8.img stalls at block 1 of 11, the first full packet to PI: small packets arrive, large ones do not."},
		"a cable":        {four, func(p *patient) { p.stall("kernel8.img", 3) }, diagnosis.Stuck, diagnosis.TransferLoss, "SERIAL/kernel8.img stalls at block 4 of 11 on its way to PI: packets are lost."},
		"another's root": {four, func(p *patient) { p.loads(); _ = mount(p.system(p.board.MAC, p.addr), "/roots/00000001") }, diagnosis.Stuck, diagnosis.MountRefused, ""},
		"another's mount": {four, func(p *patient) {
			p.loads()
			_ = mount(p.system(pi.MAC{0x52, 0x54, 0, 0, 1, 1}, netip.MustParseAddr("10.77.0.88")), p.rootExport())
		}, diagnosis.Stuck, diagnosis.StrayMount,
			"10.77.0.88 was refused the root of PI; if that is the board itself, another DHCP server has given it that address."},
		"an address of another server": {four, func(p *patient) { p.loads(); _ = mount(p.system(p.board.MAC, elsewhere), p.rootExport()) }, diagnosis.Stuck, diagnosis.OtherAddress,
			"PI asked for its root from 10.77.0.77, not from IP as registered: another DHCP server has answered it."},
		"no init": {four, func(p *patient) {
			p.remove("sbin/init")
			p.loads()
			if err := mount(p.system(p.board.MAC, p.addr), p.rootExport()); err != nil {
				p.t.Fatal(err)
			}
		}, diagnosis.Stuck, diagnosis.NoInit, "PI mounted its root, which has no init (/sbin/init)."},
		"another's scratch": {four, func(p *patient) {
			p.loads()
			host := p.system(p.board.MAC, p.addr)
			if err := mount(host, p.rootExport()); err != nil {
				p.t.Fatal(err)
			}
			_ = mount(host, "/scratch/00000001")
		}, diagnosis.Stuck, diagnosis.ShareRefused, ""},
		"a wrong token": {four, func(p *patient) {
			p.loads()
			if p.worker("wrong", transcode.Hello{}) == nil {
				p.t.Error("the queue accepts a wrong token")
			}
		}, diagnosis.Stuck, diagnosis.WorkerRefused, "PI runs, and the queue refuses its worker: from IP: wrong token."},
		"no ffmpeg":        {four, hello(transcode.Hello{NoFFmpeg: "executable file not found"}), diagnosis.Stuck, diagnosis.NoFFmpeg, "PI is up, and its worker has no ffmpeg that works: executable file not found."},
		"voltage":          {four, hello(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{Throttled: 0x50005}}), diagnosis.Slow, diagnosis.UnderVoltage, "PI has had too little voltage since it was started, so it works slower or fails."},
		"heat":             {four, hello(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{Throttled: 0xe0000}}), diagnosis.Slow, diagnosis.Throttled, "PI has been too hot since it was started, so it works slower."},
		"a full root":      {four, hello(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{RootSize: 1 << 30, RootFree: 2 << 20}}), diagnosis.Stuck, diagnosis.RootFull, "PI is up, and its root is full: 2 MB are free."},
		"a read-only root": {four, hello(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{RootReadOnly: true}}), diagnosis.Stuck, diagnosis.RootReadOnly, "PI is up, and its root is read-only."},
		"none":             {four, hello(transcode.Hello{FFmpeg: "7"}), diagnosis.Well, diagnosis.OK, "PI is up, and its worker is online."},
		"a shutdown": {four, func(p *patient) {
			hello(transcode.Hello{FFmpeg: "7"})(p)
			if err := p.worker("", transcode.Hello{FFmpeg: "7", Leaving: true}); err != nil {
				p.t.Fatal(err)
			}
		}, diagnosis.Off, diagnosis.ShutDown, "PI was shut down, or its worker was stopped."},
		"a loop": {four, func(p *patient) { p.loads(); p.loads(); p.loads() }, diagnosis.Stuck, diagnosis.RebootLoop, "PI has started 3 times in a minute and came no further than its kernel."},
	}
}

// Virtual boards go wrong before a real daemon, which names what is wrong with each as soon as it
// has seen it.
func TestDiagnoses(t *testing.T) { diagnose(t, newSickbay(t, 1), illnesses()) }
