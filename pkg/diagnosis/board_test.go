package diagnosis

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
)

const testSerial = "3333347a"

// facts are those of a Pi 4 that finds all its files.
func facts() Facts {
	return Facts{
		Name: "hlspi1", Serial: 0x3333347a, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0x33, 0x34, 0x7a}, IP: netip.MustParseAddr("10.77.0.50"),
		Model: "4B", Kernel: "kernel8.img",
	}
}

// clean are the events of a boot as the daemon records them, in seconds after power-on.
func clean(start time.Time) []timeline.Event {
	at := func(seconds float64, kind timeline.Kind, more ...func(*timeline.Event)) timeline.Event {
		e := timeline.Event{At: start.Add(time.Duration(seconds * float64(time.Second))), Board: testSerial, Name: "hlspi1", Kind: kind}
		for _, change := range more {
			change(&e)
		}
		return e
	}
	file := func(name string) func(*timeline.Event) {
		return func(e *timeline.Event) { e.File = testSerial + "/" + name }
	}
	export := func(name string) func(*timeline.Event) { return func(e *timeline.Event) { e.Export = name } }
	client := func(name string) func(*timeline.Event) { return func(e *timeline.Event) { e.Client = name } }
	return []timeline.Event{
		at(10, timeline.Discover, client(timeline.BootCode)), at(10.1, timeline.Offer), at(10.2, timeline.Request), at(10.3, timeline.Ack),
		at(10.5, timeline.FileAborted, file("start4.elf")), at(10.6, timeline.File, file("config.txt")),
		at(10.7, timeline.FileMissing, file("vl805.sig")), at(11, timeline.FileMissing, file("pieeprom.sig")),
		at(12, timeline.File, file("start4.elf")), at(12.1, timeline.File, file("fixup4.dat")), at(12.2, timeline.File, file("config.txt")),
		at(12.4, timeline.File, file("cmdline.txt")), at(12.9, timeline.File, file("bcm2711-rpi-4-b.dtb")),
		at(13, timeline.FileMissing, file("armstub8-gic.bin")), at(15, timeline.File, file("kernel8.img")),
		at(25, timeline.Mount, export("/roots/"+testSerial)),
		at(60, timeline.Mount, export("/media")), at(60.2, timeline.Mount, export("/scratch/"+testSerial)),
		at(61, timeline.WorkerOnline),
	}
}

var testStart = time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)

func TestCleanBoot(t *testing.T) {
	var b Board
	if d := b.At(testStart, facts()); d.State != Off || d.Code != NeverSeen || d.Stage != Power {
		t.Errorf("before the first event: %+v; want off, never_seen", d)
	}
	var passed []string
	for _, e := range clean(testStart) {
		b.Follow(e)
		d := b.At(e.At, facts())
		if d.State != Booting && d.State != Well {
			t.Errorf("after %v: %+v", e, d)
		}
		if word := string(d.State) + " " + string(d.Stage); len(passed) == 0 || passed[len(passed)-1] != word {
			passed = append(passed, word)
		}
	}
	if got, want := strings.Join(passed, ", "), "booting address, booting firmware, booting kernel, booting init, booting worker, well worker"; got != want {
		t.Errorf("the boot was %s; want %s", got, want)
	}
	d := b.At(testStart.Add(time.Hour), facts())
	if d.Sentence != "hlspi1 is up, and its worker is online." || d.Action != "" || !d.Since.Equal(testStart.Add(61*time.Second)) {
		t.Errorf("afterwards: %+v", d)
	}
	var stages []string
	for _, s := range d.Stages {
		stages = append(stages, string(s.Stage)+" "+time.Duration(s.Seconds*float64(time.Second)).Round(100*time.Millisecond).String())
	}
	if got, want := strings.Join(stages, ", "), "address 500ms, firmware 4.5s, kernel 10s, init 35s, worker 1s"; got != want {
		t.Errorf("stages %s; want %s", got, want)
	}
}
