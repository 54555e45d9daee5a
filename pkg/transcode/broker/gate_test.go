package broker

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestDisconnect(t *testing.T) {
	t.Parallel()
	var removed atomic.Bool
	b, err := Start(Options{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: t.TempDir(),
		Authenticate: func(worker, token string) bool { return !removed.Load() && authenticate(worker, token) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	gone := make(chan struct{})
	first, err := connect(b, "pi1", goodToken("pi1"))
	if err != nil {
		t.Fatal(err)
	}
	first.SetClosedHandler(func(*nats.Conn) { close(gone) })
	second, err := connect(b, "pi2", goodToken("pi2"))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	removed.Store(true)
	if err := b.Disconnect("pi1"); err != nil {
		t.Fatal(err)
	}
	wantCutOff(t, b, gone)
	if err := second.Flush(); err != nil {
		t.Errorf("pi2: %v; want it still connected", err)
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Start(Options{
		Addr: l.Addr().(*net.TCPAddr).AddrPort(), StoreDir: t.TempDir(), Authenticate: authenticate,
	})
	if err == nil || !strings.Contains(err.Error(), "address already in use; free the port") {
		t.Errorf("Start = %v; want that the port is taken", err)
	}
}

func TestUnusableStoreDir(t *testing.T) {
	t.Parallel()
	_, err := Start(Options{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), StoreDir: "/dev/null/js", Authenticate: authenticate,
	})
	if err == nil || !strings.Contains(err.Error(), "starting the embedded NATS server") {
		t.Errorf("Start = %v; want that it cannot start", err)
	}
}

// wantCutOff waits until the connection of pi1 is closed, and checks that another
// is refused.
func wantCutOff(t *testing.T, b *Broker, gone <-chan struct{}) {
	t.Helper()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("pi1 is still connected")
	}
	if _, err := connect(b, "pi1", goodToken("pi1")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("connecting again: %v; want %v", err, nats.ErrAuthorization)
	}
}
