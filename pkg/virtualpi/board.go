//go:build linux

// Package virtualpi imitates a Raspberry Pi from power-on. In the first half, Go code does what
// the board's boot ROM and firmware do on the network. In the second half, QEMU runs a real
// kernel with exactly the files that were served. The package replaces hardware in tests, in
// `pibootd rehearse` and in the demo. It needs root; the second half needs qemu-system-aarch64.
//
// The first half follows packet captures and the maker's documentation: DHCP options, their
// order and retries for each model, and every TFTP request with its options, including probes
// for files that usually do not exist. It is as strict as a board: a reply that a board would
// not understand is an error that explains why.
//
// It does not imitate: a Pi 3B's mask ROM that leaves an OFFER unread until another frame
// arrives; what bootcode.bin, start.elf and the bootloader in the EEPROM do apart from loading
// files (it fetches them but does not run them); boot_ramdisk; 32-bit kernels; self-updates and
// NOOBS recovery. QEMU's machine is not a Pi, but QEMU's "virt" with a Cortex-A53 and virtio devices. The
// board's device tree, which must exist, and its overlays are fetched, but the machine uses the
// tree of virt. The command line lacks the parameters that real firmware adds.
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

// A Board is a simulated board. Only one goroutine at a time may call its methods.
type Board struct {
	Model  Model
	MAC    pi.MAC
	Serial pi.Serial
	Timing Timing
	Prefix string // TFTP_PREFIX_STR of its bootloader, e.g. "0badcafe/"; "": its serial number

	// MaskROM makes the DHCP client of a Pi3B its mask ROM, with its bugs
	// (raspberrypi/firmware#764, #934, #1067): it sends no serial number, misses replies that
	// arrive at once, accepts OFFERs for other boards, and does not answer ARP once it has an
	// address.
	MaskROM bool

	OnStep func(Step) // called for every step, in order; nil is allowed
}

// A Timing contains the intervals and timeouts of a board; 0 means the model's default.
type Timing struct {
	DHCPRetry   time.Duration // from one DISCOVER or REQUEST to the next
	DHCPTimeout time.Duration // for all of DHCP
	TFTPRetry   time.Duration // from one packet to its retransmission
	FileTimeout time.Duration // for one file
}

// A Socket is the network socket that a board is plugged into: a bridge, and its namespace.
type Socket struct {
	Namespace *netlab.Namespace
	Bridge    string
}

// The names of steps. Discover to Ack are DHCP messages sent or received. Probe is a request for
// the size of a file only; Missing is a request for a file that does not exist. Kernel is the
// last step: the firmware has every file that a kernel needs.
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

// A Step is one event on the way from power-on to the kernel.
type Step struct {
	At     time.Time     // end of the step
	Name   string        // one of the constants
	File   string        // as requested, including the prefix; "" for DHCP
	Bytes  int64         // size of File
	Took   time.Duration // for Fetched, Probe and Missing
	Detail string        // for people
}

// A Boot contains what a board has loaded.
type Boot struct {
	Addr   netip.Prefix // address of the board
	Server netip.Addr   // the DHCP server that leased Addr
	Router netip.Addr   // zero if there is none
	TFTP   netip.Addr
	Prefix string // of all files but bootcode.bin: "<serial>/", or "" if that directory has no start file
	Files  []File // in order of transfer; a file that the board reads twice is listed twice

	Config     string // config.txt
	Cmdline    string // with the console's name on QEMU's machine
	Kernel     []byte
	Initramfs  []byte // empty if none was requested, or auto_initramfs found none
	DeviceTree []byte
}

// A File is a file that a server has sent.
type File struct {
	Name   string // including Prefix
	Bytes  int64
	SHA256 [sha256.Size]byte
}

// PowerOn runs the boot ROM and the firmware: DHCP, then TFTP, in the order and with the
// behavior of the model, until a kernel could start. It plugs the board into s for that time.
// When ctx ends, it unplugs the board.
//
// If no server answers DHCP, the error matches ErrNoOffer. If a required file is missing, it
// matches fs.ErrNotExist.
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
	// The TFTP client cannot be interrupted, but it ends when the network is unplugged.
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
	b.step(Step{Name: Kernel, File: l.names.Kernel, Bytes: int64(len(boot.Kernel)), Detail: boot.Cmdline})
	return boot, nil
}

func (b *Board) step(s Step) {
	if b.OnStep != nil {
		s.At = time.Now()
		b.OnStep(s)
	}
}
