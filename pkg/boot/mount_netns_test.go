//go:build netns

package boot

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
	"pibootd/pkg/timeline"
)

// A client that asks for a board's root from another address gets nothing. That
// board's timeline shows it once, however often it asks. The board's own mounts
// are on the timeline as usual.
func TestAStrangersMountStandsOnTheBoardsTimeline(t *testing.T) {
	p := newPolicy(t)
	lab := serveNFS(t, p)
	for range 3 {
		lab.mount(t, "10.0.0.99/24", "/roots/3333347a", false)
	}
	lab.mount(t, "10.0.0.99/24", "/roots/3333347A/etc/../../3333347a/", false)
	lab.mount(t, "10.0.0.99/24", "/srv/nothing", false)
	lab.mount(t, "10.0.0.12/24", "/roots/3333347a", false)
	lab.mount(t, "10.0.0.11/24", "/roots/3333347a", true)

	got := lab.until(t, p, hlspi1.Serial.String(), timeline.Mount)
	want := []string{"stranger 10.0.0.99 mount refused to an address that is no board's, 10.0.0.99", "mount 10.0.0.11 "}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timeline of %s has\n%q; want\n%q", hlspi1.Name, got, want)
	}
	got = lab.until(t, p, hlspi2.Serial.String(), timeline.MountRefused)
	want = []string{"mount_refused 10.0.0.12 the address is not one of the export's clients"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timeline of %s has\n%q; want\n%q", hlspi2.Name, got, want)
	}
}

// A boardLab is an NFS server that exports a board's root, on a bridge.
type boardLab struct {
	server *netlab.Namespace
	ports  int
}

func serveNFS(t *testing.T, p *Policy) *boardLab {
	t.Helper()
	lab := &boardLab{server: netlabtest.NewBridge(t, "10.0.0.1/24")}
	l, err := lab.listen()
	if err != nil {
		t.Fatal(err)
	}
	server := &nfs.Server{Key: bytes.Repeat([]byte{7}, 32), OnMount: p.Mounted}
	err = server.Export(nfs.Export{ID: 1, Path: RootExport(hlspi1.Serial), Dir: p.Roots.Path(hlspi1.Serial), Clients: []netip.Addr{hlspi1.IP}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return lab
}

func (lab *boardLab) listen() (l nfs.Listeners, err error) {
	err = lab.server.Do(func() (err error) {
		if l.NFS, err = net.Listen("tcp", "10.0.0.1:2049"); err != nil {
			return err
		}
		l.Portmap, err = net.Listen("tcp", "10.0.0.1:111")
		return err
	})
	return l, err
}

// mount tries to mount an export from an address.
func (lab *boardLab) mount(t *testing.T, from, export string, want bool) {
	t.Helper()
	client, unplug := lab.plugIn(t, netlabtest.Host{Addr: from})
	defer unplug()
	err := client.Do(func() error {
		m, err := nfsclient.DialMount("10.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		target, err := m.Mount(export, rpc.NewAuthUnix("stranger", 0, 0).Auth())
		if err == nil {
			target.Close()
		}
		return err
	})
	if (err == nil) != want {
		t.Errorf("mount of %s from %s: %v; want it let: %t", export, from, err, want)
	}
}

// until returns the events of a board as far as the first of a kind.
func (lab *boardLab) until(t *testing.T, p *Policy, board string, last timeline.Kind) (events []string) {
	t.Helper()
	for e, err := range p.Timeline.Follow(t.Context(), board, 0) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s %s", e.Kind, e.Addr, e.Detail))
		if e.Kind == last {
			break
		}
	}
	return events
}
