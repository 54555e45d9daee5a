package boardlog

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestParseSyslog(t *testing.T) {
	for datagram, want := range map[string]string{
		// RFC 5424 §6.5
		"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \ufeff'su root' failed for lonvick on /dev/pts/8":                 "2 su|'su root' failed for lonvick on /dev/pts/8",
		"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"a \\\"]b\"][x@1 y=\"2\"] An event": "5 evntslog|An event",
		"<165>1 2003-10-11T22:14:15.003Z host evntslog - ID47 [exampleSDID@32473 iut=\"3\"]":                                                "5 evntslog|",
		"<165>1 - - - - - -":     "5 |",
		"<0>1 - - - - - - panic": "0 kernel|panic",
		// RFC 3164 §5.4
		"<34>Oct 11 22:14:15 mymachine su: 'su root' failed": "2 su|'su root' failed",
		"<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!":         "5 |10.0.0.99 Use the BFG!",
		"Use the BFG!": "5 |Use the BFG!",
		// rsyslog, logger(1), busybox, netcat of dmesg -r
		"<30>2026-11-30T08:43:25.123456+00:00 pi sshd[812]: Server listening": "6 sshd|Server listening",
		"<13>Nov 30 08:43:25 ada: hello":                                      "5 ada|hello",
		"<46>Nov 30 08:43:25 pi syslogd started":                              "6 |pi syslogd started",
		"<6>[    1.234567] smsc95xx 1-1.1:1.0 eth0":                           "6 kernel|[    1.234567] smsc95xx 1-1.1:1.0 eth0",
		"<3>usb: no\n<6>[    2.0] fine\n":                                     "3 usb|no\n6 kernel|[    2.0] fine",
		"<11>Nov 30 08:43:25 pi app: one\n  two":                              "3 app|one\n3 app|  two",
		"<192>odd":                                                            "5 |<192>odd",
		"<1111>odd":                                                           "5 |<1111>odd",
		"<>":                                                                  "5 |<>",
		"<-1>odd":                                                             "5 |<-1>odd",
		"":                                                                    "5 |",
	} {
		var got []string
		for _, l := range parseSyslog(datagram) {
			got = append(got, fmt.Sprintf("%d %s|%s", l.Severity, l.Program, l.Text))
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("parseSyslog(%q) =\n%s; want\n%s", datagram, strings.Join(got, "\n"), want)
		}
	}
}

func TestNetconsole(t *testing.T) {
	for _, test := range []struct {
		datagrams []string
		want      string
	}{
		{[]string{"[    1.5] usb: found\n"}, "5 [    1.5] usb: found"},
		{[]string{"RPi: BOOTLOADER\r\nTFTP_", "GET: 10.0.0.1", " start4.elf\n", "Read"}, "5 RPi: BOOTLOADER\r|5 TFTP_GET: 10.0.0.1 start4.elf"},
		{[]string{"6,416,1758426,-;virtio_net: up\n SUBSYSTEM=net\n DEVICE=n2\n"}, "6 [    1.758426] virtio_net: up"},
		{[]string{"6.12.1-rpi7,0,417,12345678901,-;Kernel panic"}, "0 [12345.678901] Kernel panic"},
		{[]string{"3,1,0,-,ncfrag=0/1300;long"}, "3 [    0.000000] long"},
		{[]string{"half", "4,2,5000000,-;whole"}, "5 half|4 [    5.000000] whole"},
		{[]string{"a;b\n", "1,2;c\n", "x,y,z,-;d\n", "\n\n"}, "5 a;b|5 1,2;c|5 x,y,z,-;d"},
		{[]string{strings.Repeat("x", maxText), "y", "\n"}, "5 " + strings.Repeat("x", maxText) + "|5 y"},
	} {
		var a assembler
		var got []string
		for _, d := range test.datagrams {
			for _, l := range a.add("3333347a", d, noon) {
				got = append(got, fmt.Sprintf("%d %s", l.Severity, l.Text))
			}
		}
		if strings.Join(got, "|") != test.want {
			t.Errorf("%q = %q; want %q", test.datagrams, strings.Join(got, "|"), test.want)
		}
	}
}

var noon = time.Date(2026, 3, 1, 12, 4, 5, 123456789, time.UTC)

// Part of a line is shown after a second, and belongs to the board that has sent it.
func TestLatePieces(t *testing.T) {
	var a assembler
	if got := append(a.add("1", "one", noon), a.add("2", "two", noon.Add(time.Second))...); got != nil {
		t.Errorf("parts of lines became %+v", got)
	}
	got := a.late(noon.Add(time.Second))
	if len(got) != 1 || len(got["1"]) != 1 || got["1"][0].Text != "one" {
		t.Errorf("late = %+v; want board 1's", got)
	}
	if got := a.late(noon.Add(time.Hour)); len(got["2"]) != 1 || len(a.pieces) != 0 {
		t.Errorf("late = %+v, and %d are left; want board 2's, and none", got, len(a.pieces))
	}
}

func TestFinding(t *testing.T) {
	kernel := func(text string) Line { return Line{Source: Netconsole, Text: text} }
	for _, test := range []struct {
		line Line
		want Finding
	}{
		{kernel("[    9.1] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"), Panic},
		{kernel("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"), Panic},
		{kernel("---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100 ]---"), ""},
		{kernel("Internal error: Oops: 0000000096000044 [#1] SMP"), Oops},
		{kernel("Unable to handle kernel NULL pointer dereference at virtual address 0000000000000000"), Oops},
		{kernel("Out of memory: Killed process 412 (ffmpeg) total-vm:1024kB"), OutOfMemory},
		{Line{Source: Journal, Program: KernelProgram, Text: "Memory cgroup out of memory: Killed process 1 (x)"}, OutOfMemory},
		{Line{Source: Syslog, Program: KernelProgram, Text: "Under-voltage detected! (0x00050005)"}, UnderVoltage},
		{kernel("hwmon hwmon1: Undervoltage detected!"), UnderVoltage},
		{kernel("hwmon hwmon1: Voltage normalised"), ""},
		{Line{Source: Journal, Program: "bash", Text: "Kernel panic - not syncing: says a user"}, ""},
	} {
		if got := test.line.Finding(); got != test.want {
			t.Errorf("Finding of %+v = %q; want %q", test.line, got, test.want)
		}
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"\x1b[0;1;31mFailed\x1b[0m to start": "Failed to start",
		"\x1b]0;title\a$ \x1b]2;t\x1b\\x":    "$ \\x",
		"a\tb\r\n":                           "a b",
		"a\x1b":                              "a",
		"a\x1b[12":                           "a",
		"a\x9bb\x00\u202ec":                  "a\ufffdb\ufffdc",
		"a\u0085b":                           "a\ufffdb",
		"ünïcode \u2713":                     "ünïcode \u2713",
		strings.Repeat("ü", maxText):         strings.Repeat("ü", maxText/2),
	} {
		if got := clean(s, maxText); got != want {
			t.Errorf("clean(%q) = %q; want %q", s, got, want)
		}
	}
}

func TestString(t *testing.T) {
	for want, l := range map[string]Line{
		"12:04:05.123  hlspi1  console  [    1.5] usb": {Name: "hlspi1", Source: Netconsole, Text: "[    1.5] usb"},
		"12:04:05.123  3333347a  journal  sshd: hello": {Board: "3333347a", Source: Journal, Program: "sshd", Text: "hello"},
	} {
		l.At = noon
		if got := l.String(); got != want {
			t.Errorf("String = %q; want %q", got, want)
		}
	}
}

// showable fails unless a line can be stored, read back and shown.
func showable(t *testing.T, l Line) {
	t.Helper()
	l = l.cleaned()
	l.ID, l.At, l.Board = 7, noon, "3333347a"
	if shown := l.String(); !utf8.ValidString(shown) || strings.ContainsFunc(shown, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		t.Errorf("String = %q", shown)
	}
	stored := string(l.appendTo(nil))
	again, ok := parseStored("3333347a", strings.TrimSuffix(stored, "\n"))
	if !ok || again != l || strings.Count(stored, "\n") != 1 || len(stored) > maxText+maxProgram+100 {
		t.Errorf("%q is read as %+v, %t; want %+v", stored, again, ok, l)
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("<34>1 2003-10-11T22:14:15.003Z h su - ID47 [a b=\"\\]\"] x")
	f.Add("<34>Oct 11 22:14:15 mymachine su[1]: 'su root'\n<6>[ 1.0] x\x1b[2J")
	f.Add("<13>a\tb[\x00]: \xff")
	f.Fuzz(func(t *testing.T, datagram string) {
		for _, l := range parseSyslog(datagram) {
			showable(t, l)
		}
	})
}

func FuzzNetconsole(f *testing.F) {
	f.Add("6,416,1758426,-;virtio_net: up\n SUBSYSTEM=net\n", "x")
	f.Add("6.12.1,0,417,12345678901,-;Kernel panic", "half\n")
	f.Add(strings.Repeat("x", 3*maxText), "\x1b]0;t")
	f.Fuzz(func(t *testing.T, one, two string) {
		var a assembler
		lines := append(a.add("b", one, noon), a.add("b", two, noon)...)
		for _, l := range append(lines, a.late(noon.Add(time.Hour))["b"]...) {
			showable(t, l)
		}
		if len(a.pieces) != 0 {
			t.Errorf("%v are left", a.pieces)
		}
	})
}

func FuzzStored(f *testing.F) {
	f.Add("7\t2026-03-01T12:04:05.123456789Z\tsyslog\t5\tsu\ttext")
	f.Add("7\t\t\t\t\t")
	f.Fuzz(func(t *testing.T, stored string) {
		if l, ok := parseStored("b", stored); ok {
			showable(t, l)
		}
	})
}
