//go:build netns

package netlab

import (
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"pibootd/pkg/pi"
)

func TestTwoHostsOnABridge(t *testing.T) {
	lan, a, b := newNamespace(t), newNamespace(t), newNamespace(t)
	if err := lan.Bridge("br0", netip.Prefix{}); err != nil {
		t.Fatal(err)
	}
	mac := pi.MAC{0xb8, 0x27, 0xeb, 1, 2, 3}
	for name, end := range map[string]End{
		"pa": {Namespace: a, Name: "eth0", Addr: netip.MustParsePrefix("10.0.0.1/24")},
		"pb": {Namespace: b, Name: "eth0", Addr: netip.MustParsePrefix("10.0.0.2/24"), MAC: mac},
	} {
		if err := Connect(end, End{Namespace: lan, Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := lan.Attach(name, "br0"); err != nil {
			t.Fatal(err)
		}
	}
	if got := dial(t, a, b, "10.0.0.1:7000"); got != "10.0.0.2" {
		t.Errorf("a is reached from %q; want 10.0.0.2", got)
	}
	var out []byte
	err := b.Do(func() (err error) {
		out, err = exec.Command("ip", "link", "show", "eth0").Output()
		return err
	})
	if err != nil || !strings.Contains(string(out), mac.String()) {
		t.Errorf("ip link in b = %s, %v; want %s in it", out, err, mac)
	}
	if is, err := lan.IsBridge("br0"); err != nil || !is {
		t.Errorf("IsBridge(br0) = %v, %v; want true", is, err)
	}
	if err := lan.Tap("tap0"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := lan.Delete("tap0"); err != nil {
			t.Error(err)
		}
	}
}

// dial has from connect to addr inside to, and returns the address to saw.
func dial(t *testing.T, to, from *Namespace, addr string) string {
	t.Helper()
	var ln net.Listener
	if err := to.Do(func() (err error) { ln, err = net.Listen("tcp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	seen := make(chan string, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			seen <- err.Error()
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "hello")
		seen <- conn.RemoteAddr().(*net.TCPAddr).IP.String()
	}()
	err := from.Do(func() error {
		conn, err := net.Dial("tcp4", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = io.ReadAll(conn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return <-seen
}

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	return ns
}
