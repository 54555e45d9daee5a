package fdstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	envLife = "PIBOOTD_TEST_LIFE" // a directory: this process is a program that a Keeper runs
	address = "address"           // a file in it: where the program's first life listens
	parent  = "parent"            // a socket in it, of the test
)

// TestMain runs the program of the tests, or the tests.
func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		os.Exit(play(role))
	}
	dir := os.Getenv(envLife)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := live(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// live is a program that listens, has that kept and is killed. Its second life accepts
// one connection and answers.
func live(dir string) error {
	kept := Inherit()
	for _, name := range []string{envNotify, envCount, envNames, envKeeper} {
		if _, there := os.LookupEnv(name); there {
			return fmt.Errorf("%s is still set; want it kept from programs that are started", name)
		}
	}
	addr, err := os.ReadFile(filepath.Join(dir, address))
	if err != nil {
		return firstLife(kept, dir)
	}
	listener := kept.Listener(Socket{Network: "tcp4", Addr: string(addr)})
	if listener == nil {
		return fmt.Errorf("no socket of %s was kept: %v", addr, kept.kept)
	}
	stale, err := kept.KeepSockets(map[string]syscall.Conn{"web": listener.(*net.TCPListener)})
	if err != nil || fmt.Sprint(stale) != "[old]" {
		return fmt.Errorf("stale: %q, %v; want old alone", stale, err)
	}
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.WriteString(conn, "served")
	return err
}

func firstLife(kept *Store, dir string) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	old, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, err = kept.KeepSockets(map[string]syscall.Conn{"web": listener.(*net.TCPListener), "old": old.(*net.UDPConn)})
	if err != nil {
		return err
	}
	addr := []byte(listener.Addr().String())
	if err := os.WriteFile(filepath.Join(dir, address), addr, 0o600); err != nil {
		return err
	}
	test, err := net.Dial("unix", filepath.Join(dir, parent))
	if err != nil {
		return err
	}
	_, err = test.Write(addr)
	_, _ = test.Read(addr) // returns when the test has connected
	return errors.Join(err, syscall.Kill(os.Getpid(), syscall.SIGKILL))
}

// A program that is killed is started again with its sockets, and answers who has
// connected before it was there again. What it does not need any more is closed.
func TestKeeper(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(envLife, dir)
	t.Setenv(envNotify, "/run/of/another/manager")
	said, err := net.Listen("unix", filepath.Join(dir, parent))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	ended := make(chan error, 1)
	go func() {
		k := &Keeper{Args: []string{os.Args[0]}, Log: slog.New(slog.DiscardHandler), Pause: 1}
		code, err := k.Run(nil)
		if err == nil && (code != 0 || len(k.files) != 1) {
			err = fmt.Errorf("exit code %d, and %d descriptors are kept; want 0 and one", code, len(k.files))
		}
		ended <- errors.Join(err, said.Close())
	}()
	conn, err := connectToFirstLife(said)
	if err != nil {
		t.Fatal(errors.Join(err, <-ended))
	}
	defer conn.Close()
	if text, err := io.ReadAll(conn); string(text) != "served" || err != nil {
		t.Errorf("the answer is %q, %v; want that of the second life", text, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func connectToFirstLife(said net.Listener) (net.Conn, error) {
	life, err := said.Accept()
	if err != nil {
		return nil, err
	}
	defer life.Close()
	addr := make([]byte, 64)
	n, err := life.Read(addr)
	if err != nil {
		return nil, err
	}
	return net.Dial("tcp4", string(addr[:n]))
}

// Nobody but the program has anything kept, and names that the protocol cannot have are
// refused.
func TestKeeperListensToItsProgramAlone(t *testing.T) {
	k := &Keeper{child: 7}
	pipe := func() int {
		var ends [2]int
		if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(ends[0]) })
		return ends[1]
	}
	for _, m := range []message{
		{text: "FDSTORE=1\nFDNAME=web", pid: 8}, {text: "FDSTORE=1", pid: 7}, {text: "FDSTORE=1\nFDNAME=", pid: 7},
		{text: "FDSTORE=1\nFDNAME=a:b", pid: 7}, {text: "FDSTORE=1\nFDNAME=" + strings.Repeat("a", maxName+1), pid: 7}, {text: "READY=1\nFDNAME=web", pid: 7},
	} {
		m.files = []int{pipe()}
		k.handle(m)
		if _, err := unix.FcntlInt(uintptr(m.files[0]), unix.F_GETFD, 0); len(k.files) != 0 || err != unix.EBADF {
			t.Errorf("%q of process %d: %d are kept, the descriptor: %v; want none and it closed", m.text, m.pid, len(k.files), err)
		}
	}
	for range maxKept + 1 {
		k.handle(message{text: "FDSTORE=1\nFDNAME=web", pid: 7, files: []int{pipe()}})
	}
	if len(k.files) != maxKept {
		t.Errorf("%d are kept; want %d at most", len(k.files), maxKept)
	}
	k.handle(message{text: "FDSTOREREMOVE=1\nFDNAME=web", pid: 8})
	if k.handle(message{text: "FDSTOREREMOVE=1\nFDNAME=other", pid: 7}); len(k.files) != maxKept {
		t.Errorf("%d are kept after others were to be removed; want %d", len(k.files), maxKept)
	}
	if k.handle(message{text: "FDSTOREREMOVE=1\nFDNAME=web", pid: 7}); len(k.files) != 0 {
		t.Errorf("%d are kept after all were removed; want none", len(k.files))
	}
}

// What was meant for another process is not taken.
func TestInheritOfNobody(t *testing.T) {
	for _, pid := range []string{"", "1"} {
		t.Setenv(envPID, pid)
		t.Setenv(envCount, "1")
		t.Setenv(envNames, "mounts")
		if s := Inherit(); len(s.kept) != 0 || s.Keeps() {
			t.Errorf("with LISTEN_PID=%q got %d descriptors; want none", pid, len(s.kept))
		}
		if _, there := os.LookupEnv(envNames); there {
			t.Error("LISTEN_FDNAMES is still set; want it kept from programs that are started")
		}
	}
}

// A socket is taken for what it is bound to, so that one of another address, port,
// protocol or interface is not.
func TestSocketsAreTakenForWhatTheyAre(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	is, ok := describe(file)
	addr := listener.Addr().String()
	if want := (Socket{Network: "tcp4", Addr: addr}); is != want || !ok {
		t.Fatalf("a listening socket is %v, %v; want %v", is, ok, want)
	}
	s := &Store{kept: []*keptFile{{name: "web", file: file, isSocket: true, is: is}}}
	for _, other := range []Socket{{"udp4", addr, ""}, {"tcp4", addr + "0", ""}, {"tcp4", addr, "lo"}, {}} {
		if s.Socket(other) != nil {
			t.Errorf("%v is taken for %v", is, other)
		}
	}
	if s.File("web") != nil {
		t.Error("a socket is taken by its name alone")
	}
	taken := s.Listener(is)
	if taken == nil {
		t.Fatalf("%v is not taken", is)
	}
	defer taken.Close()
	if s.Listener(is) != nil {
		t.Errorf("%v is taken twice", is)
	}
	dir, err := os.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, ok := describe(dir); ok {
		t.Error("a directory is a socket")
	}
}
