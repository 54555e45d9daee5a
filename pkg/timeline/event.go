package timeline

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"

	"pibootd/pkg/pi"
)

// A Kind says what happened.
type Kind string

// What can happen to a board. Where a kind says "detail", Event.Detail gives
// the reason in words.
const (
	Discover Kind = "discover" // DHCP, by the names of RFC 2131
	Offer    Kind = "offer"
	Request  Kind = "request"
	Ack      Kind = "ack"
	Nak      Kind = "nak"      // detail
	Declined Kind = "declined" // the board found its address in use

	File        Kind = "file"         // sent whole over TFTP
	FileMissing Kind = "file_missing" // normal: boot code probes for optional files
	FileAborted Kind = "file_aborted" // the board ended it, as it does to learn a size
	FileFailed  Kind = "file_failed"  // detail

	Mount        Kind = "mount"
	MountRefused Kind = "mount_refused" // detail
	Unmount      Kind = "unmount"

	WorkerOnline  Kind = "worker_online"
	WorkerOffline Kind = "worker_offline"
	Claimed       Kind = "claimed" // detail names job and unit, as in the next two
	UnitDone      Kind = "unit_done"
	UnitFailed    Kind = "unit_failed"

	Outdated Kind = "outdated" // its worker is of another build, and gets no work; detail

	Added   Kind = "added"   // to the registry
	Changed Kind = "changed" // detail
	Removed Kind = "removed"
	Unknown Kind = "unknown" // a board that is not registered asked for something

	Conflict   Kind = "conflict"    // another host uses the board's address; detail
	NoConflict Kind = "no_conflict" // no other host does any longer; detail

	Diagnosed Kind = "diagnosis" // what pkg/diagnosis says has changed; code, detail

	OldHandle Kind = "old_handle" // it uses file handles that this pibootd has not made; detail. These come by RecordLimited

	RootFailed Kind = "root_failed" // its root could not be mounted, exported or brought up to date, or its scratch not exported; detail

	OtherServer Kind = "rival" // another DHCP server answers on the boards' network; detail

	// What a board's kernel says of the board, in its log. These come by RecordLimited; all
	// have the line as detail.
	Panic        Kind = "panic" // the kernel has stopped
	Oops         Kind = "oops"  // the kernel is broken, and may run on
	OutOfMemory  Kind = "out_of_memory"
	UnderVoltage Kind = "under_voltage"

	// What must not happen. These come by RecordLimited; all have a detail.
	LoginRefused Kind = "login_refused" // a login in the name of its worker was refused
	Stranger     Kind = "stranger"      // another address asked for what is this board's
	Misuse       Kind = "misuse"        // the board did something against the rules
)

// byOthers reports whether an event is none of the board's own doing: anything
// on the network can cause it.
func (k Kind) byOthers() bool { return k == LoginRefused || k == Stranger }

// labels are the kinds in at most eight letters, where they are longer.
var labels = map[Kind]string{
	FileMissing:   "no file",
	FileAborted:   "aborted",
	FileFailed:    "failed",
	MountRefused:  "refused",
	WorkerOnline:  "online",
	WorkerOffline: "offline",
	UnitDone:      "done",
	UnitFailed:    "failed",
	LoginRefused:  "no login",
	NoConflict:    "resolved",
	Diagnosed:     "=>",
	OldHandle:     "handle",
	RootFailed:    "failed",
	OutOfMemory:   "memory",
	UnderVoltage:  "voltage",
}

// An Event is one thing that happened to one board. Which fields beyond the
// first five are set depends on Kind.
type Event struct {
	ID    int64     `json:"id,omitzero"` // given when it is written, rising; not every number is used
	At    time.Time `json:"at"`
	Board string    `json:"board"`         // serial number, Ethernet address of a board that is not registered, or name of a worker that is no board
	Name  string    `json:"name,omitzero"` // of a registered board or machine
	Kind  Kind      `json:"kind"`

	Addr   netip.Addr    `json:"addr,omitzero"`
	MAC    pi.MAC        `json:"mac,omitzero"`
	File   string        `json:"file,omitzero"`
	Bytes  int64         `json:"bytes,omitzero"`
	Took   time.Duration `json:"took_ns,omitzero"`
	Export string        `json:"export,omitzero"`
	Detail string        `json:"detail,omitzero"`

	Code   string     `json:"code,omitzero"`   // of a diagnosis
	Client string     `json:"client,omitzero"` // of a DISCOVER: BootCode or System
	Serial pi.Serial  `json:"serial,omitzero"` // that boot code says it has, in a DISCOVER
	Model  string     `json:"model,omitzero"`  // that boot code says it is, in a DISCOVER: one of bootconfig's
	Server netip.Addr `json:"server,omitzero"` // of a REQUEST: the other server that it is meant for
	Block  int64      `json:"block,omitzero"`  // of a file that failed: the first that the board did not confirm; 0: none was
	Blocks int64      `json:"blocks,omitzero"` // of a file that failed because the board fell silent: its last
}

// What sends a DISCOVER.
const (
	BootCode = "boot code"
	System   = "system" // the kernel or what it started
)

// maxText bounds each text of an event, in bytes. File names come from the
// network.
const maxText = 1024

// bounded returns e as it can be written and read back.
func (e Event) bounded() Event {
	if year := e.At.Year(); e.At.IsZero() || year < 1 || year > 9999 { // RFC 3339 has no others
		e.At = time.Now()
	}
	if _, err := pi.ParseMAC(e.MAC.String()); err != nil {
		e.MAC = pi.MAC{} // a client may send a group's address as its own
	}
	for _, text := range []*string{&e.Board, &e.Name, (*string)(&e.Kind), &e.File, &e.Export, &e.Detail} {
		*text = strings.ToValidUTF8((*text)[:min(len(*text), maxText)], "?")
	}
	return e
}

// String returns e as a line for people, without a newline:
//
//	12:04:05.123  hlspi1  file     3333347a/start.elf  2.9 MB in 0.41 s
//
// What could disturb a terminal is replaced.
func (e Event) String() string {
	label, ok := labels[e.Kind]
	if !ok {
		label = string(e.Kind)
	}
	head := fmt.Sprintf("%s  %s  %-8s", e.At.Format("15:04:05.000"), cmp.Or(e.Name, e.Board), label)
	var parts []string
	for _, part := range []string{e.File, e.Export, e.peer(), e.effort(), e.Detail} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return printable(strings.TrimRight(head+" "+strings.Join(parts, "  "), " "))
}

// peer returns the addresses without those that the board's name already shows,
// and none for a file or an export, where they are always the board's.
func (e Event) peer() string {
	if e.File != "" || e.Export != "" {
		return ""
	}
	var addrs []string
	if e.Addr.IsValid() {
		addrs = append(addrs, e.Addr.String())
	}
	if e.MAC != (pi.MAC{}) && e.MAC.String() != cmp.Or(e.Name, e.Board) {
		addrs = append(addrs, e.MAC.String())
	}
	return strings.Join(addrs, "  ")
}

// effort returns how much was moved and how long it took.
func (e Event) effort() string {
	switch {
	case e.Bytes != 0 && e.Took != 0:
		return size(e.Bytes) + " in " + seconds(e.Took)
	case e.Bytes != 0:
		return size(e.Bytes)
	case e.Took != 0:
		return seconds(e.Took)
	}
	return ""
}

// size returns n bytes with two significant digits below ten of a unit.
func size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1000, 0
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %cB", value, units[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, units[unit])
}

func seconds(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
