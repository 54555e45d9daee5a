//go:build netns

package nfs

import (
	"net/netip"
	"testing"
)

// statsOf is what was counted of a procedure; zero for nothing.
func statsOf(s *Server, export, procedure string) ProcedureStats {
	for _, p := range s.Stats() {
		if p.Export == export && p.Procedure == procedure {
			return p
		}
	}
	return ProcedureStats{}
}

func TestStats(t *testing.T) {
	b := newBench(t, t.TempDir())
	f := b.c.create(b.root, "f", 0o644)
	data := make([]byte, 10000)
	b.want("WRITE", b.c.write(f, 0, unstable, data), statusOK)
	for range 3 {
		b.c.read(f, 0, len(data))
	}
	b.want("LOOKUP", b.call(b.c, 3, b.root, "nothing"), statusNoEnt)
	b.want("LOOKUP", b.call(b.c, 3, b.root, "f"), statusOK)
	b.want("GETATTR", b.call(b.c, 1, "forged"), statusBadHandle)
	b.c.rpc(100003, 3, 1, words(maxHandle+1))
	if p := statsOf(b.s.Server, "/roots/1", "READ"); p.Calls != 3 || p.Failed != nil || p.BytesOut < 30000 || p.BytesOut > 31000 || p.BytesIn > 400 {
		t.Errorf("READ: %+v; want 3 calls and some 30000 bytes out", p)
	}
	if p := statsOf(b.s.Server, "/roots/1", "WRITE"); p.Calls != 1 || p.BytesIn < 10000 || p.BytesOut > 400 {
		t.Errorf("WRITE: %+v; want 1 call and some 10000 bytes in", p)
	}
	lookups := statsOf(b.s.Server, "/roots/1", "LOOKUP")
	if lookups.Calls != 2 || len(lookups.Failed) != 1 || lookups.Failed["NFS3ERR_NOENT"] != 1 {
		t.Errorf("LOOKUP: %+v; want 2 calls, one NOENT", lookups)
	}
	if n := len(lookups.Latency); lookups.Took <= 0 || n == 0 || lookups.Latency[n-1].Calls != 2 {
		t.Errorf("LOOKUP: %+v; want the time of both calls", lookups)
	}
	if p := statsOf(b.s.Server, "", "GETATTR"); p.Calls != 2 || p.Failed["NFS3ERR_BADHANDLE"] != 1 || p.Failed["GARBAGE_ARGS"] != 1 {
		t.Errorf("GETATTR of no export: %+v; want a BADHANDLE and a GARBAGE_ARGS", p)
	}
	if p := statsOf(b.s.Server, "", "MNT"); p.Calls != 1 {
		t.Errorf("MNT: %+v; want 1 call", p)
	}
	mustExport(t, b.s.Server, Export{ID: 2, Path: "/roots/1", Dir: b.dir, Clients: []netip.Addr{loopback}})
	if p := statsOf(b.s.Server, "/roots/1", "READ"); p.Calls != 3 {
		t.Errorf("READ after a change of the export: %+v; want what was counted before", p)
	}
	b.s.Unexport("/roots/1")
	if p := statsOf(b.s.Server, "/roots/1", "READ"); p.Calls != 0 {
		t.Errorf("READ after Unexport: %+v; want nothing", p)
	}
}

// TestOutcomes: no two ways to end a call are counted as one.
func TestOutcomes(t *testing.T) {
	seen := map[outcome]bool{outcomeGarbage: true, outcomeBroke: true}
	for s := range statusNames {
		o := outcomeOf(s)
		if o >= maxOutcome || seen[o] || o.String() != s.String() {
			t.Errorf("%v is counted as outcome %d, %v", s, o, o)
		}
		seen[o] = true
	}
}

// TestPrivilegedPort: an export may refuse what every user of a board could
// send.
func TestPrivilegedPort(t *testing.T) {
	events := make(chan MountEvent, 10)
	s := serve(t, &Server{Key: testKey(), OnMount: func(e MountEvent) { events <- e }})
	e := Export{ID: 1, Path: "/roots/1", Dir: t.TempDir(), Clients: []netip.Addr{loopback}}
	mustExport(t, s.Server, e)
	b, c, low := &bench{T: t}, dial(t, s.addr), dialLow(t, s.addr)
	root := c.mustMount(e.Path)
	<-events
	e.PrivilegedPort = true
	mustExport(t, s.Server, e)
	b.want("GETATTR from a user's port", b.call(c, 1, root), statusAcces)
	b.want("GETATTR from a privileged port", b.call(low, 1, root), statusOK)
	if st, _ := c.mount(e.Path); st != statusAcces {
		t.Errorf("MNT from a user's port = %v; want ACCES", st)
	}
	want := "the call comes from a port that every user may use; the export wants one below 1024"
	if got := <-events; got.Op != Refused || got.Reason != want {
		t.Errorf("event %+v; want %q", got, want)
	}
	low.mustMount(e.Path)
}
