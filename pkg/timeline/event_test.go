package timeline

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pibootd/pkg/pi"
)

var noon = time.Date(2026, 3, 1, 12, 4, 5, 123456789, time.UTC)

func TestString(t *testing.T) {
	addr, mac := netip.MustParseAddr("10.0.0.192"), pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	for want, e := range map[string]Event{
		"12:04:05.123  hlspi1  file     3333347a/start.elf  2.9 MB in 0.41 s": {
			Name: "hlspi1", Kind: File, File: "3333347a/start.elf", Bytes: 2_939_488, Took: 412 * time.Millisecond, Addr: addr},
		"12:04:05.123  hlspi1  no file  3333347a/recovery.elf": {
			Name: "hlspi1", Kind: FileMissing, File: "3333347a/recovery.elf", Addr: addr},
		"12:04:05.123  hlspi1  aborted  bootcode.bin  0.3 ms": {
			Name: "hlspi1", Kind: FileAborted, File: "bootcode.bin", Took: 300 * time.Microsecond},
		"12:04:05.123  hlspi1  failed   kernel8.img  1.0 kB in 12 s  no answer to block 3": {
			Name: "hlspi1", Kind: FileFailed, File: "kernel8.img", Bytes: 1024, Took: 12 * time.Second, Detail: "no answer to block 3"},
		"12:04:05.123  b8:27:eb:33:34:7a  discover": {
			Board: mac.String(), Kind: Discover, MAC: mac},
		"12:04:05.123  hlspi1  ack      10.0.0.192  b8:27:eb:33:34:7a": {
			Name: "hlspi1", Kind: Ack, MAC: mac, Addr: addr},
		"12:04:05.123  hlspi1  nak      10.0.0.7  b8:27:eb:33:34:7a  its address is 10.0.0.192": {
			Name: "hlspi1", Kind: Nak, MAC: mac, Addr: netip.MustParseAddr("10.0.0.7"), Detail: "its address is 10.0.0.192"},
		"12:04:05.123  hlspi1  mount    /roots/3333347a": {
			Name: "hlspi1", Kind: Mount, Export: "/roots/3333347a", Addr: addr},
		"12:04:05.123  hlspi1  refused  /roots/00000001  not its root": {
			Name: "hlspi1", Kind: MountRefused, Export: "/roots/00000001", Detail: "not its root"},
		"12:04:05.123  hlspi1  done     job 1, v-180p-0003  1m": {
			Name: "hlspi1", Kind: UnitDone, Detail: "job 1, v-180p-0003  1m"},
		"12:04:05.123  3333347a  added": {Board: "3333347a", Kind: Added},
		"12:04:05.123  hlspi1  no file  a\ufffd[2Jb\ufffd": {
			Name: "hlspi1", Kind: FileMissing, File: "a\x1b[2Jb\n"},
	} {
		e.At = noon
		if got := e.String(); got != want {
			t.Errorf("String =\n%s; want\n%s", got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9999: "10 kB", 999_499: "999 kB", 999_999: "1.0 MB",
		2_939_488: "2.9 MB", 31_000_000: "31 MB", 1 << 62: "4.6 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s; want %s", n, got, want)
		}
	}
}

func TestLabelsAreShort(t *testing.T) {
	for _, kind := range []Kind{
		Discover, Offer, Request, Ack, Nak, Declined, File, FileMissing, FileAborted, FileFailed, Mount, MountRefused,
		Unmount, WorkerOnline, WorkerOffline, Claimed, UnitDone, UnitFailed, Added, Removed, Unknown, OtherServer, Conflict,
		Outdated, OldHandle, RootFailed, LoginRefused, Stranger, Misuse, Panic, Oops, OutOfMemory, UnderVoltage,
	} {
		label, ok := labels[kind]
		if !ok {
			label = string(kind)
		}
		if len(label) > 8 {
			t.Errorf("%s is shown as %q; want at most 8 letters", kind, label)
		}
	}
}

func TestJSON(t *testing.T) {
	e := Event{ID: 7, At: noon, Board: "3333347a", Name: "hlspi1", Kind: File, Addr: netip.MustParseAddr("10.0.0.192"), File: "start.elf", Bytes: 5, Took: time.Millisecond}
	const want = `{"id":7,"at":"2026-03-01T12:04:05.123456789Z","board":"3333347a","name":"hlspi1","kind":"file",` +
		`"addr":"10.0.0.192","file":"start.elf","bytes":5,"took_ns":1000000}`
	if got, err := json.Marshal(e); err != nil || string(got) != want {
		t.Errorf("JSON = %s, %v; want %s", got, err, want)
	}
}

// Whatever a client sends as its address or asks for as a file can be written
// and read back, and does not disturb a terminal.
func FuzzEvent(f *testing.F) {
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "start.elf", int64(1), int64(5), int64(0))
	f.Add([]byte{}, "\xff\x1b[2J\n", int64(-1<<62), int64(-1), int64(-1))
	f.Add([]byte{2}, strings.Repeat("\xc3x", 600), int64(0), int64(0), int64(0))
	f.Add([]byte{2}, strings.Repeat("ü", 600), int64(1<<62), int64(1<<62), int64(1<<62))
	f.Fuzz(func(t *testing.T, mac []byte, text string, unix, bytes, took int64) {
		e := Event{At: time.Unix(unix, 0), Board: text, Kind: File, File: text, Detail: text, Bytes: bytes, Took: time.Duration(took)}
		copy(e.MAC[:], mac)
		want := e.bounded()
		if len(want.File) > maxText {
			t.Errorf("file name of %d bytes; want at most %d", len(want.File), maxText)
		}
		written, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Event
		if err := json.Unmarshal(written, &got); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if !got.At.Equal(want.At) {
			t.Errorf("time read back = %v; want %v", got.At, want.At)
		}
		got.At = want.At
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read back %+v; want %+v", got, want)
		}
		line := want.String()
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("line %q; want printable text", line)
		}
	})
}
