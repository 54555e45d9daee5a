//go:build netns

package nfs

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
)

// TestFlood: while strangers and another board call without ever reading an
// answer, and have as many connections as they can get, a board is served.
func TestFlood(t *testing.T) {
	s := serve(t, &Server{Key: testKey(), MaxConns: 24, MaxClientConns: 8, MaxClientCalls: 4, MaxCalls: 6})
	e := Export{ID: 1, Path: "/roots/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}}
	mustExport(t, s.Server, e)
	rogue := Export{ID: 2, Path: "/roots/2", Dir: t.TempDir(), Clients: []netip.Addr{stranger}}
	mustExport(t, s.Server, rogue)
	big := dialFrom(t, stranger, s.addr)
	root := bytes.Clone(big.mustMount(rogue.Path))
	file := big.create(root, "big", 0o644)
	big.write(file, 0, unstable, make([]byte, maxIO))

	var floods sync.WaitGroup
	t.Cleanup(floods.Wait) // runs after the connections are closed: see flood
	addr := stranger
	for range 5 {
		for range 10 {
			c := dialFrom(t, addr, s.addr)
			floods.Go(func() { c.flood(6, file, uint64(0), maxIO) })
		}
		addr = addr.Next()
	}
	c := dial(t, s.addr)
	dir := bytes.Clone(c.mustMount(e.Path))
	b := &bench{T: t}
	for i := range 20 {
		f := c.create(dir, fmt.Sprint(i), 0o644)
		b.want("WRITE", c.write(f, 0, fileSync, []byte("served")), statusOK)
		if st, data, _ := c.read(f, 0, 10); st != statusOK || string(data) != "served" {
			t.Errorf("READ = %v, %q; want what was written", st, data)
		}
	}
}

// flood sends the same call until the connection ends, and reads no reply.
func (c *rawClient) flood(proc uint32, all ...any) {
	message := c.message(100003, 3, proc, args(all...))
	for {
		if _, err := c.conn.Write(message); err != nil {
			return
		}
	}
}

// TestMemory: two hundred boards that see many files cost a bounded amount of
// memory and of file descriptors, however many files they see.
func TestMemory(t *testing.T) {
	const (
		clients, dirs, files = 200, 20, 600 // a quarter of a million entries, of 12000 files
		limit                = 100 << 20
		growth               = 8 << 20
	)
	mnt := tmpfs(t)
	for d := range dirs {
		for f := range files {
			makeFile(t, fmt.Sprintf("%s/%d", mnt, d), fmt.Sprint(f))
		}
	}
	s := serve(t, &Server{Key: testKey()})
	e := Export{ID: 1, Path: "/roots/1", Dir: mnt}
	addr := netip.MustParseAddr("127.0.1.0")
	for range clients {
		addr = addr.Next()
		e.Clients = append(e.Clients, addr)
	}
	mustExport(t, s.Server, e)
	filesBefore := openFiles(t)
	var boards []*bench
	for _, from := range e.Clients {
		b := &bench{T: t, c: dialFrom(t, from, s.addr)}
		b.root = bytes.Clone(b.c.mustMount(e.Path))
		boards = append(boards, b)
	}
	seen := func(d int) {
		var all sync.WaitGroup
		for i, b := range boards {
			all.Go(func() { b.see(fmt.Sprint((d+i)%dirs), files) })
		}
		all.Wait()
	}
	seen(0)
	first := heap()
	seen(1)
	second := heap()
	t.Logf("heap: %d bytes after half of the files, %d after all", first, second)
	if second > limit || second > first+growth {
		t.Errorf("the heap has %d bytes after half of the files and %d after all; want at most %d, and no growth", first, second, limit)
	}
	if n := openFiles(t) - filesBefore - 2*clients; n > 1024 {
		t.Errorf("%d files are open besides the connections", n)
	}
}

// see lists a directory with the attributes and handles of all entries, and
// looks some of them up.
func (b *bench) see(dir string, files int) {
	wire, _ := b.c.lookup(b.root, dir)
	wire = bytes.Clone(wire)
	if n := len(b.entries(17, wire, maxDirReply, func(int) {})); n != files+2 {
		b.Errorf("directory %s has %d entries; want %d", dir, n, files+2)
	}
	for i := range 50 {
		f, _ := b.c.lookup(wire, fmt.Sprint(i*7%files))
		b.c.getattr(f)
	}
}

func makeFile(t *testing.T, dir, name string) {
	t.Helper()
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.WriteFile(dir+"/"+name, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// heap is what is in use of it once the garbage is gone.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
