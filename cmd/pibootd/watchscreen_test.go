package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/registry"
	"pibootd/pkg/timeline"
	"pibootd/pkg/web"
)

// A terminal shows what was written to it, as far as watch uses one.
type testTerminal struct {
	lines []string // the last one is being written
}

// show interprets text: lines, colours, which it drops, and the way up, which erases.
func (v *testTerminal) show(text string) {
	for _, part := range strings.Split(text, "\x1b[") {
		lines := part
		if up, err := strconv.Atoi(strings.TrimSuffix(part, "A\r")); err == nil {
			v.lines = append(v.lines[:len(v.lines)-1-up], "")
			continue
		}
		for _, colour := range []string{"J", "0m", red + "m", green + "m", amber + "m", faint + "m"} {
			lines = strings.TrimPrefix(lines, colour)
		}
		for i, line := range strings.Split(lines, "\n") {
			if i > 0 || len(v.lines) == 0 {
				v.lines = append(v.lines, "")
			}
			v.lines[len(v.lines)-1] += line
		}
	}
}

func boardAt(name string, d diagnosis.Diagnosis) web.Pi {
	return web.Pi{Pi: registry.Pi{Name: name}, Diagnosis: d}
}

// On a terminal, events scroll up above a bar for each board that boots or is stuck,
// and a bar is gone when its board is up.
func TestWatchOnATerminal(t *testing.T) {
	now := time.Now()
	booting := diagnosis.Diagnosis{State: diagnosis.Booting, Stage: diagnosis.Root, Stages: []diagnosis.Timed{{Stage: diagnosis.Root, Started: now.Add(-14 * time.Second), Median: 9}}}
	stuck := diagnosis.Diagnosis{State: diagnosis.Stuck, Stage: diagnosis.Firmware, Sentence: "hlspi2 is a Raspberry Pi 4B and finds no kernel, kernel8.img, whatever may be the reason of that."}
	well := diagnosis.Diagnosis{State: diagnosis.Well, Stage: diagnosis.Worker}
	var out bytes.Buffer
	s := &screen{out: &out, width: 60, colour: true}
	write := func(do error) {
		if do != nil {
			t.Fatal(do)
		}
	}
	var terminal testTerminal
	want := func(lines ...string) {
		t.Helper()
		terminal.show(out.String())
		out.Reset()
		if got := strings.Join(terminal.lines, "\n"); got != strings.Join(lines, "\n")+"\n" {
			t.Errorf("the terminal shows\n%s\nwant\n%s", got, strings.Join(lines, "\n"))
		}
	}
	write(s.print("an event"))
	boards := []web.Pi{boardAt("hlspi1", booting), boardAt("hlspi2", stuck), boardAt("hlspi3", well)}
	write(s.draw(boards, now))
	bars := []string{"hlspi2     ■■■□□□□  is a Raspberry Pi 4B and finds no kern…", "hlspi1     ■■■■■□□  root, 14 s, usually 9 s", "1 stuck, 1 booting, 1 well"}
	want(append([]string{"an event"}, bars...)...)
	write(s.print("another"))
	write(s.draw(boards, now))
	write(s.draw(boards, now))
	want(append([]string{"an event", "another"}, bars...)...)
	write(s.draw([]web.Pi{boardAt("hlspi1", well), boardAt("hlspi3", well)}, now))
	want("an event", "another")

	write(s.draw([]web.Pi{boardAt("hlspi1", booting)}, now))
	if text := out.String(); !strings.Contains(text, "\x1b["+green+"m■") {
		t.Errorf("a board in time has the bar %q; want it green", text)
	}
	out.Reset()
	booting.Deadline = now.Add(-time.Second)
	write(s.draw([]web.Pi{boardAt("hlspi1", booting)}, now))
	if text := out.String(); !strings.Contains(text, "\x1b["+amber+"m■") {
		t.Errorf("a board past its time has the bar %q; want it amber", text)
	}
}

// Where colours are not wanted, there are none.
func TestWatchWithoutColour(t *testing.T) {
	s := &screen{width: 80}
	if got := s.paint(colourOf(timeline.MountRefused), "refused"); got != "refused" {
		t.Errorf("without colour: %q", got)
	}
	s.colour = true
	if got, want := s.paint(colourOf(timeline.MountRefused), "refused"), "\x1b[31mrefused\x1b[0m"; got != want {
		t.Errorf("with colour: %q; want %q", got, want)
	}
}
