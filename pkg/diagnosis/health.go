package diagnosis

import (
	"slices"
	"time"
)

// A Health is what a board's worker reports of the board.
type Health struct {
	Locked   string // why it refuses work; "": it does not
	NoFFmpeg string // why ffmpeg does not work; "": it does, or is not tried yet
	// Throttled has the bits of the firmware's GET_THROTTLED: 0 too little voltage, 1 to 3 limits
	// because of heat, and the same from 16 on for the time since the start.
	Throttled    uint32
	ClockAhead   time.Duration // of the board's clock; 0: right, or unknown
	RootReadOnly bool
	RootSize     int64 // bytes of the root; 0: unknown
	RootFree     int64 // bytes that the root has free
}

const (
	voltageBits = 1 | 1<<16
	heatBits    = 0b1110 | 0b1110<<16
	// wrongClock is how far a clock has to be off to be wrong. Reports take their time, too.
	wrongClock = 2 * time.Minute
	// fullRoot is the free space, in bytes, below which a system fails in odd ways.
	fullRoot = 16 << 20
)

// setClock is how long a board may take to learn the time: it has no clock of its own.
const setClock = 3 * time.Minute

// finding returns the worst that is wrong with a board; nil if nothing is. clockSet is whether it
// has had the time to set its clock.
func (h Health) finding(clockSet bool) *finding {
	switch {
	case h.NoFFmpeg != "":
		return say(NoFFmpeg, "reason", h.NoFFmpeg)
	case h.RootReadOnly:
		return say(RootReadOnly)
	case h.RootSize > 0 && h.RootFree < fullRoot:
		return say(RootFull, "free", h.RootFree>>20)
	case h.Throttled&voltageBits != 0:
		return say(UnderVoltage)
	case h.Throttled&heatBits != 0:
		return say(Throttled)
	case h.ClockAhead.Abs() > wrongClock && clockSet:
		fast := "fast"
		if h.ClockAhead < 0 {
			fast = "slow"
		}
		return say(ClockWrong, "seconds", seconds(h.ClockAhead.Abs()), "fast", fast)
	}
	return nil
}

// A switch with spanning tree blocks a port for 30 s after the board has come up. So the board is
// heard later than it needs from the end of its worker, and by the same time in each boot; somebody
// who switches it off and on takes now less, now more.
const (
	blocked    = 40 * time.Second
	unblocked  = 2 * time.Minute
	blockedFor = 15 * time.Second // from the earliest to the latest
	lateBoots  = 4
)

// late reports boots that all began late, as far as it is known when they were started.
func (b *Board) late() *finding {
	var delays []time.Duration
	for _, was := range slices.Backward(append(slices.Clone(b.earlier), b.boot)) {
		if !was.down.IsZero() && len(delays) < lateBoots {
			delays = append(delays, was.first().Sub(was.down))
		}
	}
	if len(delays) < lateBoots {
		return nil
	}
	least, most := slices.Min(delays), slices.Max(delays)
	if least < b.within(blocked) || most > b.within(unblocked) || most-least > b.within(blockedFor) {
		return nil
	}
	return say(LateDiscover, "seconds", seconds(least))
}
