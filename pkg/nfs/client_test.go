package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"pibootd/pkg/nfs/rpc"
)

// loopback is the address that the tests' clients come from.
var loopback = netip.MustParseAddr("127.0.0.1")

// A rawClient speaks RFC 1813 over one connection, one call at a time.
type rawClient struct {
	t    *testing.T
	conn net.Conn
	xid  uint32
	cred identity
	none bool // send AUTH_NONE
}

func dial(t *testing.T, addr string) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &rawClient{t: t, conn: conn, xid: 1000}
}

// user returns a client of the same connection that acts as another user.
func (c *rawClient) user(uid, gid uint32, groups ...uint32) *rawClient {
	u := *c
	u.cred = identity{uid: uid, gid: gid, groups: groups}
	u.xid += uid*100000 + gid*1000
	return &u
}

// message is a call with its record mark.
func (c *rawClient) message(prog, vers, proc uint32, args []byte) []byte {
	var e encoder
	e.Buf = append(e.Buf, 0, 0, 0, 0)
	for _, v := range []uint32{c.xid, rpc.MsgCall, rpc.Version, prog, vers, proc} {
		e.Uint32(v)
	}
	e.credentials(c)
	e.Uint32(rpc.AuthNone)
	e.Uint32(0)
	e.Buf = append(e.Buf, args...)
	binary.BigEndian.PutUint32(e.Buf, uint32(len(e.Buf)-4)|rpc.LastFragment)
	return e.Buf
}

func (e *encoder) credentials(c *rawClient) {
	if c.none {
		e.Uint32(rpc.AuthNone)
		e.Uint32(0)
		return
	}
	var body encoder
	body.Uint32(7) // stamp
	body.String("board")
	body.Uint32(c.cred.uid)
	body.Uint32(c.cred.gid)
	body.Uint32(uint32(len(c.cred.groups)))
	for _, g := range c.cred.groups {
		body.Uint32(g)
	}
	e.Uint32(rpc.AuthSys)
	e.Opaque(body.Buf)
}

// roundTrip sends message and returns the reply after its xid.
func (c *rawClient) roundTrip(message []byte) *decoder {
	c.t.Helper()
	if _, err := c.conn.Write(message); err != nil {
		c.t.Fatal(err)
	}
	xid, d := c.reply()
	if xid != c.xid {
		c.t.Fatalf("reply to xid %d; want %d", xid, c.xid)
	}
	return d
}

// reply reads the next reply, to whichever call.
func (c *rawClient) reply() (xid uint32, d *decoder) {
	c.t.Helper()
	var mark [4]byte
	if _, err := io.ReadFull(c.conn, mark[:]); err != nil {
		c.t.Fatalf("reading a reply: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(mark[:])&^rpc.LastFragment)
	if _, err := io.ReadFull(c.conn, b); err != nil {
		c.t.Fatal(err)
	}
	d = &decoder{rpc.Decoder{Buf: b}}
	return d.Uint32(), d
}

// rpc makes a call and returns its accept status and results.
func (c *rawClient) rpc(prog, vers, proc uint32, args []byte) (uint32, *decoder) {
	c.t.Helper()
	c.xid++
	d := c.roundTrip(c.message(prog, vers, proc, args))
	if typ, stat := d.Uint32(), d.Uint32(); typ != rpc.MsgReply || stat != rpc.MsgAccepted {
		c.t.Fatalf("message type %d, reply status %d; want 1, 0", typ, stat)
	}
	d.Uint32()
	d.Opaque(rpc.MaxAuthBody)
	return d.Uint32(), d
}

// args encodes arguments: []byte and string as counted, uint32 and uint64 as
// they are, sattr as a sattr3, raw as it is.
func args(all ...any) []byte {
	var e encoder
	for _, a := range all {
		switch a := a.(type) {
		case []byte:
			e.Opaque(a)
		case string:
			e.String(a)
		case uint32:
			e.Uint32(a)
		case int:
			e.Uint32(uint32(a))
		case uint64:
			e.Uint64(a)
		case bool:
			e.Bool(a)
		case sattr:
			e.sattr(a)
		case raw:
			e.Buf = append(e.Buf, a...)
		default:
			panic("unknown argument type")
		}
	}
	return e.Buf
}

type raw []byte

func (e *encoder) sattr(s sattr) {
	for _, v := range []*uint32{s.mode, s.uid, s.gid} {
		e.Bool(v != nil)
		if v != nil {
			e.Uint32(*v)
		}
	}
	e.Bool(s.size != nil)
	if s.size != nil {
		e.Uint64(*s.size)
	}
	for _, v := range []*unix.Timespec{s.atime, s.mtime} {
		switch {
		case v == nil:
			e.Uint32(0)
		case v.Nsec == unix.UTIME_NOW:
			e.Uint32(1)
		default:
			e.Uint32(2)
			e.Uint32(uint32(v.Sec))
			e.Uint32(uint32(v.Nsec))
		}
	}
}

// nfs makes an NFS call that must be accepted, and returns its status.
func (c *rawClient) nfs(proc uint32, all ...any) (status, *decoder) {
	c.t.Helper()
	stat, d := c.rpc(100003, 3, proc, args(all...))
	if stat != rpc.Success {
		c.t.Fatalf("procedure %d has accept status %d; want 0", proc, stat)
	}
	return status(d.Uint32()), d
}

// mount makes an MNT call.
func (c *rawClient) mount(path string) (status, []byte) {
	c.t.Helper()
	stat, d := c.rpc(100005, 3, 1, args(path))
	if stat != rpc.Success {
		c.t.Fatalf("MNT has accept status %d; want 0", stat)
	}
	s := status(d.Uint32())
	return s, d.handle()
}

func (c *rawClient) mustMount(path string) []byte {
	c.t.Helper()
	s, wire := c.mount(path)
	if s != statusOK {
		c.t.Fatalf("MNT %s = %v; want OK", path, s)
	}
	return wire
}

// A fattr is a fattr3 as the client sees it.
type fattr struct {
	typ, mode, nlink, uid, gid uint32
	size, used                 uint64
	major, minor               uint32
	fsid, fileID               uint64
	atime, mtime, ctime        [2]uint32
}

func (d *decoder) fattr() fattr {
	pair := func() [2]uint32 { return [2]uint32{d.Uint32(), d.Uint32()} }
	return fattr{
		typ: d.Uint32(), mode: d.Uint32(), nlink: d.Uint32(), uid: d.Uint32(), gid: d.Uint32(),
		size: d.Uint64(), used: d.Uint64(), major: d.Uint32(), minor: d.Uint32(),
		fsid: d.Uint64(), fileID: d.Uint64(), atime: pair(), mtime: pair(), ctime: pair(),
	}
}

func (d *decoder) postAttr() *fattr {
	if !d.Bool() {
		return nil
	}
	a := d.fattr()
	return &a
}

// wcc reads a wcc_data and returns the attributes afterwards.
func (d *decoder) wcc() (before bool, after *fattr) {
	if before = d.Bool(); before {
		d.Take(8 + 8 + 8)
	}
	return before, d.postAttr()
}

// lookup returns the handle and attributes of an entry that must be there.
func (c *rawClient) lookup(dir []byte, name string) ([]byte, fattr) {
	c.t.Helper()
	s, d := c.nfs(3, dir, name)
	if s != statusOK {
		c.t.Fatalf("LOOKUP %q = %v; want OK", name, s)
	}
	wire, a := d.handle(), d.postAttr()
	if a == nil || d.postAttr() == nil || d.Bad {
		c.t.Fatalf("LOOKUP %q has no attributes", name)
	}
	return wire, *a
}

func (c *rawClient) getattr(wire []byte) fattr {
	c.t.Helper()
	s, d := c.nfs(1, wire)
	if s != statusOK {
		c.t.Fatalf("GETATTR = %v; want OK", s)
	}
	a := d.fattr()
	if d.Bad || len(d.Buf) != 0 {
		c.t.Fatalf("GETATTR result is malformed; %d bytes are left", len(d.Buf))
	}
	return a
}

// create makes a file by GUARDED CREATE and returns its handle.
func (c *rawClient) create(dir []byte, name string, mode uint32) []byte {
	c.t.Helper()
	s, d := c.nfs(8, dir, name, guarded, sattr{mode: &mode})
	if s != statusOK || !d.Bool() {
		c.t.Fatalf("CREATE %q = %v; want OK and a handle", name, s)
	}
	return bytes.Clone(d.handle())
}

func (c *rawClient) write(wire []byte, offset uint64, how int, data []byte) status {
	c.t.Helper()
	s, d := c.nfs(7, wire, offset, len(data), how, data)
	if s != statusOK {
		return s
	}
	if before, after := d.wcc(); !before || after == nil {
		c.t.Error("WRITE says nothing of the attributes before and after")
	}
	if n, committed := d.Uint32(), d.Uint32(); int(n) != len(data) || int(committed) < how {
		c.t.Errorf("WRITE wrote %d, committed %d; want %d, %d", n, committed, len(data), how)
	}
	return s
}

func (c *rawClient) read(wire []byte, offset uint64, count int) (s status, data []byte, eof bool) {
	c.t.Helper()
	s, d := c.nfs(6, wire, offset, count)
	if d.postAttr() == nil && s == statusOK {
		c.t.Error("READ has no attributes")
	}
	if s != statusOK {
		return s, nil, false
	}
	n := d.Uint32()
	eof = d.Bool()
	data = d.Opaque(maxIO)
	if d.Bad || len(d.Buf) != 0 || int(n) != len(data) {
		c.t.Errorf("READ result is malformed: count %d, %d bytes, %d left", n, len(data), len(d.Buf))
	}
	return s, data, eof
}

// A testServer is a server that runs until the test ends or stop is called.
type testServer struct {
	*Server
	addr string
	stop func()
}

func testKey() []byte { return bytes.Repeat([]byte{7}, keySize) }

// serve runs s on the loopback address.
func serve(t *testing.T, s *Server) *testServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, s, Listeners{NFS: ln})
}

func serveOn(t *testing.T, s *Server, l Listeners) *testServer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v; want nil", err)
		}
		for _, e := range s.Exports() {
			s.Unexport(e.Path)
		}
	})
	t.Cleanup(stop)
	return &testServer{Server: s, addr: l.NFS.Addr().String(), stop: stop}
}

// serveDir serves dir as /roots/1 to the loopback address, and returns a root
// client and the root's handle.
func serveDir(t *testing.T, dir string) (*testServer, *rawClient, []byte) {
	t.Helper()
	s := serve(t, &Server{Key: testKey()})
	mustExport(t, s.Server, Export{ID: 1, Path: "/roots/1", Dir: dir, Clients: []netip.Addr{loopback}})
	c := dial(t, s.addr)
	return s, c, bytes.Clone(c.mustMount("/roots/1"))
}

func mustExport(t *testing.T, s *Server, e Export) {
	t.Helper()
	if err := s.Export(e); err != nil {
		t.Fatal(err)
	}
}

func ptr[T any](v T) *T { return &v }

// onDisk is a file's own view of itself.
func onDisk(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("lstat %s: %v", path, err)
	}
	return st
}

func gone(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); !errors.Is(err, unix.ENOENT) {
		t.Errorf("lstat %s = %v; want that it is gone", path, err)
	}
}
