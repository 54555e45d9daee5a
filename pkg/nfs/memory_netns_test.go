//go:build netns

package nfs

import (
	"bytes"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pibootd/pkg/nfs/rpc"
)

// TestHostileMemory: many boards that keep all the memory they can get, with
// calls that they do not finish and answers that they do not read, get no more
// of it together than there is, and leave some to others.
func TestHostileMemory(t *testing.T) {
	const (
		shared            = 32 << 20
		clients, conns    = 6, 16                   // so many that some room is left, whatever they do
		wanted            = clients * conns * maxIO // if nothing held them
		limit             = shared + clients*conns*(4*16<<10) + 4<<20
		served, blockSize = 20, 64 << 10
	)
	s := serve(t, &Server{Key: testKey(), MaxMemory: shared})
	e := Export{ID: 1, Path: "/roots/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}}
	rogues := Export{ID: 2, Path: "/roots/2", Dir: t.TempDir()}
	for addr := netip.MustParseAddr("127.0.2.1"); len(rogues.Clients) < clients; addr = addr.Next() {
		rogues.Clients = append(rogues.Clients, addr)
	}
	mustExport(t, s.Server, e)
	mustExport(t, s.Server, rogues)
	rogue := dialFrom(t, rogues.Clients[0], s.addr)
	file := rogue.create(bytes.Clone(rogue.mustMount(rogues.Path)), "f", 0o644)
	rogue.write(file, 0, unstable, make([]byte, maxIO))
	before := heap()

	unfinished := rogue.message(100003, 3, 7, args(file, uint64(0), maxIO, unstable, make([]byte, maxIO)))
	unfinished = unfinished[:len(unfinished)-4]
	var all sync.WaitGroup
	t.Cleanup(all.Wait) // runs after the connections are closed
	for _, addr := range rogues.Clients {
		for i := range conns {
			c := dialFrom(t, addr, s.addr)
			all.Go(func() {
				if i%4 == 0 {
					c.flood(6, file, uint64(0), maxIO)
				}
				_, _ = c.conn.Write(unfinished) // as much of it as the server takes
			})
		}
	}
	waitForFull(t, s.memory)
	peak := watchHeap(t)
	b := &bench{T: t, c: dial(t, s.addr)}
	mine := b.c.create(bytes.Clone(b.c.mustMount(e.Path)), "mine", 0o644)
	want := bytes.Repeat([]byte("served"), blockSize/6)
	for range served {
		b.want("WRITE", b.c.write(mine, 0, fileSync, want), statusOK)
		if st, got, _ := b.c.read(mine, 0, blockSize); st != statusOK || !bytes.Equal(got, want) {
			t.Errorf("READ = %v, %d bytes; want what was written", st, len(got))
		}
	}
	most := peak() - before
	t.Logf("%d KB more heap with %d connections that want %d KB", most>>10, clients*conns, wanted>>10)
	if most > limit {
		t.Errorf("%d bytes more heap; want at most %d", most, limit)
	}
}

// waitForFull waits until calls wait for room.
func waitForFull(t *testing.T, m *rpc.Memory) {
	t.Helper()
	for late := time.After(time.Minute); ; {
		if m.Waiting() > 0 {
			return
		}
		select {
		case <-late:
			t.Fatal("no call ever waits for room")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// watchHeap watches how much of the heap is in use until what it returns is
// called, which is the most there was.
func watchHeap(t *testing.T) func() uint64 {
	t.Helper()
	var most atomic.Uint64
	var watching sync.WaitGroup
	stop := make(chan struct{})
	end := sync.OnceFunc(func() { close(stop); watching.Wait() })
	t.Cleanup(end)
	look := func() { most.Store(max(most.Load(), heap())) }
	watching.Go(func() {
		for tick := time.Tick(50 * time.Millisecond); ; {
			select {
			case <-stop:
				return
			case <-tick:
				look()
			}
		}
	})
	return func() uint64 {
		end()
		look()
		return most.Load()
	}
}
