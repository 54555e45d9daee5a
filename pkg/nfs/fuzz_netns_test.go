//go:build netns

package nfs

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/nfs/rpc"
)

// FuzzProcedures: whatever the arguments of a call are, a real export answers
// with a status of RFC 1813, nothing outside of the export changes, and no file
// stays open. The first byte says which procedure, the second which handle
// comes first, the third which user calls; the rest are the arguments.
func FuzzProcedures(f *testing.F) {
	for proc := range byte(22) {
		f.Add(append([]byte{proc, 0, 0}, args("name", 0, 0, 0, 0, 0, 0, 0)...))
		f.Add(append([]byte{proc, 1, 1}, args(uint64(0), 4, 0, "data")...))
		f.Add(append([]byte{proc, 2, 0}, args(uint64(0), uint64(0), 4096, 4096)...))
		f.Add(append([]byte{proc, 3, 1}, args("../../outside", guarded, sattr{mode: ptr(uint32(0o777))})...))
	}
	f.Add(append([]byte{2, 1, 0}, args(sattr{mode: ptr(uint32(0)), uid: ptr(uint32(1)), size: ptr(uint64(5))}, false)...))
	f.Add(append([]byte{10, 0, 0}, args("link", sattr{}, "/etc")...))
	f.Add(append([]byte{11, 0, 0}, args("node", typeChr, sattr{}, 1, 3)...))
	mnt := tmpfs(f)
	s := newFuzzedServer(f, mnt)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 3 {
			return
		}
		p := newFuzzed(t, s, emptyDir(t, filepath.Join(mnt, "export")))
		before := openFiles(t)
		end := p.call(t, in)
		if after := openFiles(t); after > before+1 { // one may wait for its COMMIT
			t.Errorf("%d files are open after the call, %d before", after, before)
		}
		if end == statusIO || end == statusServerFault {
			t.Errorf("the call got %v", end)
		}
		if left, err := os.ReadDir(mnt); err != nil || len(left) != 2 {
			t.Errorf("beside the export there is %v, %v; want one file", left, err)
		}
		if got, err := os.ReadFile(filepath.Join(mnt, "outside")); err != nil || string(got) != "untouched" {
			t.Errorf("the file beside the export holds %q, %v", got, err)
		}
	})
}

// newFuzzedServer exports dir/export, beside which there is a file.
func newFuzzedServer(f *testing.F, dir string) *Server {
	f.Helper()
	tree := filepath.Join(dir, "export")
	err := errors.Join(os.Mkdir(tree, 0o755), os.WriteFile(filepath.Join(dir, "outside"), []byte("untouched"), 0o666))
	if err != nil {
		f.Fatal(err)
	}
	s := &Server{Key: testKey()}
	if err := s.Export(Export{ID: 1, Path: "/x", Dir: tree, Clients: []netip.Addr{loopback}}); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Unexport("/x") })
	return s
}

// A fuzzed is a directory of an export with some files, and their handles.
type fuzzed struct {
	s       *Server
	handles [][]byte
}

// newFuzzed makes them in dir, which is in the export's root.
func newFuzzed(t *testing.T, s *Server, dir string) fuzzed {
	t.Helper()
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "dir"), 0o755),
		os.WriteFile(filepath.Join(dir, "name"), []byte("content"), 0o644),
		os.Symlink("../../outside", filepath.Join(dir, "link")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p := fuzzed{s: s}
	p.handles = [][]byte{p.lookup(t, s.exports.byPath["/x"].handle, filepath.Base(dir))}
	for _, name := range []string{"name", "dir", "link"} {
		p.handles = append(p.handles, p.lookup(t, p.handles[0], name))
	}
	return p
}

func (p fuzzed) lookup(t *testing.T, dir []byte, name string) []byte {
	t.Helper()
	reply := p.answer(t, 3, 0, args(dir, name))
	d := newDecoder(reply)
	d.Take(6 * 4)
	if d.Uint32() != uint32(statusOK) {
		t.Fatalf("LOOKUP %s: reply %x", name, reply)
	}
	return bytes.Clone(d.handle())
}

// call makes the call that in stands for and returns its status.
func (p fuzzed) call(t *testing.T, in []byte) status {
	t.Helper()
	handle := p.handles[int(in[1])%len(p.handles)]
	proc := uint32(in[0]) % 22
	reply := p.answer(t, proc, uint32(in[2]%2)*1000, append(args(handle), in[3:]...))
	d := newDecoder(reply)
	d.Take(5 * 4)
	end := d.Uint32()
	if proc == 0 || end == rpc.GarbageArgs {
		return statusOK
	}
	if end != rpc.Success {
		t.Fatalf("procedure %d has accept status %d", proc, end)
	}
	s := status(d.Uint32())
	if _, known := statusNames[s]; d.Bad || s != statusOK && !known {
		t.Fatalf("procedure %d has status %v", proc, s)
	}
	return s
}

// answer is the reply to a call by that user, without its record mark.
func (p fuzzed) answer(t *testing.T, proc, uid uint32, args []byte) []byte {
	t.Helper()
	c := rawClient{xid: 9, cred: identity{uid: uid, gid: uid}}
	v := &service{server: p.s}
	message := c.message(100003, 3, proc, args)[4:]
	out := p.s.rpc().Answer(message, netip.AddrPortFrom(loopback, 0), v.bind(nfsProgram()))
	if len(out) < 4+6*4 || len(out) > maxIO+8192+maxDirReply {
		t.Fatalf("procedure %d has a reply of %d bytes", proc, len(out))
	}
	return out[4:]
}

// openFiles counts what this process has open.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
