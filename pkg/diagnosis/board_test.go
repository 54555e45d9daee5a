package diagnosis

import (
	"math/rand/v2"
	"net/netip"
	"slices"
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

// A hundred boots after each other, each pause of which takes up to 0.8 of what is left until the
// deadline, are never called stuck or slow.
func TestNoFalseAlarms(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var b Board
	now := testStart
	look := func(boot int, after timeline.Event) {
		if d := b.At(now, facts()); d.State == Stuck || d.State == Slow {
			t.Fatalf("boot %d, after %v: %+v", boot, after, d)
		}
	}
	for boot := range 100 {
		for _, e := range cleanBoot(boot) {
			if d := b.At(now, facts()); d.State == Booting {
				left := d.Deadline.Sub(now)
				now = now.Add(time.Duration(random.Float64() * 0.8 * float64(left)))
				look(boot, e) // at the end of the pause
			}
			e.At = now
			b.Follow(e)
			look(boot, e)
		}
		now = now.Add(time.Duration(random.Float64() * float64(time.Hour)))
		look(boot, timeline.Event{})
		if boot%2 == 0 { // shut down
			b.Follow(timeline.Event{At: now, Board: testSerial, Kind: timeline.WorkerOffline, Detail: "stopped"})
			now = now.Add(time.Duration(random.Float64() * 4 * float64(time.Minute)))
			look(boot, timeline.Event{})
		}
	}
	if len(b.took[Kernel]) != samples {
		t.Errorf("%d boots are known; want %d", len(b.took[Kernel]), samples)
	}
}

// cleanBoot returns one of the ways in which a boot goes well.
func cleanBoot(n int) []timeline.Event {
	events := clean(testStart)
	insert := func(before timeline.Kind, more ...timeline.Event) {
		i := slices.IndexFunc(events, func(e timeline.Event) bool { return e.Kind == before })
		events = slices.Insert(events, i, more...)
	}
	switch n % 6 {
	case 1: // the first DISCOVER is lost, or its OFFER
		insert(timeline.Offer, discover)
		insert(timeline.Request, kind(timeline.Offer), discover)
	case 2: // the kernel asks by DHCP, and the system again
		insert(timeline.Mount, kind(timeline.Discover, by(timeline.System)), kind(timeline.Offer), kind(timeline.Request), kind(timeline.Ack))
		events = slices.Insert(events, len(events)-3, kind(timeline.Discover, by(timeline.System)), kind(timeline.Offer), kind(timeline.Ack))
	case 3: // it works, and renews its lease
		events = append(events, kind(timeline.Claimed), kind(timeline.UnitDone), kind(timeline.Request), kind(timeline.Ack))
	case 5: // a Pi 3, which sends no REQUEST, and its prefix is cleared
		events = slices.DeleteFunc(events, func(e timeline.Event) bool { return e.Kind == timeline.Request || e.Kind == timeline.Ack })
		for i := range events {
			events[i].File = strings.TrimPrefix(events[i].File, own)
		}
	case 4: // somebody else knocks
		events = append(events, kind(timeline.LoginRefused, from("10.77.0.9"), because("wrong token")), kind(timeline.Stranger, of("/roots/"+testSerial)))
	}
	return events
}

// Before there are ten boots, the model says how long a stage may take; then those boots do.
func TestLimits(t *testing.T) {
	for generation, want := range map[pi.Model]time.Duration{"": 3 * time.Minute, pi.Pi3: 3 * time.Minute, pi.Pi4: 2 * time.Minute, pi.Pi5: 90 * time.Second} {
		b := Board{Generation: generation}
		if got := b.limit(Kernel); got != want {
			t.Errorf("limit of a kernel on a %q = %v; want %v", generation, got, want)
		}
	}
	b := Board{Generation: pi.Pi4}
	for i := range samples {
		if got := b.limit(Kernel); got != 2*time.Minute {
			t.Errorf("after %d boots the limit is %v; want the model's", i, got)
		}
		b.took.add(Kernel, time.Duration(i+1)*10*time.Second)
	}
	if got, median := b.limit(Kernel), b.took.median(Kernel); got != 200*time.Second || median != 50*time.Second {
		t.Errorf("after boots of 10 s to 100 s the limit is %v, the median %v; want 200 s, 50 s", got, median)
	}
	for range samples {
		b.took.add(Kernel, time.Second)
	}
	if got := b.limit(Kernel); got != shortest {
		t.Errorf("after boots of a second the limit is %v; want %v", got, shortest)
	}
}

// What a board is stays known when a boot does not say it, until another says something else.
func TestModelIsKept(t *testing.T) {
	var b Board
	for i, said := range []struct{ model, want string }{{"", ""}, {"4B", "4B"}, {"", "4B"}, {"CM4", "CM4"}} {
		for _, e := range clean(testStart.Add(time.Duration(i) * time.Hour)) {
			if e.Kind == timeline.Discover {
				e.Model = said.model
			}
			b.Follow(e)
		}
		if got := b.At(testStart.Add(time.Duration(i)*time.Hour+time.Minute), facts()).Model; got != said.want {
			t.Errorf("boot %d, which says %q: %q; want %q", i, said.model, got, said.want)
		}
	}
}
