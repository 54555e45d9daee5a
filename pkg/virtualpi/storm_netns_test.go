//go:build netns

package virtualpi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/dhcp"
	"pibootd/pkg/pi"
)

// A powerCut is boards that all come up at once, and what they are served.
type powerCut struct {
	boards map[pi.MAC]int // and the last number of its address
	files  map[string]string
}

func (p *powerCut) Reserve(_ context.Context, c dhcp.Client) (dhcp.Reservation, bool) {
	n, ok := p.boards[c.MAC]
	return dhcp.Reservation{Addr: netip.AddrFrom4([4]byte{10, 77, 0, byte(n)})}, ok
}

func (p *powerCut) Open(_ context.Context, _ netip.Addr, name string) (io.ReadCloser, int64, error) {
	content, ok := p.files[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader([]byte(content))), int64(len(content)), nil
}

// TestPowerCut: forty boards of every model come up at once on a network that
// loses packets, and all boot, each file within the time that boot code gives
// it.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	const count = 40
	lan := newLAN(t)
	cut := &powerCut{boards: map[pi.MAC]int{}, files: map[string]string{}}
	var boards []*Board
	for i := range count {
		model := Models()[i%len(Models())]
		b := &Board{Model: model, MAC: pi.MAC{0xdc, 0xa6, 0x32, 0, 0, byte(i)}, Serial: pi.Serial(0x20000000 + i)}
		boards = append(boards, b)
		cut.boards[b.MAC] = 100 + i
		for name, content := range boardFiles(model) {
			cut.files[strings.Replace(name, serialDir, b.Serial.String()+"/", 1)] = content
		}
	}
	startServersOf(t, lan, cut, cut, func(string, ...any) {})
	loseSome(t, lan)

	var g errgroup.Group
	var mu sync.Mutex
	for _, b := range boards {
		g.Go(func() error {
			boot, err := b.PowerOn(t.Context(), lan)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("%s %s: %v", b.Model, b.MAC, err)
			} else if want := cut.boards[b.MAC]; boot.Addr.Addr() != netip.AddrFrom4([4]byte{10, 77, 0, byte(want)}) || len(boot.Kernel) == 0 {
				t.Errorf("%s %s boots at %s with a kernel of %d bytes; want it at 10.77.0.%d", b.Model, b.MAC, boot.Addr, len(boot.Kernel), want)
			}
			return nil
		})
	}
	_ = g.Wait()
}

// loseSome has one in two hundred TFTP packets to the server be lost.
func loseSome(t *testing.T, lan Socket) {
	t.Helper()
	rules := "table inet lossy { chain input { type filter hook input priority 0; udp dport >= 1024 numgen random mod 200 == 0 drop; }; }"
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := lan.Namespace.Do(cmd.Run); err != nil {
		t.Fatal(fmt.Errorf("nft: %w: %s", err, out.String()))
	}
}

// TestMaskROMs: Pi 3Bs that come up at once do not take each other's address,
// though each would, and boot though they answer no ARP.
func TestMaskROMs(t *testing.T) {
	t.Parallel()
	lan := newLAN(t)
	cut := &powerCut{boards: map[pi.MAC]int{}, files: map[string]string{}}
	var boards []*Board
	for i := range 4 {
		b := &Board{Model: Pi3B, MaskROM: true, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0, 0, byte(i)}, Serial: pi.Serial(0x20000000 + i)}
		boards = append(boards, b)
		cut.boards[b.MAC] = 200 + i
		for name, content := range boardFiles(Pi3B) {
			cut.files[strings.Replace(name, serialDir, b.Serial.String()+"/", 1)] = content
		}
	}
	startServersOf(t, lan, cut, cut, func(string, ...any) {})
	var g errgroup.Group
	for _, b := range boards {
		g.Go(func() error {
			boot, err := b.PowerOn(t.Context(), lan)
			if err != nil {
				t.Errorf("%s: %v", b.MAC, err)
			} else if want := netip.AddrFrom4([4]byte{10, 77, 0, byte(cut.boards[b.MAC])}); boot.Addr.Addr() != want || len(boot.Kernel) == 0 {
				t.Errorf("%s boots at %s with a kernel of %d bytes; want it at %s", b.MAC, boot.Addr, len(boot.Kernel), want)
			}
			return nil
		})
	}
	_ = g.Wait()
}
