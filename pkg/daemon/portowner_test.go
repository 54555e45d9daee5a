package daemon

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

func TestPortOwner(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, port := range []int{tcp.Addr().(*net.TCPAddr).Port, udp.LocalAddr().(*net.UDPAddr).Port} {
		if got, want := ownerOf(port).name, fmt.Sprintf("(process %d)", os.Getpid()); !strings.Contains(got, want) {
			t.Errorf("ownerOf(%d) = %q; want %q in it", port, got, want)
		}
	}
	if got := ownerOf(1).name; got != "another program" {
		t.Errorf("the owner of a free port = %q; want %q", got, "another program")
	}
}
