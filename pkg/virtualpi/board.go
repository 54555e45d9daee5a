//go:build linux

// Package virtualpi imitates a Raspberry Pi from power-on: first, in Go, what
// its boot ROM and firmware do on the network, then, in QEMU, a real kernel on
// exactly the files it was served. It stands in for hardware in tests, in
// `pibootd rehearse` and in the demo. It needs root; the second half needs
// qemu-system-aarch64.
//
// The first half follows packet captures and the maker's documentation: DHCP
// options, their order and retries per model, and every TFTP request with its
// options, the probes for files that usually do not exist included. It is
// strict where a board is: an answer that a board would not understand is an
// error that says why.
//
// Not imitated: that a Pi 3B's mask ROM may leave an OFFER unread until another
// frame arrives; what bootcode.bin, start.elf and the bootloader in the EEPROM do apart from
// loading files (they are fetched, not run); start_x, start_file, gpu_mem's
// choice of start_cd.elf and include lines of config.txt; 32-bit kernels;
// self-updates and NOOBS recovery. QEMU's machine is its own "virt" with a
// Cortex-A53 and virtio devices, not a Pi: the board's device tree, which has to
// be there, and overlays are fetched, but virt's own tree is used; and the
// parameters that real firmware adds to the command line are missing.
package virtualpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/pi"
)

// ErrNoOffer reports that no DHCP server answered at all.
var ErrNoOffer = errors.New("no DHCP server answered")

// A Board is the board that is simulated. Its methods may be called from one goroutine at
// a time.
type Board struct {
	Model  Model
	MAC    pi.MAC
	Serial pi.Serial
	Timing Timing

	// MaskROM makes a Pi3B one whose mask ROM asks, with its bugs
	// (raspberrypi/firmware#764, #934, #1067): it tells no serial number, misses
	// what is answered at once, takes other boards' OFFERs for its own, and
	// answers no ARP once it has an address.
	MaskROM bool

	OnStep func(Step) // called for every step, in order; nil: nobody looks
}

// A Timing is how long a board waits; 0 means the times of its model.
type Timing struct {
	DHCPRetry   time.Duration // from one DISCOVER or REQUEST to the next
	DHCPTimeout time.Duration // until it gives up on DHCP
	TFTPRetry   time.Duration // from one packet to its repetition
	FileTimeout time.Duration // for one file
}

// A Socket is where a board is plugged in: a bridge, and the namespace it is in.
type Socket struct {
	Namespace *netlab.Namespace
	Bridge    string
}

// The names of steps. Discover to Ack are DHCP messages sent or received. Probe
// is a file asked for its size only, Missing one that was asked for and is not
// there. Kernel is the last: the firmware has all that a kernel needs.
const (
	Discover = "discover"
	Offer    = "offer"
	Request  = "request"
	Ack      = "ack"
	Probe    = "probe"
	Fetched  = "file"
	Missing  = "missing"
	Kernel   = "kernel"
)

// A Step is one thing that happened on the way from power-on to the kernel.
type Step struct {
	At     time.Time     // when it was over
	Name   string        // one of the constants
	File   string        // as asked for, prefix included; "" for DHCP
	Bytes  int64         // size of File
	Took   time.Duration // for Fetched, Probe and Missing
	Detail string        // for people
}

// A Boot is what a board has loaded.
type Boot struct {
	Addr   netip.Prefix // the board's own
	Server netip.Addr   // the DHCP server that leased Addr
	Router netip.Addr   // zero: none
	TFTP   netip.Addr
	Prefix string // of all files but bootcode.bin: "<serial>/", or "" where that directory has no start file
	Files  []File // in order of transfer; what a board reads twice is in it twice

	Config     string // config.txt
	Cmdline    string // with the console's name as QEMU's machine has it
	Kernel     []byte
	Initramfs  []byte // empty: none was asked for, or auto_initramfs found none
	DeviceTree []byte
}

// A File is one file that was served.
type File struct {
	Name   string // with Prefix
	Bytes  int64
	SHA256 [sha256.Size]byte
}

// PowerOn plays the boot ROM and the firmware: DHCP, then TFTP, in the order
// and with the habits of the model, until a kernel could be started. It plugs
// the board into s for that time. When ctx ends, the cable is pulled.
//
// Where no server answers DHCP, the error matches ErrNoOffer; where a file that
// a board cannot do without is missing, fs.ErrNotExist.
func (b *Board) PowerOn(ctx context.Context, s Socket) (boot *Boot, err error) {
	m, err := b.profile()
	if err != nil {
		return nil, err
	}
	c, err := plugIn(s, b.MAC)
	if err != nil {
		return nil, fmt.Errorf("virtualpi: plugging board %s into %s: %w", b.MAC, s.Bridge, err)
	}
	defer func() { err = errors.Join(err, c.unplug()) }()
	// The TFTP client cannot be interrupted, but it ends when the network does.
	stop := context.AfterFunc(ctx, func() { _ = c.pull() })
	defer stop()

	boot, err = b.boot(ctx, m, c)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("virtualpi: board %s: %w", b.MAC, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("virtualpi: board %s: %w", b.MAC, err)
	}
	return boot, nil
}

func (b *Board) boot(ctx context.Context, m profile, c *cable) (*Boot, error) {
	got, err := b.askDHCP(ctx, m, c)
	if err != nil {
		return nil, err
	}
	if err := c.configure(got.addr, got.router); err != nil {
		return nil, err
	}
	if b.MaskROM {
		if err := c.silenceARP(); err != nil {
			return nil, err
		}
	}
	boot := &Boot{Addr: got.addr, Server: got.server, Router: got.router, TFTP: got.tftp}
	l := &loader{
		board: b,
		model: m,
		boot:  boot,
		have:  make(map[string][]byte),
		tftp: &tftpClient{
			namespace: c.board,
			local:     got.addr.Addr(),
			server:    got.tftp,
			retry:     m.timing.TFTPRetry,
			limit:     m.timing.FileTimeout,
		},
	}
	if err := l.run(ctx); err != nil {
		return nil, err
	}
	b.step(Step{Name: Kernel, File: l.names.kernel, Bytes: int64(len(boot.Kernel)), Detail: boot.Cmdline})
	return boot, nil
}

func (b *Board) step(s Step) {
	if b.OnStep != nil {
		s.At = time.Now()
		b.OnStep(s)
	}
}
