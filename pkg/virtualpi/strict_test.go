//go:build netns

package virtualpi

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// newTFTPClient is a client on the LAN's own address.
func newTFTPClient(lan Socket) *tftpClient {
	own := netip.MustParseAddr("10.77.0.1")
	return &tftpClient{namespace: lan.Namespace, local: own, server: own, retry: time.Second, limit: 5 * time.Second}
}

func TestFilesAreBounded(t *testing.T) {
	t.Parallel()
	lan := newLAN(t)
	startServers(t, lan, &bootServers{files: map[string]string{"large": strings.Repeat("x", 5000), "empty": ""}})
	client := newTFTPClient(lan)
	if _, err := client.get(t.Context(), "large", options{tsize: true}, 4999); err == nil || !strings.Contains(err.Error(), "larger than 4999 bytes") {
		t.Errorf("error = %v; want that it is too large", err)
	}
	for name, size := range map[string]int{"large": 5000, "empty": 0} {
		if got, err := client.get(t.Context(), name, options{tsize: true, blksize: 1024}, 5000); err != nil || len(got) != size {
			t.Errorf("get %s = %d bytes, %v; want %d", name, len(got), err, size)
		}
	}
}

// TestServerWithoutOptions has a server that knows RFC 1350 only.
func TestServerWithoutOptions(t *testing.T) {
	t.Parallel()
	lan := newLAN(t)
	var conn net.PacketConn
	if err := lan.Namespace.Do(func() (err error) { conn, err = net.ListenPacket("udp4", "10.77.0.1:69"); return err }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, maxAnswer); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n > 1 && buf[1] == opRRQ {
				_, _ = conn.WriteTo([]byte("\x00\x03\x00\x01old"), from)
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })

	client := newTFTPClient(lan)
	if got, err := client.get(t.Context(), "bootcode.bin", options{}, 100); err != nil || string(got) != "old" {
		t.Errorf("get without options = %q, %v; want old", got, err)
	}
	if _, err := client.get(t.Context(), "start.elf", options{tsize: true}, 100); !errors.Is(err, errNoSize) {
		t.Errorf("get with tsize: error = %v; want errNoSize", err)
	}
	if _, err := client.probe(t.Context(), "start.elf", options{tsize: true}); !errors.Is(err, errNoSize) {
		t.Errorf("probe: error = %v; want errNoSize", err)
	}
}
