package diagnosis

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// Facts are what is known of a board besides its timeline.
type Facts struct {
	Name   string
	Serial pi.Serial
	MAC    pi.MAC
	IP     netip.Addr
	Model  string // e.g. "4B"; "": unknown

	Kernel    string                       // the file that it loads as its kernel
	Needs     []bootconfig.Need            // what this model cannot boot without
	Missing   []bootconfig.Need            // and does not find
	NoFiles   string                       // why its boot files cannot be made; "": they can
	Is32Bit   bool                         // a 32-bit kernel before a 64-bit root
	Mismatch  func() string                // returns a kernel whose modules are not in the root; "": none; nil: unknown
	NoInit    bool                         // its root has no init
	Logged    func(since time.Time) string // returns what its kernel logged last since then; "": nothing; nil: unknown
	Unseen    bool                         // nfsd serves its root, so its mounts are not seen
	Elsewhere bool                         // another server gives the addresses, as it should
	Started   time.Time                    // of the daemon, which looks for some faults again
	Seen      time.Time                    // of its worker, while it is online; zero: it is not
	Health    Health                       // what its worker reports
}

// FactsOf returns what a board's registration says.
func FactsOf(board registry.Pi) Facts {
	return Facts{Name: board.Name, Serial: board.Serial, MAC: board.MAC, IP: board.IP}
}

// At returns what is known at a moment.
func (b *Board) At(now time.Time, f Facts) Diagnosis {
	found, state, since := b.judge(now, f)
	entry := entryOf(found.code)
	if state == "" {
		state = entry.State
	}
	d := Diagnosis{
		Model: b.model, State: state, Stage: b.boot.stage, Since: since, Code: found.code,
		Sentence: found.fill(entry.Sentence, f), Action: found.fill(entry.Action, f), Stages: b.timed(now),
	}
	if d.Stage == "" {
		d.Stage = Power
	}
	if state == Booting {
		d.Deadline = b.deadline()
	}
	return d
}

func (b *Board) deadline() time.Time { return b.entered().Add(b.limit(b.boot.stage)) }

func (b *Board) entered() time.Time { return b.boot.began[b.boot.stage] }

// judge returns what is to be said, since when it is so, and its state unless that is the code's.
func (b *Board) judge(now time.Time, f Facts) (found *finding, state State, since time.Time) {
	switch {
	case !b.handles.IsZero() && !b.boot.leave:
		return say(OldHandles), "", b.handles
	case b.boot.stage == "":
		if found := b.unserved(f); found != nil {
			return found, "", b.failed.At
		}
		return say(NeverSeen), "", time.Time{}
	case b.boot.fault != nil && b.boot.fault.code == KernelPanic:
		return b.boot.fault, "", b.boot.since
	case !b.boot.gone.IsZero() && f.Health.NoFFmpeg != "":
		return say(NoFFmpeg, "reason", f.Health.NoFFmpeg), "", b.boot.gone
	case !b.boot.gone.IsZero() && b.boot.leave:
		return say(ShutDown), "", b.boot.gone
	case !b.boot.gone.IsZero():
		return say(Silent), "", b.boot.gone
	case !b.boot.done.IsZero() && b.unseen(now, f):
		return say(Silent), "", f.Started
	case !b.boot.done.IsZero():
		found, state = b.up(now, f)
		return found, state, b.boot.done
	}
	if found, since := b.evident(f); found != nil {
		return found, "", since
	}
	if deadline := b.deadline(); now.After(deadline) {
		return b.explain(f), "", deadline
	}
	if found, since := b.again(now, f); found != nil {
		return found, "", since
	}
	if note := b.note(f); note != nil {
		return note, Booting, b.entered()
	}
	return say(OnItsWay, "doing", doing[b.boot.stage]), Booting, b.entered()
}

// note returns what is wrong with a board and does not keep it from booting.
func (b *Board) note(f Facts) *finding {
	switch {
	case b.conflict != nil && b.conflict.At.After(f.Started):
		return say(AddressInUse, "user", b.conflict.MAC)
	case b.boot.serial != 0 && b.boot.serial != f.Serial:
		return say(SerialMismatch, "other", b.boot.serial)
	case b.boot.prefix != "":
		return say(WrongPrefix, "prefix", b.boot.prefix)
	}
	return nil
}

// unserved returns why the root of a board cannot be served. It is tried at each start.
func (b *Board) unserved(f Facts) *finding {
	if b.failed != nil && b.failed.At.After(f.Started) {
		return say(RootFailed, "reason", b.failed.Detail)
	}
	return nil
}

// evident returns a fault that needs no deadline, because an event has shown it, and since when.
func (b *Board) evident(f Facts) (*finding, time.Time) {
	if fault := b.boot.fault; fault != nil && !(fault.code == OtherServer && f.Elsewhere) {
		return fault, b.boot.since
	}
	if b.boot.stage == Address && b.boot.acks > manyAcks {
		return say(NoTFTP, "times", times(b.boot.acks)), b.boot.last
	}
	if b.boot.stage == Firmware {
		if missed := b.missed(f); missed != nil {
			return missed, b.boot.lacked
		}
	}
	if b.boot.stage == Init && f.NoInit {
		return say(NoInit), b.entered()
	}
	if found := b.unserved(f); found != nil {
		return found, b.failed.At
	}
	return nil, time.Time{}
}

// manyAcks is how often a board may get its address before it asks for a file: the ACK may be
// lost.
const manyAcks = 3

// loopTime is the time in which boots belong together, loopBoots how many that fail are a loop, and
// loopRestarts how many if some of them went well.
const (
	loopTime     = 10 * time.Minute
	loopBoots    = 3
	loopRestarts = 5
)

// again returns what was wrong with the boot before, until this one is further, and whether there
// have been many of them.
func (b *Board) again(now time.Time, f Facts) (*finding, time.Time) {
	first, count, furthest, ended := now, 1, b.boot.stage, false
	for i, was := range slices.Backward(b.earlier) {
		if !was.done.IsZero() && (!was.gone.IsZero() || was.last.Sub(was.done) > loopTime) || now.Sub(was.first()) > loopTime {
			break
		}
		count++
		ended = ended || !was.done.IsZero()
		first = was.first()
		if was.stage.index() > furthest.index() {
			furthest = was.stage
		}
		if fault := was.fault; i == len(b.earlier)-1 && fault != nil && was.stage.index() >= b.boot.stage.index() {
			return fault, was.since
		}
	}
	if count < loopBoots || ended && count < loopRestarts {
		return nil, time.Time{}
	}
	minutes := "a minute"
	if n := int(now.Sub(first).Round(time.Minute) / time.Minute); n > 1 {
		minutes = fmt.Sprintf("%d minutes", n)
	}
	return say(RebootLoop, "times", times(count), "minutes", minutes, "what", nouns[furthest]), b.boot.first()
}

// first returns when a boot was first seen.
func (b boot) first() time.Time {
	var first time.Time
	for stage, at := range b.began {
		if stage != Power && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// up returns what is to be said of a board whose worker is online, and its state unless that is
// the code's.
func (b *Board) up(now time.Time, f Facts) (*finding, State) {
	if found := f.Health.finding(now.Sub(b.boot.done) > b.within(setClock)); found != nil {
		return found, ""
	}
	if b.boot.voltage {
		return say(UnderVoltage), ""
	}
	if late := b.late(); late != nil {
		return late, ""
	}
	if b.boot.slow != nil && now.Sub(b.boot.done) < time.Hour {
		return b.boot.slow, ""
	}
	if f.Health.Locked != "" {
		return say(Locked, "reason", f.Health.Locked), ""
	}
	if note := b.note(f); note != nil {
		return note, Well
	}
	return say(OK), ""
}

// Lacks returns a line for each file that the board needs and does not find.
func (f Facts) Lacks() []string {
	var lines []string
	for _, need := range f.Missing {
		found := lacks(need)
		entry := entryOf(found.code)
		lines = append(lines, found.fill(entry.Sentence, f)+" "+found.fill(entry.Action, f))
	}
	return lines
}

// needCodes are the codes of missing files.
var needCodes = map[string]Code{
	"boot code": MissingBootCode, "firmware": MissingFirmware, "device tree": MissingTree, "kernel": MissingKernel, "initramfs": MissingInitramfs,
}

// missed returns a file that the board has asked for and cannot boot without.
func (b *Board) missed(f Facts) *finding {
	for _, need := range f.Needs {
		if !slices.ContainsFunc(need.Files, func(name string) bool { return !b.boot.missing[name] }) {
			return lacks(need)
		}
	}
	return nil
}

func lacks(need bootconfig.Need) *finding {
	return say(needCodes[need.What], "file", joined(need.Files))
}

func joined(names []string) string {
	text := ""
	for i, name := range names {
		if i > 0 {
			text += " or "
		}
		text += name
	}
	return text
}

// explain returns why a boot has not gone on in time.
func (b *Board) explain(f Facts) *finding {
	if f.NoFiles != "" && b.boot.stage.index() <= Firmware.index() {
		return say(NoBootFiles, "reason", f.NoFiles)
	}
	if note := b.note(f); note != nil && b.boot.stage.index() <= Firmware.index() {
		return note
	}
	switch b.boot.stage {
	case Address:
		return b.explainAddress(f)
	case Firmware:
		for _, need := range f.Missing {
			return lacks(need)
		}
		return say(FirmwareSilent, "file", b.boot.file)
	case Kernel:
		return b.explainKernel(f)
	case Root:
		if line := f.logged(b.entered()); line != "" {
			return say(KernelStopped, "line", line)
		}
		return say(NoMount)
	case Init:
		if mismatch := f.mismatch(); mismatch != "" {
			return say(KernelModules, "file", b.boot.kernel, "reason", mismatch)
		}
		return say(InitSilent)
	}
	if b.boot.shares {
		return say(WorkerSilent)
	}
	return say(NoWorker)
}

func (b *Board) explainAddress(f Facts) *finding {
	count := b.boot.acks
	if f.isPi3() { // it sends no REQUEST
		count = b.boot.offers
	}
	switch {
	case count > 0:
		return say(NoTFTP, "times", times(count))
	case b.boot.offers > 0:
		return say(OfferIgnored, "times", times(b.boot.discovers))
	}
	return say(NoOffer, "reason", "pibootd did not answer, and its log says why")
}

// helloTime is how long after a start of the daemon the workers that are up have said hello.
const helloTime = 2 * time.Minute

// unseen reports whether a worker that was online has not said hello since the daemon was started.
func (b *Board) unseen(now time.Time, f Facts) bool {
	return f.Seen.IsZero() && !f.Started.IsZero() && now.Sub(f.Started) > b.within(helloTime)
}

func (f Facts) mismatch() string {
	if f.Mismatch == nil {
		return ""
	}
	return f.Mismatch()
}

func (f Facts) logged(since time.Time) string {
	if f.Logged == nil {
		return ""
	}
	return f.Logged(since)
}

func (f Facts) isPi3() bool { return bootconfig.ModelsAt(f.MAC)[0].Generation() == pi.Pi3 }

func (b *Board) explainKernel(f Facts) *finding {
	switch {
	case b.Unseen:
		return say(Unseen, "file", b.boot.kernel)
	case f.logged(b.entered()) != "":
		return say(KernelStopped, "line", f.logged(b.entered()))
	case b.boot.kernelRuns:
		return say(NoMount)
	case f.Is32Bit:
		return say(KernelTooSmall, "file", b.boot.kernel)
	}
	if mismatch := f.mismatch(); mismatch != "" {
		return say(KernelModules, "file", b.boot.kernel, "reason", mismatch)
	}
	return say(KernelSilent, "file", b.boot.kernel)
}

// timed returns the stages of the last boot.
func (b *Board) timed(now time.Time) []Timed {
	out := []Timed{}
	end := now
	if !b.boot.done.IsZero() {
		end = b.boot.done
	}
	for _, stage := range slices.Backward(stages) {
		started, ok := b.boot.began[stage]
		if !ok {
			continue
		}
		out = append(out, Timed{Stage: stage, Started: started, Seconds: max(0, end.Sub(started).Seconds()), Median: b.took.median(stage).Seconds()})
		end = started
	}
	slices.Reverse(out)
	return out
}
