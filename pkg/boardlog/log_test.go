package boardlog

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// running returns a log that is written until stop is called.
func running(t *testing.T, l *Log) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	return func() { cancel(); <-done }
}

// add writes lines of a board.
func add(t *testing.T, l *Log, board string, lines ...Line) {
	t.Helper()
	stop := running(t, l)
	l.Add(board, lines...)
	stop()
}

func text(format string, args ...any) Line {
	return Line{Source: Syslog, Severity: Notice, Program: "app", Text: fmt.Sprintf(format, args...)}
}

func lines(t *testing.T, l *Log, q Query) []string {
	t.Helper()
	got, err := l.Lines(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{}
	for _, line := range got {
		texts = append(texts, line.Board+" "+line.Text)
	}
	return texts
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%s:\n%q; want\n%q", what, got, want)
	}
}

func TestLines(t *testing.T) {
	l := New(t.TempDir())
	add(t, l, "1", text("one"), text("two"))
	add(t, l, "2", text("Three"))
	l = New(l.Dir) // another run
	add(t, l, "1", text("four"))
	equal(t, "all", lines(t, l, Query{}), "1 one", "1 two", "2 Three", "1 four")
	equal(t, "a board's", lines(t, l, Query{Board: "1"}), "1 one", "1 two", "1 four")
	equal(t, "the last", lines(t, l, Query{Last: 2}), "2 Three", "1 four")
	equal(t, "of a text", lines(t, l, Query{Contains: "tHREE"}), "2 Three")
	equal(t, "of a program", lines(t, l, Query{Contains: "APP: f"}), "1 four")
	equal(t, "of no board", lines(t, l, Query{Board: "3"}))
	all, err := l.Lines(t.Context(), Query{})
	if err != nil || len(all) != 4 {
		t.Fatal(all, err)
	}
	for i, line := range all {
		if i > 0 && line.ID <= all[i-1].ID || line.At.IsZero() || line.Program != "app" || line.Severity != Notice {
			t.Errorf("line %d = %+v", i, line)
		}
	}
	equal(t, "after one", lines(t, l, Query{After: all[1].ID}), "2 Three", "1 four")
}

// What was written by a daemon that was killed, on a full disk or by hand is left out.
func TestTornLines(t *testing.T) {
	l := New(t.TempDir())
	add(t, l, "1", text("one"))
	files, err := filepath.Glob(filepath.Join(l.Dir, "1", "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("rubbish\n17\t2026-03-01T12:04:05Z\tsys"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, "a torn line", lines(t, l, Query{}), "1 one")
	l.writer.torn = map[string]bool{"1": true}
	add(t, l, "1", text("two"))
	equal(t, "lines after it", lines(t, l, Query{}), "1 one", "1 two")
}

func TestSizeIsBounded(t *testing.T) {
	l := New(t.TempDir())
	l.MaxBytes = 64 << 10
	for i := range 30 {
		for j := range 40 {
			l.Add("1", text("%d-%d %s", i, j, strings.Repeat("x", 100)))
		}
		l.write()
	}
	list, err := l.segmentsOf("1")
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, s := range list {
		size += s.size
	}
	if size > l.MaxBytes*5/4 || size < l.MaxBytes/2 || len(list) < 3 {
		t.Errorf("%d bytes in %d files; want about %d at most", size, len(list), l.MaxBytes)
	}
	if got := lines(t, l, Query{Last: 1}); len(got) != 1 || !strings.HasPrefix(got[0], "1 29-39 ") {
		t.Errorf("the last line is %q; want the one that came last", got)
	}
}

// A page is bounded, and pages follow each other without a gap.
func TestPages(t *testing.T) {
	l := New(t.TempDir())
	l.MaxBytes = 1 << 20
	const each = 1200
	for i := range each {
		l.Add("1", text("a %d", i))
		l.Add("2", text("b %d", i))
		if i%100 == 0 {
			l.write()
		}
	}
	l.write()
	var got []Line
	for {
		page, err := l.Lines(t.Context(), Query{After: after(got)})
		if err != nil || len(page) > maxPage {
			t.Fatalf("a page of %d lines, %v; want %d at most", len(page), err, maxPage)
		}
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	if len(got) != 2*each {
		t.Fatalf("%d lines; want %d", len(got), 2*each)
	}
	for i, line := range got {
		if i > 0 && line.ID <= got[i-1].ID {
			t.Fatalf("line %d has ID %d after %d", i, line.ID, got[i-1].ID)
		}
	}
	if n := len(lines(t, l, Query{Last: 5000})); n != maxPage {
		t.Errorf("the last 5000 are %d; want %d at most", n, maxPage)
	}
}

func after(lines []Line) int64 {
	if len(lines) == 0 {
		return 0
	}
	return lines[len(lines)-1].ID
}

func TestAgeIsBounded(t *testing.T) {
	l := New(t.TempDir())
	add(t, l, "1", text("old"))
	add(t, l, "2", text("old too"))
	l.prune(time.Now().Add(29 * 24 * time.Hour))
	equal(t, "before their time", lines(t, l, Query{}), "1 old", "2 old too")
	l.prune(time.Now().Add(31 * 24 * time.Hour))
	equal(t, "after 31 days", lines(t, l, Query{}))
	if left, err := os.ReadDir(l.Dir); err != nil || len(left) != 0 {
		t.Errorf("%v are left, %v; want nothing", left, err)
	}
}

// IDs rise though the clock is set back while the daemon is stopped.
func TestClockSetBack(t *testing.T) {
	l := New(t.TempDir())
	add(t, l, "1", text("one"))
	later := time.Now().Add(time.Hour)
	list, err := l.segmentsOf("1")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := os.Chtimes(list[0].path, later, later); err != nil {
		t.Fatal(err)
	}
	l = New(l.Dir)
	add(t, l, "1", text("two"))
	all, err := l.Lines(t.Context(), Query{})
	if err != nil || len(all) != 2 || all[1].ID <= later.UnixMicro() {
		t.Errorf("lines %+v, %v; want two, the second after %d", all, err, later.UnixMicro())
	}
}

func TestFollow(t *testing.T) {
	l := New(t.TempDir())
	add(t, l, "1", text("0"))
	stop := running(t, l)
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	for line, err := range l.Follow(ctx, Query{Board: "1", Contains: "app"}) {
		if err != nil || line.Text != fmt.Sprint(n) {
			t.Fatalf("line %d = %+v, %v", n, line, err)
		}
		if n++; n == 5 {
			return
		}
		l.Add("2", text("another's"))
		l.Add("1", text("%d", n))
	}
	t.Errorf("%d lines; want 5", n)
}

// A board that logs without end costs the others nothing, and finds are reported all the same.
func TestFloodsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(t.TempDir())
		found := 0
		l.OnFinding = func(_ Line, f Finding) {
			if f == Panic {
				found++
			}
		}
		for range burst + 300 {
			l.Add("1", text("flood"))
		}
		l.Add("1", Line{Source: Netconsole, Text: "Kernel panic - not syncing: flood"})
		l.Add("2", text("whisper"))
		if len(l.waiting) != burst+1 || found != 1 {
			t.Errorf("%d lines and %d panics are kept; want %d and 1", len(l.waiting), found, burst+1)
		}
		time.Sleep(2 * time.Second)
		for range 300 {
			l.Add("1", text("later"))
		}
		if got := len(l.waiting); got != burst+1+2*perSecond+1 {
			t.Errorf("%d lines after two seconds; want %d and the number of those dropped", got, burst+1+2*perSecond)
		}
		if line := l.waiting[burst+1]; line.Text != fmt.Sprintf("301 lines dropped: a board may log %d at once and %d a second", burst, perSecond) {
			t.Errorf("%q", line.Text)
		}
	})
}

func TestWaitingLinesAreBounded(t *testing.T) {
	l := New(t.TempDir())
	for i := range maxWaiting + 10 {
		l.queue(text("%d", i))
	}
	if len(l.waiting) != maxWaiting || l.dropped != 10 {
		t.Errorf("%d wait and %d are dropped; want %d and 10", len(l.waiting), l.dropped, maxWaiting)
	}
}

// A receiver hears boards, and nobody else.
func TestOnlyBoardsAreHeard(t *testing.T) {
	for format, datagram := range map[Format]string{FormatSyslog: "<3>app: hello", FormatNetconsole: "hello\nrest"} {
		l := New(t.TempDir())
		board := netip.MustParseAddr("127.0.0.2")
		r := &Receiver{Log: l, Board: func(a netip.Addr) (string, bool) { return "3333347a", a == board }}
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- r.Serve(ctx, conn, format) }()
		stop := running(t, l)
		for _, from := range []string{"127.0.0.3", "127.0.0.2"} {
			send(t, from, conn.LocalAddr().(*net.UDPAddr), datagram)
		}
		for line, err := range l.Follow(t.Context(), Query{}) {
			if err != nil || line.Text != "hello" || line.Board != "3333347a" {
				t.Errorf("%+v, %v; want the board's hello", line, err)
			}
			break
		}
		if r.Ignored() != 1 {
			t.Errorf("%d datagrams are ignored; want the stranger's", r.Ignored())
		}
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		stop()
		_ = conn.Close()
	}
}

func send(t *testing.T, from string, to *net.UDPAddr, datagram string) {
	t.Helper()
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(datagram)); err != nil {
		t.Fatal(err)
	}
}
