//go:build e2e

package virtualpi

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
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
		0xd503207f,                  // wfi
		0x17ffffff,                  // b wfi
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
			m, err := testBoard(Pi3B).Start(t.Context(), boot, lan, MachineOptions{Console: &console, MemoryMB: 64, CPUs: 1})
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
			m, err := testBoard(Pi3B).Start(tt.ctx, boot, lan, MachineOptions{Console: console, MemoryMB: 64, CPUs: 1})
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

func TestStartRefuses(t *testing.T) {
	lan := newLAN(t)
	good := &Boot{Kernel: testKernel("", hang)}
	tests := []struct {
		name    string
		boot    *Boot
		socket  Socket
		prepare func(t *testing.T)
		want    string
	}{
		{name: "no QEMU", boot: good, socket: lan, prepare: func(t *testing.T) { t.Setenv("PATH", t.TempDir()) }, want: "install the package qemu-system-arm"},
		{name: "32-bit kernel", boot: &Boot{Kernel: make([]byte, 4096)}, socket: lan, want: "32-bit kernels are not imitated"},
		{name: "no bridge", boot: good, socket: Socket{Namespace: lan.Namespace, Bridge: "lo"}, want: `"lo" is not a bridge`},
		{name: "a running board", boot: good, socket: lan, prepare: func(t *testing.T) {
			m, err := testBoard(Pi3B).Start(t.Context(), good, lan, MachineOptions{MemoryMB: 64, CPUs: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = m.Off() })
		}, want: "does the board run already?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.prepare != nil {
				tt.prepare(t)
			}
			m, err := testBoard(Pi3B).Start(t.Context(), tt.boot, tt.socket, MachineOptions{MemoryMB: 64, CPUs: 1})
			if err == nil {
				t.Fatalf("Start = a machine that ended with %v; want an error", m.Off())
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v; want %q in it", err, tt.want)
			}
		})
	}
}

// starterEnv makes this test binary the process that
// TestMachineDiesWithItsStarter kills.
const starterEnv = "PIBOOTD_TEST_STARTER"

func TestMachineDiesWithItsStarter(t *testing.T) {
	if os.Getenv(starterEnv) != "" {
		startForever(t)
		return
	}
	lan := newLAN(t)
	starter := exec.Command(os.Args[0], "-test.run=^TestMachineDiesWithItsStarter$")
	starter.Env = append(os.Environ(), starterEnv+"=1")
	stdout, err := starter.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lan.Namespace.Do(starter.Start); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stdout)
	line, _ := said.ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatalf("the starter said %q; want QEMU's process id", line)
	}
	machine, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(machine)
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = starter.Wait() // it was killed
	const limitMS = 10_000
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(machine), Events: unix.POLLIN}}, limitMS); n != 1 {
		t.Errorf("QEMU outlived its starter (%v)", err)
		_ = unix.PidfdSendSignal(machine, unix.SIGKILL, nil, 0)
		return
	}
	wantNoPort(t, lan, "tap")
}

// startForever starts a machine in the namespace that this process is in, and
// says QEMU's process id.
func startForever(t *testing.T) {
	here, err := netlab.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	boot := &Boot{Kernel: testKernel("", hang)}
	m, err := testBoard(Pi3B).Start(t.Context(), boot, Socket{Namespace: here, Bridge: netlabtest.Bridge}, MachineOptions{MemoryMB: 64, CPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if children, _ := os.ReadFile(list); len(children) > 0 {
			fmt.Println(string(children))
		}
	}
	t.Fatal(m.Wait())
}
