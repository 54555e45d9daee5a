package rpc

import (
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNoticeGone: the kernel gives up a silent peer within two minutes.
func TestNoticeGone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := noticeGone(nc); err != nil {
		t.Fatal(err)
	}
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	get := func(level, option int) (value int) {
		var got error
		err := raw.Control(func(fd uintptr) { value, got = unix.GetsockoptInt(int(fd), level, option) })
		if err != nil || got != nil {
			t.Errorf("getsockopt: %v, %v", err, got)
		}
		return value
	}
	if get(unix.SOL_SOCKET, unix.SO_KEEPALIVE) != 1 {
		t.Error("keepalive is off")
	}
	idle, interval := get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
	silent := time.Duration(idle+interval*get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)) * time.Second
	unacknowledged := time.Duration(get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)) * time.Millisecond
	if silent != 2*time.Minute || unacknowledged != 2*time.Minute {
		t.Errorf("a peer is gone after %v of silence, or %v without an acknowledgement; want 2m0s", silent, unacknowledged)
	}
}
