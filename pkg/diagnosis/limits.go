package diagnosis

import (
	"fmt"
	"slices"
	"time"

	"pibootd/pkg/pi"
)

// samples is how many boots a board's limits are made of.
const samples = 10

// shortest is the least limit of a stage: what a busy machine or a repeated packet costs is no
// fault.
const shortest = 10 * time.Second

// A history is how long the stages of the last boots have taken, oldest first.
type history map[Stage][]time.Duration

func (h *history) add(stage Stage, took time.Duration) {
	if *h == nil {
		*h = history{}
	}
	all := append((*h)[stage], took)
	(*h)[stage] = all[max(0, len(all)-samples):]
}

// known reports whether there are enough boots to say what is usual.
func (h history) known(stage Stage) bool { return len(h[stage]) == samples }

func (h history) median(stage Stage) time.Duration { return h.percentile(stage, 50) }

// percentile returns the nearest rank; 0 if nothing is known.
func (h history) percentile(stage Stage, percent int) time.Duration {
	all := slices.Sorted(slices.Values(h[stage]))
	if len(all) == 0 {
		return 0
	}
	return all[(len(all)*percent+99)/100-1]
}

// limit returns how long a stage may take: twice the 95th percentile of the last boots, or what
// the model may take before there are enough.
func (b *Board) limit(stage Stage) time.Duration {
	if b.took.known(stage) {
		return max(b.within(shortest), 2*b.took.percentile(stage, 95))
	}
	usual := usual[b.Generation]
	if usual == nil {
		usual = oldest
	}
	if b.Unseen && stage == Kernel {
		return b.within(usual[Kernel] + usual[Root] + usual[Init] + usual[Worker])
	}
	return b.within(usual[stage])
}

// within returns how long something takes that takes d with a real board.
func (b *Board) within(d time.Duration) time.Duration { return d / time.Duration(max(1, b.Pace)) }

// oldest are the limits of the slowest boards, and of emulated ones. Boot code of a Pi 3 asks for an
// address for 25 s, and reads blocks of 512 bytes.
var oldest = map[Stage]time.Duration{
	Address: time.Minute, Firmware: 3 * time.Minute, Kernel: 3 * time.Minute, Root: time.Minute, Init: 5 * time.Minute, Worker: 3 * time.Minute,
}

// usual are the limits of models before ten boots have shown a board's own. Boot code of the Pi 4
// and 5 asks for an address for 45 s, and then begins again.
var usual = map[pi.Model]map[Stage]time.Duration{
	pi.Pi4: {Address: time.Minute, Firmware: 2 * time.Minute, Kernel: 2 * time.Minute, Root: time.Minute, Init: 4 * time.Minute, Worker: 2 * time.Minute},
	pi.Pi5: {Address: time.Minute, Firmware: 90 * time.Second, Kernel: 90 * time.Second, Root: time.Minute, Init: 3 * time.Minute, Worker: 90 * time.Second},
}

// nouns are what people call the stages.
var nouns = map[Stage]string{
	Power: "power-on", Address: "its address", Firmware: "its boot files", Kernel: "its kernel",
	Root: "its root", Init: "its system", Worker: "its worker",
}

// doing is what a board does in a stage.
var doing = map[Stage]string{
	Address: "it asks for an address", Firmware: "it loads its boot files", Kernel: "its kernel starts", Root: "it mounts its root",
	Init: "its system starts", Worker: "its worker starts",
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.0f", d.Seconds()) }

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}
