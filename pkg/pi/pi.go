// Package pi says what a Raspberry Pi is to a network: an Ethernet address, a
// serial number, a model and a processor architecture.
package pi

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"strconv"
	"strings"
)

// A MAC is a 48-bit Ethernet address. The zero value stands for "none".
type MAC [6]byte

// ParseMAC reads a colon-, dash- or dot-separated 48-bit address.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, fmt.Errorf("pi: %q is not an Ethernet address; want six hex bytes, e.g. dc:a6:32:01:02:03", s)
	}
	return MACOf(hw)
}

// MACOf returns the address that hw has, of one board's card.
func MACOf(hw net.HardwareAddr) (MAC, error) {
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("pi: %q is not an Ethernet address; want six hex bytes, e.g. dc:a6:32:01:02:03", hw.String())
	}
	mac := MAC(hw)
	if mac == (MAC{}) || mac[0]&1 != 0 {
		return MAC{}, fmt.Errorf("pi: %q is not the address of one board; want a unicast address, e.g. dc:a6:32:01:02:03", hw.String())
	}
	return mac, nil
}

// String returns m as six lower-case hex bytes joined by colons.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Dashed returns m as six lower-case hex bytes joined by dashes, the form in
// which bootloaders with TFTP_PREFIX=2 name their directory.
func (m MAC) Dashed() string { return strings.ReplaceAll(m.String(), ":", "-") }

// MarshalText returns String.
func (m MAC) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText is ParseMAC.
func (m *MAC) UnmarshalText(text []byte) error {
	got, err := ParseMAC(string(text))
	if err != nil {
		return err
	}
	*m = got
	return nil
}

// A Serial is the low 32 bits of a board's serial number, which is the part
// that names its TFTP directory.
type Serial uint32

// ParseSerial reads a serial number as it stands in a TFTP path (8 hex digits)
// or in /proc/cpuinfo (16 hex digits, of which the low 8 count), with or
// without 0x before it.
func ParseSerial(s string) (Serial, error) {
	digits := strings.TrimPrefix(strings.ToLower(s), "0x")
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != 4 && len(raw) != 8 {
		return 0, fmt.Errorf("pi: %q is not a serial number; want its last 8 hex digits, e.g. 3333347a (on the Pi: grep Serial /proc/cpuinfo)", s)
	}
	low, err := strconv.ParseUint(digits[len(digits)-8:], 16, 32)
	if err != nil {
		return 0, fmt.Errorf("pi: %q is not a serial number: %w", s, err)
	}
	if low == 0 {
		return 0, fmt.Errorf("pi: %q is not the serial number of a board; want the last 8 hex digits of /proc/cpuinfo's Serial", s)
	}
	return Serial(low), nil
}

// String returns s as 8 lower-case hex digits, the name of its TFTP directory.
func (s Serial) String() string { return fmt.Sprintf("%08x", uint32(s)) }

// Swapped returns s with its bytes in the opposite order.
func (s Serial) Swapped() Serial { return Serial(bits.ReverseBytes32(uint32(s))) }

// MarshalText returns String.
func (s Serial) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseSerial.
func (s *Serial) UnmarshalText(text []byte) error {
	got, err := ParseSerial(string(text))
	if err != nil {
		return err
	}
	*s = got
	return nil
}

// CheckPair reports whether mac and serial can belong to one board. Boards up
// to the Pi 3 (b8:27:eb) carry the low three bytes of their serial number in
// their address; from the Pi 4 on the two are unrelated.
func CheckPair(mac MAC, serial Serial) error {
	if mac[0] != 0xb8 || mac[1] != 0x27 || mac[2] != 0xeb {
		return nil
	}
	low := uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5])
	if uint32(serial)&0xffffff != low {
		return fmt.Errorf("pi: address %s and serial %s are not of one board: a b8:27:eb board's serial ends in its address's last three bytes, here %06x", mac, serial, low)
	}
	return nil
}

// An Arch is the processor architecture of a root file system, named as the
// worker binaries are.
type Arch string

// The architectures that pibootd has workers for.
const (
	ARM64 Arch = "arm64"
	ARMv7 Arch = "armv7"
	ARMv6 Arch = "armv6"
	AMD64 Arch = "amd64"
)
