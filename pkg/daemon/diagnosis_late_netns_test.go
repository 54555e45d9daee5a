//go:build netns

package daemon

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/transcode"
	"pibootd/pkg/virtualpi"
)

// pace is how much faster than real boards those are whose deadlines pass: their kernel has 6 s.
const pace = 20

// hangAfter powers the board on, which hangs as soon as it has this file.
func (p *patient) hangAfter(file string) {
	ended := make(chan struct{})
	p.board.OnStep = func(s virtualpi.Step) {
		if s.Name == virtualpi.Fetched && strings.HasSuffix(s.File, "/"+file) {
			<-p.t.Context().Done()
		}
	}
	go func() {
		defer close(ended)
		_, _ = p.board.PowerOn(p.t.Context(), virtualpi.Socket{Namespace: p.net, Bridge: netlabtest.Bridge}) // it hangs until the test ends
	}()
	p.t.Cleanup(func() { <-ended })
}

// systemMessage is like message, of a client that is no boot code.
func (p *patient) systemMessage(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	m := p.message(kind, more...)
	m.DeleteOption(dhcpv4.OptionClassIdentifier)
	m.DeleteOption(dhcpv4.OptionClientMachineIdentifier)
	return m
}

// asksAgain has the board's system get its address by DHCP.
func (p *patient) asksAgain() {
	p.t.Helper()
	p.dhcp(p.systemMessage(dhcpv4.MessageTypeDiscover), p.systemMessage(dhcpv4.MessageTypeRequest,
		dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(p.addr.AsSlice())), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP("10.77.0.1").To4()))))
}

// mounts has the board's system mount exports.
func (p *patient) mounts(exports ...string) {
	p.t.Helper()
	for _, export := range exports {
		if err := mount(p.system(p.board.MAC, p.addr), export); err != nil {
			p.t.Fatal(err)
		}
	}
}

// logs has the board's kernel send a line until the test ends: a packet can be lost.
func (p *patient) logs(line string) {
	p.t.Helper()
	var conn net.Conn
	if err := p.system(p.board.MAC, p.addr).Do(func() (err error) {
		conn, err = net.Dial("udp", "10.77.0.1:6666")
		return err
	}); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer conn.Close()
		for tick := time.Tick(time.Second); ; {
			_, _ = conn.Write([]byte("6,123,456,-;" + line + "\n"))
			select {
			case <-tick:
			case <-p.t.Context().Done():
				return
			}
		}
	}()
}

// after waits for a time that belongs to what goes wrong.
func (p *patient) after(d time.Duration) {
	p.t.Helper()
	select {
	case <-time.After(d):
	case <-p.t.Context().Done():
		p.t.Fatal("the test has ended")
	}
}

// works boots the board up to its worker; its kernel takes a while. It returns what is said of it.
func (p *patient) works(kernel time.Duration) diagnosis.Diagnosis {
	p.t.Helper()
	p.loads()
	p.after(kernel)
	p.mounts(p.rootExport())
	p.says(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{Time: time.Now()}})
	shown, err := p.client.Pi(p.t.Context(), p.name)
	if err != nil {
		p.t.Fatal(err)
	}
	return shown.Diagnosis
}

// says has the board's worker say something.
func (p *patient) says(hello transcode.Hello) {
	p.t.Helper()
	if err := p.worker("", hello); err != nil {
		p.t.Fatal(err)
	}
}

// shutDown ends the board's worker.
func (p *patient) shutDown() { p.says(transcode.Hello{FFmpeg: "7", Leaving: true}) }

// lateIllnesses are those that no event shows: a time has to pass.
func lateIllnesses() map[string]illness {
	const four = virtualpi.Pi4B
	stuck := diagnosis.Stuck
	return map[string]illness{
		"an address is not accepted": {four, func(p *patient) { p.dhcp(p.discover()) }, stuck, diagnosis.OfferIgnored, ""},
		"no file is asked for":       {four, func(p *patient) { p.dhcp(p.discover(), p.request(p.addr, "10.77.0.1")) }, stuck, diagnosis.NoTFTP, ""},
		"no boot directory": {four, func(p *patient) {
			if err := os.RemoveAll(p.root("boot")); err != nil {
				p.t.Fatal(err)
			}
			_ = p.powerOn()
		}, stuck, diagnosis.NoBootFiles, ""},
		"firmware that hangs": {four, func(p *patient) { p.hangAfter("fixup4.dat") }, stuck, diagnosis.FirmwareSilent,
			"PI asked for SERIAL/fixup4.dat last and then for nothing more, though its kernel is still to come."},
		"a kernel that is not heard": {four, func(p *patient) { p.loads() }, stuck, diagnosis.KernelSilent,
			"PI loaded SERIAL/kernel8.img and has sent nothing since: this kernel does not run on the board, or it has no driver for its network."},
		"a kernel without its modules": {four, func(p *patient) {
			if err := os.MkdirAll(p.root("lib/modules/6.12.2"), 0o755); err != nil {
				p.t.Fatal(err)
			}
			if err := os.WriteFile(p.root("boot/firmware/kernel8.img"), []byte("Linux version 6.12.1 (pi)"), 0o644); err != nil {
				p.t.Fatal(err)
			}
			p.loads()
		}, stuck, diagnosis.KernelModules,
			"PI loaded SERIAL/kernel8.img, whose modules are not in its root, and has sent nothing since: " +
				"boot/firmware/kernel8.img: is Linux 6.12.1, whose modules lib/modules/6.12.1 are not in the root (there are: 6.12.2)."},
		"a kernel that does not mount": {four, func(p *patient) { p.loads(); p.asksAgain() }, stuck, diagnosis.NoMount,
			"PI runs its kernel, which has an address and does not ask for its root."},
		"a kernel that logs": {four, func(p *patient) { p.loads(); p.logs("eth0: link is not ready") }, stuck, diagnosis.KernelStopped,
			"PI runs its kernel, which has not mounted its root; it logged last: [    0.000456] eth0: link is not ready."},
		"a system that does not come up": {four, func(p *patient) { p.loads(); p.mounts(p.rootExport()) }, stuck, diagnosis.InitSilent,
			"PI mounted its root and has sent nothing since: its system does not come up, or its worker does not start."},
		"a worker that does not start": {four, func(p *patient) { p.loads(); p.mounts(p.rootExport()); p.asksAgain() }, stuck, diagnosis.NoWorker,
			"PI runs, and its worker has not started."},
		"a worker that does not reach the queue": {four, func(p *patient) {
			p.loads()
			p.mounts(p.rootExport(), "/scratch/"+p.board.Serial.String())
		}, stuck, diagnosis.WorkerSilent, "PI runs, and its worker has not reached the queue."},
		"a wrong clock": {four, func(p *patient) {
			p.loads()
			p.says(transcode.Hello{FFmpeg: "7", Machine: transcode.Machine{Time: time.Now().Add(time.Hour)}})
		}, diagnosis.Slow, diagnosis.ClockWrong, "The clock of PI is N s fast."},
		"a board that falls silent": {four, func(p *patient) {
			p.works(0)
		}, stuck, diagnosis.Silent, "PI was up and has fallen silent without being shut down: its power or its network is gone, or it hangs."},
		"a port that is blocked after each restart": {four, func(p *patient) {
			for p.works(0).Code != diagnosis.LateDiscover {
				p.shutDown()
				p.after(3 * time.Second) // 60 s of a real board, from the end of its worker
			}
		}, diagnosis.Slow, diagnosis.LateDiscover,
			"PI asks for an address only N s after each restart, so its switch port is blocked for that long (spanning tree)."},
		"a boot slower than the ten before": {four, func(p *patient) {
			longest := time.Second
			for range 10 {
				for _, stage := range p.works(0).Stages {
					longest = max(longest, time.Duration(stage.Seconds*float64(time.Second)))
				}
				p.shutDown()
			}
			p.works(3 * longest)
		}, diagnosis.Slow, diagnosis.SlowStage, "PI took N s for its kernel, for which it usually takes N s."},
	}
}

// Virtual boards stop before a real daemon, which says why when their time is over.
func TestDiagnosesInTime(t *testing.T) { diagnose(t, newSickbay(t, pace), lateIllnesses()) }
