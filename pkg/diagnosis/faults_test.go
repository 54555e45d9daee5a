package diagnosis

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
)

// A fault is a boot that goes wrong, as the daemon records it.
type fault struct {
	name   string
	until  string                                   // the last event of a clean boot: a kind, or a file; "": none
	events []timeline.Event                         // then, a second apart
	facts  func(*Facts)                             // besides those of a Pi 4 that has everything
	late   bool                                     // it is known when the deadline has passed, and not at once
	before func(*Board, func(int) []timeline.Event) // what happened before this boot
	after  time.Duration                            // since the last event
	state  State
	code   Code
	says   string // exactly
}

// kind returns an event of the board.
func kind(kind timeline.Kind, changes ...func(*timeline.Event)) timeline.Event {
	e := timeline.Event{Board: testSerial, Name: "hlspi1", Kind: kind}
	for _, change := range changes {
		change(&e)
	}
	return e
}

func because(text string) func(*timeline.Event) { return func(e *timeline.Event) { e.Detail = text } }
func named(file string) func(*timeline.Event)   { return func(e *timeline.Event) { e.File = file } }
func of(export string) func(*timeline.Event)    { return func(e *timeline.Event) { e.Export = export } }
func from(addr string) func(*timeline.Event) {
	return func(e *timeline.Event) { e.Addr = netip.MustParseAddr(addr) }
}
func block(n, last int64) func(*timeline.Event) {
	return func(e *timeline.Event) { e.Block, e.Blocks = n, last }
}
func by(client string) func(*timeline.Event) { return func(e *timeline.Event) { e.Client = client } }
func user(last byte) func(*timeline.Event) {
	return func(e *timeline.Event) { e.MAC = pi.MAC{0x52, 0x54, 0, 0, 0, last} }
}
func serial(s pi.Serial) func(*timeline.Event) { return func(e *timeline.Event) { e.Serial = s } }
func to(server string) func(*timeline.Event) {
	return func(e *timeline.Event) { e.Server = netip.MustParseAddr(server) }
}

// needs are what a board cannot boot without, of which one is missing.
func needs(what string, files ...string) func(*Facts) {
	return func(f *Facts) {
		need := bootconfig.Need{What: what, Files: files}
		f.Needs, f.Missing = append(f.Needs, need), []bootconfig.Need{need}
	}
}

const own = testSerial + "/"

var discover = kind(timeline.Discover, by(timeline.BootCode))

var faults = []fault{
	{name: "no address is offered", events: []timeline.Event{kind(timeline.Discover, by(timeline.BootCode), because("reserved address 10.77.0.50 is leased to 52:54:00:00:00:09"))},
		state: Stuck, code: NoOffer, says: "hlspi1 asks for an address and is offered none: reserved address 10.77.0.50 is leased to 52:54:00:00:00:09."},
	{name: "offers are not accepted", events: []timeline.Event{discover, kind(timeline.Offer), discover, kind(timeline.Offer), discover, kind(timeline.Offer)}, late: true,
		state: Stuck, code: OfferIgnored, says: "hlspi1 has asked for an address 3 times and accepted no offer: another DHCP server is faster, or the offers do not reach it."},
	{name: "another DHCP server is chosen", until: "offer", events: []timeline.Event{kind(timeline.Request, to("10.77.0.254"), because("meant for another server, 10.77.0.254"))},
		state: Stuck, code: OtherServer, says: "hlspi1 accepted the offer of another DHCP server, 10.77.0.254."},
	{name: "the address is refused", until: "offer", events: []timeline.Event{kind(timeline.Nak, because("asked for 10.77.0.99, which is not the reserved address"))},
		state: Stuck, code: AddressRefused, says: "hlspi1 was refused the address that it asked for: asked for 10.77.0.99, which is not the reserved address."},
	{name: "another host has the address", until: "offer", events: []timeline.Event{kind(timeline.Conflict, from("10.77.0.50"), user(9))},
		state: Stuck, code: AddressInUse, says: "10.77.0.50, the address of hlspi1, is used by another host, 52:54:00:00:00:09."},
	{name: "DHCP again and again", until: "ack", events: []timeline.Event{discover, kind(timeline.Offer), kind(timeline.Ack), discover, kind(timeline.Offer), kind(timeline.Ack), discover, kind(timeline.Offer), kind(timeline.Ack)},
		state: Stuck, code: NoTFTP, says: "hlspi1 has got its address 4 times and asks for no file."},
	{name: "no file is asked for", until: "ack", late: true,
		state: Stuck, code: NoTFTP, says: "hlspi1 has got its address once and asks for no file."},
	{name: "a wrong prefix", until: "ack", events: []timeline.Event{kind(timeline.FileMissing, named("0badcafe/start4.elf")), kind(timeline.FileMissing, named("0badcafe/start.elf")), kind(timeline.FileMissing, named("0badcafe/config.txt"))},
		state: Stuck, code: WrongPrefix, says: "hlspi1 asks for its files in 0badcafe, and its own directory is 3333347a."},
	{name: "a wrong prefix, and then nothing", until: "ack", events: []timeline.Event{kind(timeline.FileMissing, named("0badcafe/start4.elf"))}, late: true,
		state: Stuck, code: WrongPrefix, says: "hlspi1 asks for its files in 0badcafe, and its own directory is 3333347a."},
	{name: "another serial number", events: []timeline.Event{kind(timeline.Discover, by(timeline.BootCode), serial(0x12345678)), kind(timeline.Offer), kind(timeline.Ack)},
		state: Booting, code: SerialMismatch, says: "hlspi1 is registered with the serial number 3333347a, and its boot code says 12345678."},
	{name: "no start4.elf, and the prefix is cleared", until: "ack", facts: needs("firmware", "start4.elf"),
		events: []timeline.Event{kind(timeline.FileMissing, named(own+"start4.elf")), kind(timeline.FileMissing, named(own+"start.elf")), kind(timeline.FileMissing, named("vl805.sig"))},
		state:  Stuck, code: MissingFirmware, says: "hlspi1 is a Raspberry Pi 4B and finds no firmware, start4.elf."},
	{name: "no boot code", until: "ack", facts: needs("boot code", "bootcode.bin"), events: []timeline.Event{kind(timeline.FileMissing, named("bootcode.bin"))},
		state: Stuck, code: MissingBootCode, says: "hlspi1 is a Raspberry Pi 4B and finds no boot code, bootcode.bin."},
	{name: "no kernel", until: "cmdline.txt", facts: needs("kernel", "kernel8.img"), events: []timeline.Event{kind(timeline.FileMissing, named(own+"armstub8-gic.bin")), kind(timeline.FileMissing, named(own+"kernel8.img"))},
		state: Stuck, code: MissingKernel, says: "hlspi1 is a Raspberry Pi 4B and finds no kernel, kernel8.img."},
	{name: "no kernel that is asked for", until: "cmdline.txt", facts: needs("kernel", "kernel8.img"), late: true,
		state: Stuck, code: MissingKernel, says: "hlspi1 is a Raspberry Pi 4B and finds no kernel, kernel8.img."},
	{name: "no device tree", until: "cmdline.txt", facts: needs("device tree", "bcm2712-rpi-5-b.dtb", "bcm2712d0-rpi-5-b.dtb"),
		events: []timeline.Event{kind(timeline.FileMissing, named(own+"bcm2712-rpi-5-b.dtb")), kind(timeline.FileMissing, named(own+"bcm2712d0-rpi-5-b.dtb"))},
		state:  Stuck, code: MissingTree, says: "hlspi1 is a Raspberry Pi 4B and finds no device tree, bcm2712-rpi-5-b.dtb or bcm2712d0-rpi-5-b.dtb."},
	{name: "no initramfs", until: "cmdline.txt", facts: needs("initramfs", "initrd.img"), events: []timeline.Event{kind(timeline.FileMissing, named(own+"initrd.img"))},
		state: Stuck, code: MissingInitramfs, says: "hlspi1 is a Raspberry Pi 4B and finds no initramfs, initrd.img, which its config.txt names."},
	{name: "a transfer of which nothing is confirmed", until: "ack", events: []timeline.Event{kind(timeline.FileFailed, named(own+"config.txt"), block(0, 3))},
		state: Stuck, code: TransferBlocked, says: "hlspi1 asks for 3333347a/config.txt and confirms none of its packets: something between drops them."},
	{name: "a transfer of which small packets arrive", until: "start4.elf", events: []timeline.Event{kind(timeline.FileFailed, named(own+"start4.elf"), block(1, 1540))},
		state: Stuck, code: TransferMTU, says: "3333347a/start4.elf stalls at block 1 of 1540, the first full packet to hlspi1: small packets arrive, large ones do not."},
	{name: "a transfer that stalls", until: "cmdline.txt", events: []timeline.Event{kind(timeline.FileFailed, named(own+"kernel8.img"), block(77, 5000))},
		state: Stuck, code: TransferLoss, says: "3333347a/kernel8.img stalls at block 77 of 5000 on its way to hlspi1: packets are lost."},
	{name: "a file that cannot be read", until: "cmdline.txt", events: []timeline.Event{kind(timeline.FileFailed, named(own+"kernel8.img"), because("reading kernel8.img: input/output error"))},
		state: Stuck, code: TransferFailed, says: "hlspi1 cannot be sent 3333347a/kernel8.img: reading kernel8.img: input/output error."},
	{name: "firmware that stops", until: "cmdline.txt", events: []timeline.Event{kind(timeline.FileMissing, named(own+"armstub8-gic.bin"))}, late: true,
		state: Stuck, code: FirmwareSilent, says: "hlspi1 asked for 3333347a/cmdline.txt last and then for nothing more, though its kernel is still to come."},
	{name: "a kernel that is not heard", until: "kernel8.img", late: true,
		state: Stuck, code: KernelSilent, says: "hlspi1 loaded 3333347a/kernel8.img and has sent nothing since: this kernel does not run on the board, or it has no driver for its network."},
	{name: "a kernel without modules", until: "kernel8.img", late: true, facts: func(f *Facts) {
		f.Mismatch = func() string {
			return "boot/kernel8.img: is Linux 6.12.1, whose modules lib/modules/6.12.1 are not in the root (there are: 6.12.2)"
		}
	}, state: Stuck, code: KernelModules, says: "hlspi1 loaded 3333347a/kernel8.img, whose modules are not in its root, and has sent nothing since: boot/kernel8.img: is Linux 6.12.1, whose modules lib/modules/6.12.1 are not in the root (there are: 6.12.2)."},
	{name: "a kernel that does not mount", until: "kernel8.img", late: true,
		events: []timeline.Event{kind(timeline.Discover, by(timeline.System)), kind(timeline.Offer), kind(timeline.Request), kind(timeline.Ack)},
		state:  Stuck, code: NoMount, says: "hlspi1 runs its kernel, which has an address and does not ask for its root."},
	{name: "a kernel that logs, and does not mount", until: "kernel8.img", late: true, facts: func(f *Facts) {
		f.Logged = func(time.Time) string { return "eth0: link is not ready" }
	}, state: Stuck, code: KernelStopped, says: "hlspi1 runs its kernel, which has not mounted its root; it logged last: eth0: link is not ready."},
	{name: "a kernel that stops", until: "kernel8.img", events: []timeline.Event{kind(timeline.Panic, because("Kernel panic - not syncing: VFS: Unable to mount root fs"))},
		state: Stuck, code: KernelPanic, says: "The kernel of hlspi1 has stopped: Kernel panic - not syncing: VFS: Unable to mount root fs."},
	{name: "a kernel that stops at work", until: "online", events: []timeline.Event{kind(timeline.Panic, because("Kernel panic - not syncing: Fatal exception")), kind(timeline.WorkerOffline)},
		state: Stuck, code: KernelPanic, says: "The kernel of hlspi1 has stopped: Kernel panic - not syncing: Fatal exception."},
	{name: "too little voltage, by the log", until: "online", events: []timeline.Event{kind(timeline.UnderVoltage, because("Undervoltage detected!"))},
		state: Slow, code: UnderVoltage, says: "hlspi1 has had too little voltage since it was started, so it works slower or fails."},
	{name: "a mount that is refused", until: "kernel8.img", events: []timeline.Event{kind(timeline.MountRefused, of("/roots/"+testSerial), because("10.77.0.50 may not mount it"))},
		state: Stuck, code: MountRefused, says: "hlspi1 was refused its root: 10.77.0.50 may not mount it."},
	{name: "a mount from another address", until: "kernel8.img", events: []timeline.Event{kind(timeline.MountRefused, of("/roots/"+testSerial), from("10.77.0.101"), because("its address is 10.77.0.101, not 10.77.0.50 as registered: another DHCP server has answered it"))},
		state: Stuck, code: OtherAddress, says: "hlspi1 asked for its root from 10.77.0.101, not from 10.77.0.50 as registered: another DHCP server has answered it."},
	{name: "a mount by nobody knows whom", until: "kernel8.img", events: []timeline.Event{kind(timeline.Stranger, of("/roots/"+testSerial), from("10.77.0.101"))},
		state: Stuck, code: StrayMount, says: "10.77.0.101 was refused the root of hlspi1; if that is the board itself, another DHCP server has given it that address."},
	{name: "a root without init", until: "mount", facts: func(f *Facts) { f.NoInit = true },
		state: Stuck, code: NoInit, says: "hlspi1 mounted its root, which has no init (/sbin/init)."},
	{name: "a system that does not come up", until: "mount", late: true,
		state: Stuck, code: InitSilent, says: "hlspi1 mounted its root and has sent nothing since: its system does not come up, or its worker does not start."},
	{name: "a worker that does not start", until: "mount", late: true, events: []timeline.Event{kind(timeline.Request), kind(timeline.Ack)},
		state: Stuck, code: NoWorker, says: "hlspi1 runs, and its worker has not started."},
	{name: "a worker that does not reach the queue", until: "scratch", late: true,
		state: Stuck, code: WorkerSilent, says: "hlspi1 runs, and its worker has not reached the queue."},
	{name: "a worker with a wrong token", until: "scratch", events: []timeline.Event{kind(timeline.LoginRefused, from("10.77.0.50"), because("from 10.77.0.50: wrong token"))},
		state: Stuck, code: WorkerRefused, says: "hlspi1 runs, and the queue refuses its worker: from 10.77.0.50: wrong token."},
	{name: "a share that is refused", until: "mount", events: []timeline.Event{kind(timeline.MountRefused, of("/media"), because("no such export"))},
		state: Stuck, code: ShareRefused, says: "hlspi1 runs, and its worker was refused /media: no such export."},
	{name: "no ffmpeg", until: "online", facts: func(f *Facts) { f.Health.NoFFmpeg = "exec: \"ffmpeg\": executable file not found in $PATH" },
		state: Stuck, code: NoFFmpeg, says: "hlspi1 is up, and its worker has no ffmpeg that works: exec: \"ffmpeg\": executable file not found in $PATH."},
	{name: "too little voltage", until: "online", facts: func(f *Facts) { f.Health.Throttled = 0x50005 },
		state: Slow, code: UnderVoltage, says: "hlspi1 has had too little voltage since it was started, so it works slower or fails."},
	{name: "too hot", until: "online", facts: func(f *Facts) { f.Health.Throttled = 0x60000 },
		state: Slow, code: Throttled, says: "hlspi1 has been too hot since it was started, so it works slower."},
	{name: "a wrong clock", until: "online", after: 4 * time.Minute, facts: func(f *Facts) { f.Health.ClockAhead = -time.Hour },
		state: Slow, code: ClockWrong, says: "The clock of hlspi1 is 3600 s slow."},
	{name: "a root that is read-only", until: "online", facts: func(f *Facts) { f.Health.RootReadOnly = true },
		state: Stuck, code: RootReadOnly, says: "hlspi1 is up, and its root is read-only."},
	{name: "a full root", until: "online", facts: func(f *Facts) { f.Health.RootSize, f.Health.RootFree = 8<<30, 3<<20 },
		state: Stuck, code: RootFull, says: "hlspi1 is up, and its root is full: 3 MB are free."},
	{name: "a board that falls silent", until: "online", events: []timeline.Event{kind(timeline.WorkerOffline)},
		state: Stuck, code: Silent, says: "hlspi1 was up and has fallen silent without being shut down: its power or its network is gone, or it hangs."},
	{name: "a root that cannot be served", events: []timeline.Event{kind(timeline.RootFailed, because("mounting: no such device")), discover},
		state: Stuck, code: RootFailed, says: "The root of hlspi1 cannot be served: mounting: no such device."},
	{name: "handles of before a restore", until: "online", events: []timeline.Event{kind(timeline.OldHandle), kind(timeline.WorkerOffline), kind(timeline.WorkerOnline)},
		state: Stuck, code: OldHandles, says: "hlspi1 hangs: it uses file handles that this pibootd has not made, as boards do that ran while a backup was restored."},
	{name: "a boot after a restore", before: func(b *Board, _ func(int) []timeline.Event) { follow(b, []timeline.Event{kind(timeline.OldHandle)}) }, until: "online", facts: func(f *Facts) { f.Health.RootReadOnly = true },
		state: Stuck, code: RootReadOnly, says: "hlspi1 is up, and its root is read-only."},
	{name: "one start after the other", until: "kernel8.img", before: func(b *Board, boot func(int) []timeline.Event) {
		for i := range 3 {
			follow(b, cut(boot(-45*(3-i)), "kernel8.img"))
		}
	}, state: Stuck, code: RebootLoop, says: "hlspi1 has started 4 times in 2 minutes and came no further than its kernel."},
	{name: "a refusal, and then a restart", until: "config.txt", before: func(b *Board, boot func(int) []timeline.Event) {
		refused := kind(timeline.MountRefused, of("/roots/"+testSerial), because("10.77.0.50 may not mount it"))
		refused.At = testStart.Add(-40 * time.Second)
		follow(b, append(cut(boot(-60), "kernel8.img"), refused))
	}, state: Stuck, code: MountRefused, says: "hlspi1 was refused its root: 10.77.0.50 may not mount it."},
	{name: "a switch port that is blocked at first", until: "online", before: func(b *Board, boot func(int) []timeline.Event) {
		for i := range 4 {
			gone := kind(timeline.WorkerOffline, because("stopped"))
			gone.At = testStart.Add(time.Duration(-120*(3-i)-45) * time.Second)
			follow(b, append(boot(-120*(4-i)), gone)) // which begins 10 s after its start
		}
	}, state: Slow, code: LateDiscover, says: "hlspi1 asks for an address only 55 s after each restart, so its switch port is blocked for that long (spanning tree)."},
	{name: "slower than it was", before: func(b *Board, boot func(int) []timeline.Event) {
		for i := range 10 {
			gone := kind(timeline.WorkerOffline, because("stopped"))
			gone.At = testStart.Add(time.Duration(-120*(9-i)-300) * time.Second)
			follow(b, append(boot(-300-120*(10-i)), gone))
		}
		slow := boot(-130)
		for i := range slow {
			if slow[i].Kind == timeline.Mount || slow[i].Kind == timeline.WorkerOnline {
				slow[i].At = slow[i].At.Add(30 * time.Second)
			}
		}
		follow(b, slow)
	}, state: Slow, code: SlowStage, says: "hlspi1 took 40 s for its kernel, for which it usually takes 10 s."},
}

// cut returns the events up to one, which a kind, a file or an export names.
func cut(events []timeline.Event, until string) []timeline.Event {
	i := slices.IndexFunc(events, func(e timeline.Event) bool {
		return string(e.Kind) == until || until == "online" && e.Kind == timeline.WorkerOnline ||
			strings.HasSuffix(e.File, "/"+until) && e.Kind == timeline.File || until == "scratch" && strings.HasPrefix(e.Export, "/scratch")
	})
	return events[:i+1]
}

func follow(b *Board, events []timeline.Event) {
	for _, e := range events {
		b.Follow(e)
	}
}

// fail returns the board of a fault and the time at which it is to be known.
func (f fault) fail() (*Board, Facts, time.Time) {
	b, known, now := &Board{Addr: facts().IP}, facts(), testStart
	b.Follow(timeline.Event{At: testStart, Kind: timeline.Added}) // the timeline is read from there after a restart
	if f.facts != nil {
		f.facts(&known)
	}
	if f.before != nil {
		f.before(b, func(seconds int) []timeline.Event { return clean(testStart.Add(time.Duration(seconds) * time.Second)) })
	}
	if events := cut(clean(testStart), f.until); len(events) > 0 {
		follow(b, events)
		now = events[len(events)-1].At
	}
	for _, e := range f.events {
		now = now.Add(time.Second)
		e.At = now
		b.Follow(e)
	}
	now = now.Add(f.after)
	if f.late {
		now = b.At(now, known).Deadline.Add(time.Second)
	}
	return b, known, now
}

// Each fault is named by its exact sentence: at once where an event shows it, and otherwise once
// the deadline has passed that was said before.
func TestFaults(t *testing.T) {
	for _, f := range faults {
		b, known, now := f.fail()
		d := b.At(now, known)
		if d.State != f.state || d.Code != f.code || d.Sentence != f.says {
			t.Errorf("%s: %s %s %q; want %s %s %q", f.name, d.State, d.Code, d.Sentence, f.state, f.code, f.says)
		}
		if strings.ContainsAny(d.Sentence+d.Action, "{}") || d.Action == "" {
			t.Errorf("%s: %q, %q; want an action, and no word in braces", f.name, d.Sentence, d.Action)
		}
		if f.late {
			if d := b.At(now.Add(-2*time.Second), known); d.State != Booting {
				t.Errorf("%s: a second before its deadline it is %s", f.name, d.State)
			}
		}
	}
}

// Every code that says that something is wrong is provoked by a fault.
func TestEveryCodeIsProvoked(t *testing.T) {
	fine := []Code{OK, OnItsWay, NeverSeen}
	elsewhere := []Code{Locked, ShutDown, NoBootFiles, KernelTooSmall, Unseen} // TestOtherCodes
	for _, e := range Catalogue() {
		provoked := slices.ContainsFunc(faults, func(f fault) bool { return f.code == e.Code })
		if !provoked && !slices.Contains(fine, e.Code) && !slices.Contains(elsewhere, e.Code) {
			t.Errorf("%s is provoked by no fault", e.Code)
		}
	}
}

// What is not a fault of one boot is said, too.
func TestOtherCodes(t *testing.T) {
	loaded := func(change func(*Facts)) Diagnosis {
		b, known := &Board{}, facts()
		change(&known)
		b.Unseen = known.Unseen
		follow(b, cut(clean(testStart), "kernel8.img"))
		return b.At(testStart.Add(time.Hour), known)
	}
	up := func(change func(*Facts), more ...timeline.Event) Diagnosis {
		b, known := &Board{}, facts()
		change(&known)
		follow(b, append(clean(testStart), more...))
		return b.At(testStart.Add(time.Hour), known)
	}
	asked := func(change func(*Facts)) Diagnosis {
		b, known := &Board{}, facts()
		change(&known)
		follow(b, cut(clean(testStart), "ack"))
		return b.At(testStart.Add(time.Hour), known)
	}
	nothing := func(*Facts) {}
	gone := kind(timeline.WorkerOffline, because("stopped"))
	gone.At = testStart.Add(time.Minute)
	conflict := kind(timeline.Conflict, user(9))
	conflict.At = testStart.Add(time.Minute)
	for _, test := range []struct {
		got  Diagnosis
		want string
	}{
		{up(func(f *Facts) { f.Started = testStart.Add(50 * time.Minute) }), "stuck silent: hlspi1 was up and has fallen silent without being shut down: its power or its network is gone, or it hangs."},
		{up(func(f *Facts) { f.Started = testStart.Add(59 * time.Minute) }), "well well: hlspi1 is up, and its worker is online."},
		{up(func(f *Facts) { f.Started, f.Seen = testStart, testStart.Add(time.Hour) }), "well well: hlspi1 is up, and its worker is online."},
		{up(nothing), "well well: hlspi1 is up, and its worker is online."},
		{up(nothing, gone), "off shut_down: hlspi1 was shut down, or its worker was stopped."},
		{up(nothing, conflict), "well address_in_use: 10.77.0.50, the address of hlspi1, is used by another host, 52:54:00:00:00:09."},
		{up(nothing, conflict, kind(timeline.NoConflict)), "well well: hlspi1 is up, and its worker is online."},
		{up(func(f *Facts) { f.Health.Locked = "/home/pi/hlsmux.lock is there" }), "well worker_locked: hlspi1 is up, and its worker refuses work: /home/pi/hlsmux.lock is there."},
		{loaded(func(f *Facts) { f.Is32Bit = true }), "stuck kernel_32_bit: hlspi1 loaded 3333347a/kernel8.img, a 32-bit kernel, which cannot start the programs of its 64-bit root."},
		{loaded(func(f *Facts) { f.Unseen = true }), "stuck unseen: hlspi1 loaded 3333347a/kernel8.img, and its worker has not reported; what it did between is not seen, because nfsd serves its root."},
		{asked(func(f *Facts) { f.NoFiles = "the root of hlspi1 has no boot directory" }), "stuck no_boot_files: hlspi1 is served no boot files: the root of hlspi1 has no boot directory."},
		{asked(func(f *Facts) { f.MAC = pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a} }), "stuck no_tftp: hlspi1 has got its address once and asks for no file."},
	} {
		if got := string(test.got.State) + " " + string(test.got.Code) + ": " + test.got.Sentence; got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// In proxy mode another server gives the addresses, as it should.
func TestOtherServerInProxyMode(t *testing.T) {
	b, known := &Board{}, facts()
	known.Elsewhere = true
	follow(b, cut(clean(testStart), "offer"))
	chosen := kind(timeline.Request, to("10.77.0.254"))
	chosen.At = testStart.Add(11 * time.Second)
	b.Follow(chosen)
	if d := b.At(chosen.At, known); d.State != Booting {
		t.Errorf("%+v; want it booting", d)
	}
}
