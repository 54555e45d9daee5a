package boot

import (
	"net/netip"
	"strings"
	"testing"

	"pibootd/pkg/boardlog"
	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
)

// Kernels send their log to this machine where that is asked for, and boards behind a router,
// whose Ethernet address is unknown, do not.
func TestNetconsoleArguments(t *testing.T) {
	asked := server
	mac := pi.MAC{0x02, 0, 0, 0, 0, 1}
	asked.Netconsole = &Netconsole{Device: "eth0", Port: 6666, Network: netip.MustParsePrefix("10.0.0.0/24"), MAC: func() pi.MAC { return mac }}
	const base = "netconsole=@/,@10.9.9.9/ quiet\n"
	const target = "netconsole=+6665@10.0.0.11/eth0,6666@10.0.0.1/"
	for _, test := range []struct {
		server Server
		mac    pi.MAC
		ip     string
		want   string
	}{
		{asked, mac, "10.0.0.11", " " + target + "02:00:00:00:00:01 netconsole." + target + "02:00:00:00:00:01 modules_load=netconsole"},
		{asked, pi.MAC{}, "10.0.0.11", " " + target + " netconsole." + target + " modules_load=netconsole"},
		{asked, mac, "10.0.1.11", ""},
		{server, mac, "10.0.0.11", "netconsole=@/,@10.9.9.9/"},
	} {
		mac = test.mac
		board := hlspi1
		board.IP = netip.MustParseAddr(test.ip)
		got := test.server.CommandLine(base, board, true)
		if !strings.Contains(got, test.want) || test.server.Netconsole != nil && strings.Contains(got, "10.9.9.9") || test.want == "" && strings.Contains(got, "netconsole") {
			t.Errorf("CommandLine of %s = %q; want %q in it", test.ip, got, test.want)
		}
	}
}

func TestSyslogArgument(t *testing.T) {
	for port, want := range map[int]bool{0: false, 514: false, 5514: true} {
		s := server
		s.SyslogPort = port
		if got := s.CommandLine("", hlspi1, true); strings.Contains(got, " pibootd.syslog=5514") != want {
			t.Errorf("CommandLine with syslog port %d = %q", port, got)
		}
	}
}

// What a kernel says of its board is an event of the board, once a minute for each kind.
func TestFindingsAreEvents(t *testing.T) {
	p := newPolicy(t)
	const text = "[    9.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"
	for _, line := range []boardlog.Line{
		{Board: "99999999", Text: text}, {Board: "no board", Text: text},
		{Board: "3333347a", Text: text}, {Board: "3333347a", Text: text},
	} {
		p.Found(line, boardlog.Panic)
	}
	p.Found(boardlog.Line{Board: "3333347a", Text: "Undervoltage detected!"}, boardlog.UnderVoltage)
	var got []timeline.Event
	for event, err := range p.Timeline.Follow(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, event); len(got) == 2 {
			break
		}
	}
	if got[0].Kind != timeline.Panic || got[0].Detail != text || got[0].Name != "hlspi1" || got[1].Kind != timeline.UnderVoltage {
		t.Errorf("events %+v; want the board's panic, once, and its under-voltage", got)
	}
}
