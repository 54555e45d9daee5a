package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// Without a terminal, progress that has not changed is not printed again, however
// often it is reported.
func TestLogHasNoLineTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := jobProgress{meter: newMeter(streams{err: &out})}
		for range 60 {
			p.follow(queue.Job{State: queue.Running, TotalFrames: 300, FPS: float64(time.Now().Second()), Units: []queue.UnitState{
				{ID: "audio", Kind: transcode.KindAudio, State: "running", Worker: "3333347a"},
			}})
			time.Sleep(time.Second)
		}
		p.clear()
		if want := "transcoding on 1 worker  0 %\n"; out.String() != want {
			t.Errorf("a minute without a change prints %q; want one line", out.String())
		}
	})
}

// Without a terminal, there is at most one line in ten seconds.
func TestLogHasALineInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out timedLines
		out.start = time.Now()
		m := newMeter(streams{err: &out})
		for i := range int64(60) {
			m.report("download", i*1e6, 60e6)
			time.Sleep(time.Second)
		}
		m.clear()
		if n := len(out.lines); n < 6 || n > 7 {
			t.Fatalf("a minute prints %d lines %q; want one in ten seconds", n, out.lines)
		}
		for i, line := range out.lines {
			at, text, _ := strings.Cut(line, " ")
			if at != (time.Duration(i)*lineInterval).String() || !strings.HasPrefix(text, "downloading packages  ") || i > 0 && !strings.Contains(text, " %  1.0 MB/s  ETA ") {
				t.Errorf("line %d is %q; want the step, its rate and its rest at %v", i, line, time.Duration(i)*lineInterval)
			}
		}
	})
}

// timedLines records the time of each line.
type timedLines struct {
	start time.Time
	lines []string
}

func (l *timedLines) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		l.lines = append(l.lines, fmt.Sprintf("%v %s", time.Since(l.start), strings.TrimSuffix(line, "\n")))
	}
	return len(text), nil
}

// A long step that starts soon after the last line is printed even if nothing more
// is reported.
func TestLogShowsALongStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := timedLines{start: time.Now()}
		m := newMeter(streams{err: &out})
		m.report("package lists", 0, 0)
		time.Sleep(3 * time.Second)
		m.report("install", 0, 0)
		time.Sleep(time.Minute)
		m.clear()
		want := []string{"0s downloading package lists", "10s installing packages"}
		if strings.Join(out.lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("printed %q; want %q", out.lines, want)
		}
	})
}

// A pending line is dropped at the end, because the result follows.
func TestClearedProgressIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := newMeter(streams{err: &out})
		m.report("copy", 0, 0)
		m.report("write to disk", 0, 0)
		m.clear()
		time.Sleep(time.Minute)
		if out.String() != "copying\n" {
			t.Errorf("printed %q; want the first step only", out.String())
		}
	})
}

// On a terminal, one line is drawn over itself and erased at the end.
func TestBarIsDrawnOverItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := newMeter(streams{err: &out, terminal: true, width: 80})
		for i := range int64(11) {
			m.report("unpack", i*10e6, 100e6)
			time.Sleep(time.Second)
		}
		m.note("a note")
		m.report("write to disk", 0, 0)
		m.clear()
		draws := strings.Split(out.String(), "\r\033[K")
		if want := "unpacking  [===============               ]  50 %  10.0 MB/s  ETA 5s"; draws[6] != want {
			t.Errorf("half-way the bar is %q; want %q", draws[6], want)
		}
		if tail := draws[len(draws)-3:]; tail[0] != "a note\n" || tail[1] != "writing to disk" || tail[2] != "" {
			t.Errorf("the end is %q; want the note, the last step, and an erased line", tail)
		}
		if strings.Count(out.String(), "\n") != 1 {
			t.Errorf("printed %q; want no line but the note's", out.String())
		}
	})
}

// A bar never fills the terminal's last column: the line would wrap, and could
// not be drawn over.
func TestBarFits(t *testing.T) {
	long := progress{label: strings.Repeat("2 of 10: transcoding ", 4), done: 1, total: 3, unit: framesUnit, rate: 1234, left: time.Hour}
	short := progress{label: "transcoding on 12 workers", done: 250, total: 1000, unit: framesUnit, rate: 312.4, left: 83 * time.Second}
	for _, width := range []int{20, 40, 80, 100} {
		for _, p := range []progress{long, short, {label: long.label}, {label: "copying", done: 12e6, unit: bytesUnit, rate: 3e6}} {
			if got := p.bar(width); utf8.RuneCountInString(got) > width {
				t.Errorf("%d columns for %d: %q", utf8.RuneCountInString(got), width, got)
			}
		}
	}
	for p, want := range map[progress]string{
		short: "transcoding on 12 workers  [=======                       ]  25 %  312 fps  ETA 1m23s",
		{label: "copying", done: 12e6, unit: bytesUnit, rate: 3e6}:               "copying  12.0 MB  3.0 MB/s",
		{label: "verifying files", done: 10, total: 5, unit: filesUnit, rate: 9}: "verifying files  [==============================] 100 %  9 files/s",
	} {
		if got := p.bar(100); got != want {
			t.Errorf("bar = %q; want %q", got, want)
		}
	}
}

func TestActivity(t *testing.T) {
	running := func(kind transcode.Kind, worker string) queue.UnitState {
		return queue.UnitState{Kind: kind, Worker: worker, State: "running"}
	}
	for _, test := range []struct {
		units []queue.UnitState
		want  string
	}{
		{nil, "queued"},
		{[]queue.UnitState{{Kind: transcode.KindVideo, State: "done"}}, "queued"},
		{[]queue.UnitState{running(transcode.KindProbe, "a")}, "probing"},
		{[]queue.UnitState{running(transcode.KindJoin, "a")}, "joining"},
		{[]queue.UnitState{running(transcode.KindAudio, "a"), running(transcode.KindVideo, "a")}, "transcoding on 1 worker"},
		{[]queue.UnitState{running(transcode.KindAudio, "a"), running(transcode.KindVideo, "b")}, "transcoding on 2 workers"},
	} {
		if got := activity(queue.Job{State: queue.Queued, Units: test.units}); got != test.want {
			t.Errorf("activity = %q; want %q", got, test.want)
		}
	}
}

// add-pi prints its result and no inner steps; a terminal shows a bar meanwhile.
func TestAddPiPrintsItsResult(t *testing.T) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.Bool("json", false, "")
	for _, terminal := range []bool{false, true} {
		var errs bytes.Buffer
		m := newMeter(streams{err: &errs, terminal: terminal})
		m.label = "adding the Pi"
		report := m.onTerminal(cli.NewContext(nil, flags, nil))
		report("copy", 1, 2)
		report("identity", 0, 0)
		m.clear()
		if got := errs.String(); strings.Contains(got, "\n") || strings.Contains(got, "identity") || !terminal && got != "" {
			t.Errorf("terminal %v: the steps print %q; want no line", terminal, got)
		}
	}

	board := registry.Pi{Name: "hlspi1", Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, IP: netip.MustParseAddr("10.0.0.10"), Root: registry.Root{Template: "minimal", Version: 1}}
	added := fleet.Added{Pi: board, Export: "/roots/3333347a", Proof: []string{"mounted", "read"}}
	added.Clone, added.Files, added.Bytes = "reflink", 1200, 150e6
	added.Lacks = []string{"hlspi1 is a Raspberry Pi 3B and finds no kernel, k\x1b.img."}
	const want = `hlspi1 added
  board    serial 3333347a, address b8:27:eb:33:34:7a
  network  10.0.0.10
  root     minimal@1 cloned by reflink: 1200 files, 150.0 MB
  export   /roots/3333347a, to 10.0.0.10 only, proved by a mount
  warning  hlspi1 is a Raspberry Pi 3B and finds no kernel, k?.img.
switch the Pi on and watch it boot: pibootd watch hlspi1
`
	var out bytes.Buffer
	if err := printAdded(io.Writer(&out), added); err != nil || out.String() != want {
		t.Errorf("printed %v\n%s\nwant\n%s", err, out.String(), want)
	}
}
