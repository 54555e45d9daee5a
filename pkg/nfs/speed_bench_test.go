//go:build bench

package nfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/nfs/rpc"
)

const (
	bigFile    = 512 << 20
	smallFiles = 3000
	manyNames  = 10000
)

// A work is a row of the table: the same calls to each server.
type work struct {
	name string
	unit string
	// run does the work and returns how many units it did.
	run func(c *contender) (float64, error)
	// before and after, if any, are not timed.
	before, after func(c *contender, dir string) error
	// oursOnly marks what is measured for comparison.
	oursOnly bool
}

func works() []work {
	mb := func(n int) float64 { return float64(n) / 1e6 }
	read := func(count, deep int) func(*contender) (float64, error) {
		return func(c *contender) (float64, error) { return mb(bigFile), c.readBig(count, deep) }
	}
	// The file is emptied and not removed: ganesha keeps a removed file open, and
	// whoever writes next would have to do with memory that nobody has used yet.
	empty := func(_ *contender, dir string) error { return os.WriteFile(filepath.Join(dir, "out"), nil, 0o600) }
	write := func(count, how int) work {
		return work{
			unit:   "MB/s",
			before: empty,
			run:    func(c *contender) (float64, error) { return mb(bigFile), c.writeBig(count, how) },
			after:  empty,
		}
	}
	list := func(times int) func(*contender) (float64, error) {
		return func(c *contender) (float64, error) { return float64(times * manyNames), c.listMany(times) }
	}
	named := func(w work, name string) work { w.name = name; return w }
	return []work{
		{name: "READ 512 MB, 128 KiB, one by one", unit: "MB/s", run: read(128<<10, 1)},
		{name: "READ 512 MB, 1 MiB, one by one", unit: "MB/s", run: read(1<<20, 1)},
		{name: "READ 512 MB, 128 KiB, 8 ahead", unit: "MB/s", run: read(128<<10, 8)},
		{name: "READ 512 MB, 1 MiB, 8 ahead", unit: "MB/s", run: read(1<<20, 8)},
		{name: "READ 512 MB: TCP, 128 KiB, one by one", unit: "MB/s", run: (*contender).readPieces, oursOnly: true},
		{name: "READ 512 MB: one TCP stream of it", unit: "MB/s", run: (*contender).readStream, oursOnly: true},
		named(write(1<<20, fileSync), "WRITE 512 MB, 1 MiB, FILE_SYNC"),
		named(write(128<<10, unstable), "WRITE 512 MB, 128 KiB, COMMIT"),
		{name: "3000 x LOOKUP GETATTR ACCESS READ", unit: "files/s", run: (*contender).readSmall},
		// Of both RFC 1813 §4.7 wants on disk what was answered. ganesha answers before.
		{name: "1000 x CREATE REMOVE", unit: "files/s", run: (*contender).makeAndRemove},
		{name: "GETATTR, one by one", unit: "calls/s", run: func(c *contender) (float64, error) { return c.getattrs(1, 1, 20000) }},
		{name: "GETATTR, 8 connections x 16", unit: "calls/s", run: func(c *contender) (float64, error) { return c.getattrs(8, 16, 10000) }},
		{name: "READDIRPLUS of 10k entries, 3 times", unit: "names/s", run: list(3)},
		{name: "READDIRPLUS of 10k, files written", unit: "names/s", run: list(1), before: (*contender).writeElsewhere},
		{name: "READDIRPLUS of 10k, names changed", unit: "names/s", run: list(1), before: (*contender).changeMany},
	}
}

// A sample is what one run of a work took.
type sample struct {
	rate float64 // units per second
	cpu  time.Duration
}

// TestSpeed prints what the same work costs on this server and on ganesha. It
// fails only if a server answers wrongly: how fast a machine is, and what else
// it does, is not for a test to judge.
func TestSpeed(t *testing.T) {
	dir := t.TempDir()
	if err := makeSpeedDir(dir); err != nil {
		t.Fatal(err)
	}
	servers := []*contender{startOurs(t, dir), startGanesha(t, dir)}
	all := slices.DeleteFunc(works(), func(w work) bool { return !strings.Contains(w.name, os.Getenv("ROWS")) })
	got := make([][2][]sample, len(all))
	for round := range speedRounds(t) {
		for i, w := range all {
			for j := range servers {
				j = (j + round) % len(servers) // each is first in turn
				if j == 1 && w.oursOnly {
					continue
				}
				got[i][j] = append(got[i][j], measure(t, servers[j], w, dir))
			}
		}
	}
	printSpeed(all, got)
	for _, c := range servers {
		fmt.Printf("%s: %d MB of memory at most\n", c.name, c.peakMemory())
	}
}

func speedRounds(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("ROUNDS"))
	if err != nil || n < 1 {
		t.Fatalf("ROUNDS is %q; want how often each work is done, e.g. 5", os.Getenv("ROUNDS"))
	}
	return n
}

func makeSpeedDir(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "big"), bytes.Repeat([]byte("0123456789abcdef"), bigFile/16), 0o600); err != nil {
		return err
	}
	for name, n := range map[string]int{"small": smallFiles, "many": manyNames} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, name, numbered(i)), bytes.Repeat([]byte{'x'}, 2000), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func numbered(i int) string { return fmt.Sprintf("file-%05d", i) }

func measure(t *testing.T, c *contender, w work, dir string) sample {
	t.Helper()
	if w.before != nil {
		if err := w.before(c, dir); err != nil {
			t.Fatal(err)
		}
	}
	cpu, began := c.cpu(), time.Now()
	n, err := w.run(c)
	if err != nil {
		t.Fatalf("%s: %s: %v", c.name, w.name, err)
	}
	s := sample{rate: n / time.Since(began).Seconds(), cpu: c.cpu() - cpu}
	c.disconnect()
	if w.after != nil {
		if err := w.after(c, dir); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func printSpeed(all []work, got [][2][]sample) {
	const row = "%-36s %9.0f %9.0f %5.2f %8.3f %8.3f %5.2f  %s\n"
	fmt.Printf("%-36s %9s %9s %5s %8s %8s %5s\n", "medians of "+strconv.Itoa(len(got[0][0])),
		"pibootd", "ganesha", "ratio", "CPU s", "ganesha", "ratio")
	for i, w := range all {
		ours := median(got[i][0])
		if w.oursOnly {
			fmt.Printf("%-36s %9.0f %25.3f %16s%s\n", w.name, ours.rate, ours.cpu.Seconds(), "", w.unit)
			continue
		}
		theirs := median(got[i][1])
		fmt.Printf(row, w.name, ours.rate, theirs.rate, ours.rate/theirs.rate,
			ours.cpu.Seconds(), theirs.cpu.Seconds(), ours.cpu.Seconds()/theirs.cpu.Seconds(), w.unit)
	}
}

// median is the median rate and the median CPU time, each by itself.
func median(all []sample) sample {
	var rates []float64
	var cpus []time.Duration
	for _, s := range all {
		rates, cpus = append(rates, s.rate), append(cpus, s.cpu)
	}
	slices.Sort(rates)
	slices.Sort(cpus)
	return sample{rate: rates[len(rates)/2], cpu: cpus[len(cpus)/2]}
}

// A caller makes calls on one connection, several at once if it is to.
type caller struct {
	raw *rawClient
	in  *bufio.Reader
	buf []byte
}

func (c *contender) caller() *caller { return newCaller(c.t, c.dial(speedAddr)) }

func newCaller(t *testing.T, nc net.Conn) *caller {
	return &caller{
		raw: &rawClient{t: t, conn: nc, xid: 1},
		in:  bufio.NewReaderSize(nc, 64<<10),
		buf: make([]byte, maxIO+4096),
	}
}

// request makes an NFS call; its last argument is in its last bytes.
func (k *caller) request(proc uint32, all ...any) []byte {
	return k.raw.message(nfsProgram().number, 3, proc, args(all...))
}

func (k *caller) send(request []byte) error {
	k.raw.xid++
	binary.BigEndian.PutUint32(request[4:], k.raw.xid)
	_, err := k.raw.conn.Write(request)
	return err
}

// receive reads one reply and returns its results, which must be OK. They are
// good until the next one.
func (k *caller) receive() (decoder, error) {
	var mark [4]byte
	if _, err := io.ReadFull(k.in, mark[:]); err != nil {
		return decoder{}, err
	}
	n := int(binary.BigEndian.Uint32(mark[:]) &^ rpc.LastFragment)
	if n > len(k.buf) {
		return decoder{}, fmt.Errorf("reply of %d bytes", n)
	}
	if _, err := io.ReadFull(k.in, k.buf[:n]); err != nil {
		return decoder{}, err
	}
	d := newDecoder(k.buf[:n])
	d.Take(6 * 4) // xid to accept status
	if s := status(d.Uint32()); s != statusOK || d.Bad {
		return d, fmt.Errorf("reply %x: %w", k.buf[:min(n, 64)], s)
	}
	return d, nil
}

func (k *caller) call(proc uint32, all ...any) (decoder, error) {
	if err := k.send(k.request(proc, all...)); err != nil {
		return decoder{}, err
	}
	return k.receive()
}

// many makes n calls, deep of them at a time. send sends the i-th.
func (k *caller) many(n, deep int, send func(i int) error, check func(d decoder) error) error {
	free := make(chan struct{}, deep)
	var g errgroup.Group
	g.Go(func() error {
		for i := range n {
			free <- struct{}{}
			if err := send(i); err != nil {
				return err
			}
		}
		return nil
	})
	for range n {
		d, err := k.receive()
		if err == nil {
			err = check(d)
		}
		if err != nil {
			return err // the sender ends with the connection
		}
		<-free
	}
	return g.Wait()
}

func (c *contender) lookup(k *caller, name string) ([]byte, error) {
	d, err := k.call(3, c.root, name)
	return bytes.Clone(d.handle()), err
}

func (c *contender) readBig(count, deep int) error {
	k := c.caller()
	big, err := c.lookup(k, "big")
	if err != nil {
		return err
	}
	request := k.request(6, big, uint64(0), count)
	offset := request[len(request)-12:]
	send := func(i int) error {
		binary.BigEndian.PutUint64(offset, uint64(i)*uint64(count))
		return k.send(request)
	}
	return k.many(bigFile/count, deep, send, func(d decoder) error {
		d.postAttr()
		d.Uint32() // count
		d.Bool()   // end of file
		if data := d.Opaque(maxIO); len(data) != count || data[0] != '0' || data[count-1] != 'f' {
			return fmt.Errorf("READ gives %d bytes; want the %d written", len(data), count)
		}
		return nil
	})
}

func (c *contender) readStream() (float64, error) {
	nc := c.dial(streamAddr)
	buf := make([]byte, maxIO)
	for total := 0; ; {
		n, err := io.ReadFull(nc, buf)
		total += n
		if err == io.EOF && total == bigFile {
			return bigFile / 1e6, nil
		} else if err != nil {
			return 0, err
		}
	}
}

// readPieces is readStream in answers of 128 KiB to questions of a READ's size.
func (c *contender) readPieces() (float64, error) {
	nc := c.dial(piecesAddr)
	buf := make([]byte, pieceSize)
	for range bigFile / pieceSize {
		if _, err := nc.Write(buf[:pieceRequest]); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(nc, buf); err != nil {
			return 0, err
		}
	}
	return bigFile / 1e6, nil
}

func (c *contender) writeBig(count, how int) error {
	k := c.caller()
	out, err := c.lookup(k, "out")
	if err != nil {
		return err
	}
	data := bytes.Repeat([]byte{'w'}, count)
	request := k.request(7, out, uint64(0), count, how, data)
	offset := request[len(request)-count-20:]
	for i := range bigFile / count {
		binary.BigEndian.PutUint64(offset, uint64(i)*uint64(count))
		if err := k.send(request); err != nil {
			return err
		}
		d, err := k.receive()
		if err != nil {
			return err
		}
		d.wcc()
		if n := d.Uint32(); int(n) != count {
			return fmt.Errorf("WRITE wrote %d bytes; want %d", n, count)
		}
	}
	if how == unstable {
		_, err = k.call(21, out, uint64(0), 0)
	}
	return err
}

func (c *contender) readSmall() (float64, error) {
	k := c.caller()
	dir, err := c.lookup(k, "small")
	if err != nil {
		return 0, err
	}
	for i := range smallFiles {
		d, err := k.call(3, dir, numbered(i))
		if err != nil {
			return 0, err
		}
		wire := bytes.Clone(d.handle())
		if _, err := k.call(1, wire); err != nil {
			return 0, err
		}
		if _, err := k.call(4, wire, 0x3f); err != nil {
			return 0, err
		}
		if _, err := k.call(6, wire, uint64(0), 64<<10); err != nil {
			return 0, err
		}
	}
	return smallFiles, nil
}

func (c *contender) makeAndRemove() (float64, error) {
	const files = 1000
	k := c.caller()
	for i := range files {
		if _, err := k.call(8, c.root, numbered(i), guarded, sattr{}); err != nil {
			return 0, err
		}
		if _, err := k.call(12, c.root, numbered(i)); err != nil {
			return 0, err
		}
	}
	return files, nil
}

// getattrs makes n calls on each of conns connections, deep at a time.
func (c *contender) getattrs(conns, deep, n int) (float64, error) {
	var callers []*caller
	for range conns {
		callers = append(callers, c.caller())
	}
	var g errgroup.Group
	for _, k := range callers {
		request := k.request(1, c.root)
		g.Go(func() error {
			return k.many(n, deep, func(int) error { return k.send(request) }, func(decoder) error { return nil })
		})
	}
	return float64(conns * n), g.Wait()
}

// listMany lists the directory of many names so many times.
func (c *contender) listMany(times int) error {
	k := c.caller()
	dir, err := c.lookup(k, "many")
	if err != nil {
		return err
	}
	for range times {
		if n, err := k.list(dir); err != nil || n != manyNames+2 {
			return fmt.Errorf("READDIRPLUS lists %d entries; want %d: %w", n, manyNames+2, err)
		}
	}
	return nil
}

// writeElsewhere changes a file that is not listed.
func (c *contender) writeElsewhere(string) error {
	k := c.caller()
	big, err := c.lookup(k, "big")
	if err == nil {
		_, err = k.call(7, big, uint64(0), 1, unstable, "0")
	}
	return err
}

// changeMany makes and removes an entry of the directory of many names.
func (c *contender) changeMany(string) error {
	k := c.caller()
	dir, err := c.lookup(k, "many")
	if err == nil {
		_, err = k.call(8, dir, "new", unchecked, sattr{})
	}
	if err == nil {
		_, err = k.call(12, dir, "new")
	}
	return err
}

// list returns how many entries a directory has.
func (k *caller) list(dir []byte) (int, error) {
	n := 0
	for cookie, verifier := uint64(0), uint64(0); ; {
		d, err := k.call(17, dir, cookie, verifier, 32<<10, 32<<10)
		if err != nil {
			return n, err
		}
		d.postAttr()
		verifier = d.Uint64()
		for d.Bool() {
			d.Uint64()
			d.name()
			cookie = d.Uint64()
			d.postAttr()
			if d.Bool() {
				d.handle()
			}
			n++
		}
		if d.Bool() {
			return n, nil
		}
		if d.Bad {
			return n, errGarbage
		}
	}
}
