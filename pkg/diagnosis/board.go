package diagnosis

import (
	"net/netip"
	"path"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/timeline"
)

// A Board is how far one board has come, by the events of its timeline. The zero value is a board
// that was never seen. It is not safe for concurrent use.
type Board struct {
	// Kernel is the name of the file that the board loads as its kernel, without prefix. "": the
	// usual names are known without it.
	Kernel string
	// Generation is that of its model, which says how long its first boots may take; "": unknown.
	Generation pi.Model
	// Addr is its address: others can try to log in as its worker.
	Addr netip.Addr
	// Unseen is whether the mounts of boards are seen by another program, so that nothing is
	// between the kernel and the worker.
	Unseen bool
	// Pace is how many times faster everything is than with real boards; 0: 1. It is for tests.
	Pace int

	model    string // that its boot code said last; "": unknown
	boot     boot   // the last
	earlier  []boot // before it, oldest first, at most maxBoots
	took     history
	conflict *timeline.Event // another host uses its address, until it no longer does
	failed   *timeline.Event // its root cannot be served, until it is mounted
	handles  time.Time       // it used file handles of another pibootd last; zero: it has mounted its root since
	told     Code            // what the last event Diagnosed said
}

// maxBoots is how many boots are remembered.
const maxBoots = 16

const (
	// quiet is how long a board is silent within a boot at most, where nothing else tells one
	// boot from the next. A Pi 4 asks for an address every 4 s, and begins again after a minute.
	quiet = 2 * time.Minute
	// shutdown is the longest time that a restart takes, from the end of the worker to boot code.
	shutdown = 5 * time.Minute
	// maxNames limits the files that are remembered of a boot.
	maxNames = 64
)

// A boot is one, from its first event.
type boot struct {
	began   map[Stage]time.Time
	stage   Stage     // that it is in; "": none
	last    time.Time // event of the board
	down    time.Time // the end of the boot before, if it is known and was not long before
	done    time.Time // the worker was online; zero: not yet
	gone    time.Time // the worker is offline again
	leave   bool      // it took leave: it was shut down
	slow    *finding  // a stage that took too long, though it ended
	voltage bool      // its kernel has logged that there was too little
	fault   *finding  // what an event said is wrong, until the board goes on
	since   time.Time // of fault
	serial  pi.Serial // by option 97; 0: unknown
	model   string    // by option 97; "": unknown

	discovers, offers, acks int

	file       string // that was sent last
	missing    map[string]bool
	lacked     time.Time // when the last of missing was asked for
	prefix     string    // of files that do not exist, which is not the board's
	kernel     string    // that was sent
	kernelRuns bool
	shares     bool // its worker has mounted the media share or its scratch
}

// Follow adds an event of the board. Events come in their order.
func (b *Board) Follow(e timeline.Event) {
	if e.Model != "" {
		b.model = e.Model
	}
	switch e.Kind {
	case timeline.Added, timeline.Removed:
		*b = Board{Kernel: b.Kernel, Generation: b.Generation, Addr: b.Addr, Unseen: b.Unseen, Pace: b.Pace}
	case timeline.Discover, timeline.Offer, timeline.Request, timeline.Ack, timeline.Nak, timeline.Declined:
		b.followDHCP(e)
	case timeline.File, timeline.FileMissing, timeline.FileAborted, timeline.FileFailed:
		b.followFile(e)
	case timeline.Mount, timeline.MountRefused, timeline.Stranger:
		b.followMount(e)
	case timeline.WorkerOnline, timeline.WorkerOffline, timeline.LoginRefused:
		b.followWorker(e)
	case timeline.Panic:
		b.blame(e, say(KernelPanic, "line", e.Detail))
	case timeline.UnderVoltage:
		b.boot.voltage = true
	case timeline.Conflict:
		b.conflict = &e
		b.blame(e, say(AddressInUse, "user", e.MAC))
	case timeline.NoConflict:
		b.conflict = nil
		b.clear(AddressInUse)
	case timeline.OldHandle:
		b.handles = e.At
	case timeline.RootFailed:
		b.failed = &e
	case timeline.Diagnosed:
		b.told = Code(e.Code)
	}
}

// boots reports whether the board is on its way.
func (b *Board) boots() bool { return b.boot.stage != "" && b.boot.done.IsZero() }

// begin begins a boot in a stage.
func (b *Board) begin(stage Stage, at time.Time) {
	down := b.boot.gone
	if at.Sub(down) > shutdown {
		down = time.Time{}
	}
	if b.boot.stage != "" {
		b.earlier = append(b.earlier, b.boot)
		b.earlier = b.earlier[max(0, len(b.earlier)-maxBoots):]
	}
	b.boot = boot{began: map[Stage]time.Time{}, missing: map[string]bool{}, down: down}
	if !down.IsZero() {
		b.boot.began[Power] = down
	}
	if stage != Worker { // which a worker begins that only reconnects
		b.handles = time.Time{}
	}
	b.boot.stage = stage
	b.boot.began[stage] = at
}

// enter goes on to a stage, if the boot is not that far yet. What was wrong before is over.
func (b *Board) enter(stage Stage, at time.Time) {
	if b.boot.stage == "" || !b.boot.done.IsZero() {
		b.begin(stage, at)
		return
	}
	if stage.index() <= b.boot.stage.index() {
		return
	}
	b.end(at)
	b.boot.stage = stage
	b.boot.began[stage] = at
	b.boot.fault = nil
}

// end notes how long the stage has taken.
func (b *Board) end(at time.Time) {
	stage := b.boot.stage
	took := at.Sub(b.boot.began[stage])
	if limit := b.limit(stage); took > limit && b.took.known(stage) {
		b.boot.slow = say(SlowStage, "seconds", seconds(took), "what", nouns[stage], "median", seconds(b.took.median(stage)))
	}
	b.took.add(stage, took)
}

func (b *Board) followDHCP(e timeline.Event) {
	if !b.bootCode(e) {
		b.followSystem(e)
		b.boot.last = e.At
		return
	}
	if e.Kind == timeline.Discover && b.restarts(e) {
		b.begin(Address, e.At)
	}
	if b.boot.stage == "" {
		return // a system that has booted before the timeline began
	}
	b.boot.last = e.At
	switch e.Kind {
	case timeline.Discover:
		b.boot.discovers++
		if e.Serial != 0 {
			b.boot.serial = e.Serial
		}
		if e.Model != "" {
			b.boot.model = e.Model
		}
		if e.Detail != "" {
			b.blame(e, say(NoOffer, "reason", e.Detail))
		}
	case timeline.Offer:
		b.boot.offers++
		b.clear(NoOffer)
	case timeline.Ack:
		b.boot.acks++
		b.clear(NoOffer, OtherServer, AddressRefused)
	default:
		b.refuse(e)
	}
}

// refuse notes that the board did not get the address from here.
func (b *Board) refuse(e timeline.Event) {
	switch {
	case e.Kind == timeline.Nak:
		b.blame(e, say(AddressRefused, "reason", e.Detail))
	case e.Kind == timeline.Declined:
		b.blame(e, say(AddressInUse, "user", "whose Ethernet address is unknown"))
	case e.Kind == timeline.Request && e.Server.IsValid():
		b.blame(e, say(OtherServer, "server", e.Server))
	}
}

// blame notes what an event says is wrong.
func (b *Board) blame(e timeline.Event, fault *finding) {
	b.boot.fault, b.boot.since = fault, e.At
}

// clear removes the fault if it is one of these.
func (b *Board) clear(codes ...Code) {
	for _, code := range codes {
		if b.boot.fault != nil && b.boot.fault.code == code {
			b.boot.fault = nil
		}
	}
}

// bootCode reports whether a DHCP message is of boot code, and not of the kernel or the system.
// Only a DISCOVER says so.
func (b *Board) bootCode(e timeline.Event) bool {
	if e.Kind == timeline.Discover && e.Client != "" {
		return e.Client == timeline.BootCode
	}
	stage := b.boot.stage
	if e.Kind != timeline.Discover {
		return stage.index() <= Firmware.index()
	}
	// Events of earlier versions do not name the client.
	switch {
	case stage.index() <= Firmware.index():
		return true
	case stage == Kernel || stage == Root:
		return e.At.Sub(b.boot.last) > quiet
	}
	return !b.boot.gone.IsZero() || e.At.Sub(b.boot.last) > quiet
}

// restarts reports whether a DISCOVER of boot code begins another boot, and is no repetition.
func (b *Board) restarts(e timeline.Event) bool {
	return b.boot.stage == "" || b.boot.stage.index() > Address.index() || !b.boot.done.IsZero() || e.At.Sub(b.boot.last) > quiet
}

// followSystem follows a DHCP message of the kernel or of the system.
func (b *Board) followSystem(e timeline.Event) {
	switch b.boot.stage {
	case Firmware:
		b.enter(Kernel, e.At) // which has another name
		b.boot.kernelRuns = true
	case Kernel:
		b.boot.kernelRuns = true
		if e.Kind == timeline.Ack {
			b.enter(Root, e.At)
		}
	case Init:
		b.enter(Worker, e.At)
	}
	if b.boot.done.IsZero() {
		b.refuse(e)
	}
}

func (b *Board) followFile(e timeline.Event) {
	prefix, name := split(e.File, e.Board)
	starts := isStart(name)
	over := b.boot.stage.index() > Kernel.index() || b.boot.stage == Kernel && (starts || e.At.Sub(b.boot.last) > quiet)
	if b.boot.stage != "" && (over || !b.boot.done.IsZero()) {
		b.begin(Firmware, e.At)
	}
	b.enter(Firmware, e.At)
	b.boot.last = e.At
	switch e.Kind {
	case timeline.FileMissing:
		b.lacks(e, prefix, name)
		return
	case timeline.FileFailed:
		b.blame(e, transfer(e))
		return
	}
	delete(b.boot.missing, name)
	b.boot.fault = nil
	b.boot.file = e.File
	if e.Kind == timeline.File && b.isKernel(name) {
		b.boot.kernel = e.File
		b.enter(Kernel, e.At)
	}
}

// lacks notes a file that does not exist. Boot code looks for its directory by the first file, and
// does without it if that is not there.
func (b *Board) lacks(e timeline.Event, prefix, name string) {
	switch {
	case prefix == "" && len(b.boot.missing) < maxNames:
		b.boot.missing[name], b.boot.lacked = true, e.At
	case prefix != "":
		b.boot.prefix = prefix
		if !isStart(name) {
			b.blame(e, say(WrongPrefix, "prefix", prefix))
		}
	}
}

// transfer returns what a transfer that failed shows.
func transfer(e timeline.Event) *finding {
	code := TransferFailed
	switch {
	case e.Blocks == 0:
	case e.Block == 0:
		code = TransferBlocked
	case e.Block == 1 && e.Blocks > 1:
		code = TransferMTU
	default:
		code = TransferLoss
	}
	return say(code, "file", e.File, "block", e.Block, "blocks", e.Blocks, "reason", e.Detail)
}

// split returns a file's name without the directory that boot code puts before it, and that
// directory if it is not the board's. Only what looks like a serial number or an Ethernet address
// is such a directory, because a root may have directories of its own.
func split(file, board string) (foreign, name string) {
	dir, rest, ok := strings.Cut(file, "/")
	if !ok {
		return "", file
	}
	if serial, err := pi.ParseSerial(dir); err == nil && len(dir) == len(board) {
		if serial.String() != board {
			return dir, rest
		}
		return "", rest
	}
	if _, err := pi.ParseMAC(dir); err == nil {
		return "", rest
	}
	return "", file
}

// isStart reports whether boot code asks for a file before all others.
func isStart(name string) bool {
	return name == "bootcode.bin" || strings.HasPrefix(name, "start") && strings.HasSuffix(name, ".elf")
}

func (b *Board) isKernel(name string) bool {
	if b.Kernel != "" {
		return name == b.Kernel
	}
	base := path.Base(name)
	return strings.HasPrefix(base, "kernel") && strings.HasSuffix(base, ".img") || strings.HasPrefix(base, "vmlinuz")
}

func (b *Board) followMount(e timeline.Event) {
	isShare := e.Export == "/media" || strings.HasPrefix(e.Export, "/scratch/")
	isRoot := strings.HasSuffix(e.Export, "/"+e.Board) && !isShare
	switch {
	case e.Kind == timeline.Stranger:
		if isRoot && (b.boot.stage == Kernel || b.boot.stage == Root) {
			b.blame(e, say(StrayMount, "addr", e.Addr))
		}
		return
	case e.Kind == timeline.MountRefused:
		b.refused(e, isShare)
	case isRoot:
		if b.boot.stage == Worker {
			b.begin(Init, e.At) // again, without a boot that was seen
		}
		b.enter(Init, e.At)
		b.failed, b.handles = nil, time.Time{}
	case isShare && b.boot.done.IsZero():
		b.enter(Worker, e.At)
		b.boot.shares = true
		b.clear(ShareRefused)
	}
	b.boot.last = e.At
}

// refused notes a mount that was refused: of a share, or of what the kernel takes for its root.
func (b *Board) refused(e timeline.Event, isShare bool) {
	if isShare {
		if b.boot.done.IsZero() {
			b.enter(Worker, e.At)
			b.blame(e, say(ShareRefused, "export", e.Export, "reason", e.Detail))
		}
		return
	}
	if !b.boot.done.IsZero() || b.boot.stage.index() > Root.index() {
		return // the system asks for what is not its own
	}
	b.enter(Root, e.At)
	b.blame(e, say(MountRefused, "reason", e.Detail))
	if strings.Contains(e.Detail, "as registered") {
		b.blame(e, say(OtherAddress, "addr", e.Addr))
	}
}

func (b *Board) followWorker(e timeline.Event) {
	switch e.Kind {
	case timeline.WorkerOnline:
		if b.boot.stage == "" || !b.boot.done.IsZero() && b.boot.gone.IsZero() {
			b.resume(e.At)
		} else if b.boot.done.IsZero() {
			b.enter(Worker, e.At)
			b.end(e.At)
			b.boot.done = e.At
		}
		b.boot.gone, b.boot.leave, b.boot.fault = time.Time{}, false, nil
	case timeline.WorkerOffline:
		if !b.boot.done.IsZero() {
			b.boot.gone, b.boot.leave = e.At, e.Detail != ""
		}
		return
	case timeline.LoginRefused:
		itself := !e.Addr.IsValid() || e.Addr == b.Addr
		if itself && b.boot.done.IsZero() && b.boot.stage.index() >= Init.index() {
			b.enter(Worker, e.At)
			b.blame(e, say(WorkerRefused, "reason", e.Detail))
		}
		return
	}
	b.boot.last = e.At
}

// Seen notes that the worker was online at a moment. A restart can be so quick that no event says
// so.
func (b *Board) Seen(at time.Time) {
	up := b.boot.stage.index() >= Init.index() || b.Unseen && b.boot.stage == Kernel
	if up && b.boot.done.IsZero() && at.After(b.entered()) {
		b.Follow(timeline.Event{At: at, Kind: timeline.WorkerOnline})
	}
}

// resume notes a worker that is online again, or that was online before the timeline began.
func (b *Board) resume(at time.Time) {
	if b.boot.stage == "" {
		b.begin(Worker, at)
	}
	if b.boot.done.IsZero() {
		b.boot.done = at
	}
}
