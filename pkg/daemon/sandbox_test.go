package daemon

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a service manager is handed, to keep for the daemon, is the mount
// namespace.
func TestHandOverMounts(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if err := HandOverMounts(socket, "/proc/self/ns/mnt"); err != nil {
		t.Fatal(err)
	}
	var length int
	rights := make([]byte, unix.CmsgSpace(4))
	for _, want := range []string{"FDSTOREREMOVE=1\nFDNAME=mounts", "FDSTORE=1\nFDPOLL=0\nFDNAME=mounts"} {
		text := make([]byte, 256)
		var n int
		if n, length, _, _, err = manager.ReadMsgUnix(text, rights); err != nil || string(text[:n]) != want {
			t.Errorf("the message is %q, %v; want %q", text[:n], err, want)
		}
	}
	messages, err := unix.ParseSocketControlMessage(rights[:length])
	if err != nil || len(messages) != 1 {
		t.Fatalf("control messages: %v, %v; want one", messages, err)
	}
	passed, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(passed) != 1 {
		t.Fatalf("descriptors: %v, %v; want one", passed, err)
	}
	namespace := os.NewFile(uintptr(passed[0]), "passed")
	defer namespace.Close()
	own, err := os.Stat("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := namespace.Stat(); err != nil || !os.SameFile(got, own) {
		t.Errorf("the descriptor is of %v, %v; want the mount namespace", got, err)
	}
}
