package tftp

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A slowFile is one whose first chunk comes at once, and whose second when the
// test lets it.
type slowFile struct {
	*io.SectionReader
	reading chan<- struct{} // told when the second is asked for
	let     <-chan struct{}
	closed  chan<- struct{}
	read    int64
}

func (f *slowFile) Read(p []byte) (int, error) {
	if f.read >= chunkSize {
		f.reading <- struct{}{}
		<-f.let
	}
	n, err := f.SectionReader.Read(p)
	f.read += int64(n)
	return n, err
}

func (f *slowFile) Close() error {
	close(f.closed)
	return nil
}

// What Serve started ends before Serve does: a read of a slow disk that came
// back later would be written about to a descriptor that is another's by then.
func TestServeWaitsForItsReads(t *testing.T) {
	reading, let, closed := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	const size = 2 * chunkSize
	source := sourceFunc(func(context.Context, string) (io.ReadCloser, int64, error) {
		data := io.NewSectionReader(zeros{}, 0, size)
		return &slowFile{SectionReader: data, reading: reading, let: let, closed: closed}, size, nil
	})
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	done := make(chan Transfer, 1)
	s := &Server{Source: source, OnDone: func(tr Transfer) { done <- tr }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, conn) }()
	dial(t, conn.LocalAddr().(*net.UDPAddr)).request("f")
	<-reading
	cancel()
	if tr := <-done; tr.Outcome != Aborted {
		t.Errorf("OnDone(%+v); want the transfer aborted", tr)
	}
	select {
	case err := <-ended:
		t.Fatalf("Serve returned %v while a read that it had started went on; want it to wait", err)
	case <-time.After(300 * time.Millisecond): // many times what the rest of its end takes
	}
	close(let)
	if err := <-ended; err != nil {
		t.Errorf("Serve = %v; want nil", err)
	}
	select {
	case <-closed:
	default:
		t.Error("the file is open after Serve has returned; want it closed")
	}
}

// zeros is an endless file.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// A client whose file hangs cannot gather reads that hang, by asking again and
// again: until one has ended it counts among those that the client may have.
func TestHangingReadsAreBounded(t *testing.T) {
	reading, let := make(chan struct{}, 100), make(chan struct{})
	const size = 2 * chunkSize
	source := sourceFunc(func(context.Context, string) (io.ReadCloser, int64, error) {
		data := io.NewSectionReader(zeros{}, 0, size)
		return &slowFile{SectionReader: data, reading: reading, let: let, closed: make(chan struct{})}, size, nil
	})
	s := &Server{Source: source, Retransmit: never}
	addr, done := serve(t, s)
	t.Cleanup(func() { close(let) }) // before serve's, which waits for the reads
	c := dial(t, addr)
	for range maxPerClient {
		c.request("f")
		c.receive()
		<-reading
		c.sendTo([]byte{0, opError, 0, 0, 0}, c.peer)
		if tr := done.next(t); tr.Outcome != Aborted {
			t.Fatalf("OnDone(%+v); want the transfer aborted", tr)
		}
	}
	c.request("f")
	for deadline := time.Now().Add(20 * time.Second); s.Stats().Dropped == 0; {
		select {
		case <-reading:
			t.Fatalf("read %d hangs; want at most %d of one client", maxPerClient+1, maxPerClient)
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the request above the limit was neither answered nor dropped")
		}
	}
}

// A descriptor's number is another's as soon as it is closed.
func TestAClosedAlarmWakesNobody(t *testing.T) {
	for range 8 {
		a, err := newAlarm()
		if err != nil {
			t.Fatal(err)
		}
		a.close()
		a.close()
		other, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) // gets the lowest number that is free: a's
		if err != nil {
			t.Fatal(err)
		}
		a.ring()
		var counter [8]byte
		if n, err := unix.Read(other, counter[:]); err != unix.EAGAIN {
			t.Errorf("a closed alarm wrote %d bytes to another's descriptor (%v); want none", n, err)
		}
		_ = unix.Close(other)
	}
}

func TestAClosedSocketIsLeftAlone(t *testing.T) {
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	to := server.LocalAddr().(*net.UDPAddr).AddrPort()
	s, err := newSocket(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	other, err := newSocket(netip.MustParseAddrPort("127.0.0.1:0")) // of the same number
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	s.close()
	if err := s.sendTo(to, []byte("late")); !errors.Is(err, unix.EBADF) {
		t.Errorf("sending on a closed socket: %v; want %v", err, unix.EBADF)
	}
	if err := other.sendTo(to, []byte("x")); err != nil {
		t.Errorf("sending on the socket that has its number: %v", err)
	}
}

// A loop that fails ends its transfers, for Serve waits for them.
func TestALoopThatFailsEndsItsTransfers(t *testing.T) {
	l, err := newLoop(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.polled[0].Fd = math.MaxInt32 // no descriptor, so that waiting fails
	reports := make(chan Transfer, 1)
	s := &Server{Source: files{"f": []byte("x")}, OnDone: func(tr Transfer) { reports <- tr }}
	of := &listener{server: s, loops: []*loop{l}, running: map[netip.AddrPort]*transfer{}, perClient: map[netip.Addr]int{}, ports: map[netip.AddrPort]uint16{}}
	client := netip.MustParseAddrPort("127.0.0.1:9")
	of.reserve(client.Addr())
	ctx, cancel := context.WithCancelCause(t.Context())
	of.started.Add(1)
	tr := &transfer{listener: of, server: s, client: client, req: request{name: "f"}, ctx: ctx, cancel: cancel}
	of.assign(tr)
	l.add(tr)
	if err := l.run(t.Context(), time.Second); !errors.Is(err, unix.EBADF) {
		t.Errorf("run on a closed descriptor = %v; want %v", err, unix.EBADF)
	}
	of.started.Wait()
	if tr := <-reports; tr.Outcome != Failed {
		t.Errorf("OnDone(%+v); want the transfer failed", tr)
	}
	if l.add(tr) {
		t.Error("a loop that has failed takes a transfer")
	}
}
