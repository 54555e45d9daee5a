//go:build e2e

package virtualpi

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"pibootd/pkg/pi"
)

// What a test kernel does after its message: a PSCI call (Arm DEN 0022 §5), or
// nothing.
const (
	powerOff = 0x84000008
	reboot   = 0x84000009
	hang     = 0
)

// testKernel is an arm64 Image that writes message to the first serial port of
// QEMU's virt machine and ends with a PSCI call.
func testKernel(message string, psci uint32) []byte {
	const (
		headerLen = 64
		magicAt   = 56
		sizeAt    = 16
	)
	finish := []uint32{
		0x52800000 | psci&0xffff<<5, // movz w0, #low
		0x72a00000 | psci>>16<<5,    // movk w0, #high, lsl 16
		0xd4000002,                  // hvc #0
		0x14000000,                  // b .
	}
	if psci == hang {
		finish = finish[3:]
	}
	code := []uint32{
		0xd2a12001, // movz x1, #0x0900, lsl 16: the PL011
		0,          // adr x2, message
		0x38401443, // ldrb w3, [x2], #1
		0x34000063, // cbz w3, finish
		0xb9000023, // str w3, [x1]
		0x17fffffd, // b ldrb
	}
	code = append(code, finish...)
	code[1] = 0x10000002 | uint32(len(code)-1)<<5
	image := make([]byte, headerLen)
	binary.LittleEndian.PutUint32(image, 0x14000000|headerLen/4) // b code
	for _, instruction := range code {
		image = binary.LittleEndian.AppendUint32(image, instruction)
	}
	image = append(image, message+"\x00"...)
	binary.LittleEndian.PutUint64(image[sizeAt:], uint64(len(image)))
	copy(image[magicAt:], "ARM\x64")
	return image
}

func TestMachineRunsItsKernel(t *testing.T) {
	tests := []struct {
		name, message string
		psci          uint32
		wantErr       []string // nil: no error
	}{
		{name: "powers off", message: "hello\r\n", psci: powerOff},
		{name: "reboots", message: "first\r\nlast words", psci: reboot, wantErr: []string{"rebooted", "first\nlast words"}},
		{name: "panics", message: "Kernel panic - not syncing: no init\n---[ end Kernel panic - not syncing: no init ]---\n", psci: hang,
			wantErr: []string{"panicked", "no init ]---"}},
	}
	lan := newLAN(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var console strings.Builder
			boot := &Boot{Kernel: testKernel(tt.message, tt.psci), Initramfs: []byte("initramfs"), Cmdline: "console=ttyAMA0"}
			m, err := testBoard(pi.Pi3).Start(t.Context(), boot, lan, MachineOptions{Console: &console, MemoryMB: 64, CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			err = m.Wait()
			if (err != nil) != (tt.wantErr != nil) {
				t.Errorf("Wait = %v; want an error with %q", err, tt.wantErr)
			}
			for _, want := range tt.wantErr {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("Wait = %v; want %q in it", err, want)
				}
			}
			if console.String() != tt.message {
				t.Errorf("console = %q; want %q", console.String(), tt.message)
			}
			wantNoPort(t, lan, "tap")
		})
	}
}

func TestMachineIsSwitchedOff(t *testing.T) {
	lan := newLAN(t)
	ctx, cancel := context.WithCancel(t.Context())
	ends := map[string]struct {
		ctx     context.Context
		end     func(*Machine) error
		wantErr error
	}{
		"by Off":       {ctx: t.Context(), end: (*Machine).Off},
		"by Off twice": {ctx: t.Context(), end: func(m *Machine) error { return errors.Join(m.Off(), m.Off()) }},
		"by context":   {ctx: ctx, end: func(m *Machine) error { cancel(); return m.Wait() }, wantErr: context.Canceled},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			hello, console := io.Pipe()
			boot := &Boot{Kernel: testKernel("up\n", hang)}
			m, err := testBoard(pi.Pi3).Start(tt.ctx, boot, lan, MachineOptions{Console: console, MemoryMB: 64, CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Off()
			if _, err := io.ReadFull(hello, make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
			if err := tt.end(m); !errors.Is(err, tt.wantErr) {
				t.Errorf("error = %v; want %v", err, tt.wantErr)
			}
			wantNoPort(t, lan, "tap")
		})
	}
}
