package diagnosis

import (
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

	Kernel    string            // the file that it loads as its kernel
	Needs     []bootconfig.Need // what this model cannot boot without
	Missing   []bootconfig.Need // and does not find
	NoFiles   string            // why its boot files cannot be made; "": they can
	Is32Bit   bool              // a 32-bit kernel before a 64-bit root
	Mismatch  string            // a kernel whose modules are not in the root; "": none
	NoInit    bool              // its root has no init
	Elsewhere bool              // another server gives the addresses, as it should
	Locked    string            // why its worker refuses work; "": it does not
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
		State: state, Stage: b.boot.stage, Since: since, Code: found.code,
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
	case b.boot.stage == "":
		if cause := b.standing(f); cause != nil {
			return cause, "", time.Time{}
		}
		return say(NeverSeen), "", time.Time{}
	case !b.boot.gone.IsZero() && b.boot.leave:
		return say(ShutDown), "", b.boot.gone
	case !b.boot.gone.IsZero():
		return say(Silent), "", b.boot.gone
	case !b.boot.done.IsZero():
		found, state = b.up(now, f)
		return found, state, b.boot.done
	}
	if cause := b.evident(f); cause != nil {
		return cause, "", b.boot.last
	}
	if deadline := b.deadline(); now.After(deadline) {
		return b.explain(f), "", deadline
	}
	return b.underWay(f), Booting, b.entered()
}

// up returns what is to be said of a board whose worker is online.
func (b *Board) up(now time.Time, f Facts) (*finding, State) {
	switch {
	case f.Locked != "":
		return say(Locked, "reason", f.Locked), ""
	case b.boot.slow != nil && now.Sub(b.boot.done) < time.Hour:
		return b.boot.slow, ""
	}
	return say(OK), ""
}

func (b *Board) underWay(Facts) *finding { return say(OnItsWay, "doing", doing[b.boot.stage]) }

// standing returns what is wrong whatever the board does.
func (b *Board) standing(Facts) *finding {
	if b.failed != nil {
		return say(RootFailed, "reason", b.failed.Detail)
	}
	return nil
}

// evident returns a fault that needs no deadline, because an event has shown it.
func (b *Board) evident(f Facts) *finding {
	if fault := b.boot.fault; fault != nil && !(fault.code == OtherServer && f.Elsewhere) {
		return fault
	}
	if b.boot.stage == Firmware {
		if missing := b.missed(f); missing != nil {
			return missing
		}
	}
	if b.boot.stage == Init && f.NoInit {
		return say(NoInit)
	}
	return b.standing(f)
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
	switch b.boot.stage {
	case Address:
		return b.explainAddress()
	case Firmware:
		for _, need := range f.Missing {
			return lacks(need)
		}
		return say(FirmwareSilent, "file", b.boot.file)
	case Kernel:
		return b.explainKernel(f)
	case Root:
		return say(NoMount)
	case Init:
		return say(InitSilent)
	}
	if b.boot.shares {
		return say(WorkerSilent)
	}
	return say(NoWorker)
}

func (b *Board) explainAddress() *finding {
	switch {
	case b.boot.acks > 0:
		return say(NoTFTP, "count", b.boot.acks)
	case b.boot.offered:
		return say(OfferIgnored, "count", b.boot.discovers)
	}
	return say(NoOffer, "reason", "pibootd did not answer, and its log says why")
}

func (b *Board) explainKernel(f Facts) *finding {
	switch {
	case b.boot.kernelRuns:
		return say(NoMount)
	case f.Is32Bit:
		return say(KernelTooSmall, "file", b.boot.kernel)
	case f.Mismatch != "":
		return say(KernelModules, "file", b.boot.kernel, "reason", f.Mismatch)
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
