package boardlog

import "strings"

// A Finding is what a line of a kernel says of its board.
type Finding string

// The findings.
const (
	Panic        Finding = "panic"         // the kernel has stopped
	Oops         Finding = "oops"          // the kernel is broken, and may run on
	OutOfMemory  Finding = "out_of_memory" // a process was killed
	UnderVoltage Finding = "under_voltage"
)

// marks are how the kernels of boards begin what matters, in the words of kernel/panic.c,
// init/do_mounts.c, arch/*/kernel/traps.c, mm/oom_kill.c, drivers/hwmon/raspberrypi-hwmon.c
// and, for under-voltage, of the older drivers/firmware/raspberrypi.c.
var marks = []struct {
	text    string
	finding Finding
}{
	{"Kernel panic - not syncing", Panic},
	{"Unable to mount root fs", Panic},
	{"Internal error: Oops", Oops},
	{"Unable to handle kernel", Oops},
	{"Out of memory: Kill", OutOfMemory},
	{"Memory cgroup out of memory: Kill", OutOfMemory},
	{"Under-voltage detected!", UnderVoltage},
	{"Undervoltage detected!", UnderVoltage},
}

// Finding returns what the line says of its board; "" if that is nothing in particular.
func (l Line) Finding() Finding {
	if !l.IsKernel() || strings.Contains(l.Text, "---[ end Kernel panic") {
		return "" // the end of a panic repeats its beginning
	}
	for _, m := range marks {
		if strings.Contains(l.Text, m.text) {
			return m.finding
		}
	}
	return ""
}
