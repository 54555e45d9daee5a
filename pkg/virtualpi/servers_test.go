//go:build netns

package virtualpi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pibootd/pkg/dhcp"
	"pibootd/pkg/pi"
	"pibootd/pkg/tftp"
)

// bootServers are pibootd's DHCP and TFTP servers with one board to serve.
type bootServers struct {
	mac   pi.MAC
	files map[string]string

	mu   sync.Mutex
	seen []string // DHCP messages and transfers
}

func (b *bootServers) Reserve(_ context.Context, c dhcp.Client) (dhcp.Reservation, bool) {
	return dhcp.Reservation{Addr: netip.MustParseAddr("10.77.0.50"), Hostname: "hlspi1"}, c.MAC == b.mac
}

func (b *bootServers) Open(_ context.Context, _ netip.Addr, name string) (io.ReadCloser, int64, error) {
	content, ok := b.files[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader([]byte(content))), int64(len(content)), nil
}

func (b *bootServers) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen = append(b.seen, fmt.Sprintf(format, args...))
}

// startServers serves b on lan until the test ends.
func startServers(t *testing.T, lan Socket, b *bootServers) {
	t.Helper()
	startServersOf(t, lan, b, b, b.note)
}

// startServersOf serves what policy and source say, and notes what happens.
func startServersOf(t *testing.T, lan Socket, policy dhcp.Policy, source tftp.Source, note func(format string, args ...any)) {
	t.Helper()
	own := netip.MustParsePrefix("10.77.0.1/24")
	ds := &dhcp.Server{Policy: policy, Interface: lan.Bridge, Addr: own, OnMessage: func(m dhcp.Message) { note("%s %s", m.Kind, m.MAC) }}
	ts := &tftp.Server{Source: source, OnDone: func(tr tftp.Transfer) { note("%s %s", tr.Outcome, tr.File) }}
	var dhcpConn *dhcp.Conn
	var tftpConn net.PacketConn
	err := lan.Namespace.Do(func() (err error) {
		if dhcpConn, err = dhcp.Listen(lan.Bridge, own.Addr(), 67); err != nil {
			return err
		}
		tftpConn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own.Addr(), tftpPort)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var servers sync.WaitGroup
	for _, serve := range []func() error{
		func() error { return ds.Serve(ctx, dhcpConn) },
		func() error { return ts.Serve(ctx, tftpConn) },
	} {
		servers.Go(func() {
			if err := lan.Namespace.Do(serve); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		servers.Wait()
		_ = dhcpConn.Close()
		_ = tftpConn.Close()
	})
}

// Each model does what it does, in its order, at pibootd's servers, and they
// note every step of it.
func TestPowerOnAtPibootdsServers(t *testing.T) {
	for _, model := range Models() {
		t.Run(string(model), func(t *testing.T) {
			t.Parallel()
			lan, board := newLAN(t), testBoard(model)
			servers := &bootServers{mac: board.MAC, files: boardFiles(model)}
			startServers(t, lan, servers)
			steps := stepsOf(board)
			boot, err := board.PowerOn(t.Context(), lan)
			if err != nil {
				t.Fatal(err)
			}
			boot.Router = boot.Server // none is given
			checkBoot(t, boot, servers.files, namesOf(model).Kernel)
			want, err := os.ReadFile(filepath.Join("testdata", "poweron", string(model)))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), *steps); diff != "" {
				t.Errorf("steps: -want +got\n%s", diff)
			}
			servers.wantNoted(t, *steps, board.MAC)
		})
	}
}

// wantNoted checks that the servers noted the steps of a board. Two of its
// sockets may be noted in either order.
func (b *bootServers) wantNoted(t *testing.T, steps []string, mac pi.MAC) {
	t.Helper()
	as := map[string]string{Fetched: "sent", Probe: "aborted", Missing: "missing"}
	var want []string
	for _, step := range steps {
		name, file, _ := strings.Cut(step, " ")
		switch {
		case name == Kernel:
		case as[name] != "":
			want = append(want, as[name]+" "+file)
		default:
			want = append(want, name+" "+mac.String())
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	less := func(a, b string) bool { return a < b }
	if diff := cmp.Diff(want, b.seen, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("what the servers noted: -want +got\n%s", diff)
	}
}

func TestPowerOnOfABoardThatNobodyKnows(t *testing.T) {
	t.Parallel()
	lan := newLAN(t)
	servers := &bootServers{mac: pi.MAC{2}}
	startServers(t, lan, servers)
	if _, _, err := powerOn(t, testBoard(Pi3B), lan); !errors.Is(err, ErrNoOffer) {
		t.Errorf("error = %v; want ErrNoOffer", err)
	}
	servers.wantSeen(t, "discover b8:27:eb:33:34:7a")
}

func (b *bootServers) wantSeen(t *testing.T, want string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.ContainsFunc(b.seen, func(s string) bool { return strings.HasPrefix(s, want) }) {
		t.Errorf("servers saw\n%s\nwant %q among it", strings.Join(b.seen, "\n"), want)
	}
}
