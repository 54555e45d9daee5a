package rpc

import (
	"net/netip"
	"testing"
)

func TestReplayCache(t *testing.T) {
	var r replayCache
	h := header{xid: 1, prog: 100003, proc: 12}
	e, first := r.begin(replayKeyOf(h, []byte("args")))
	if !first {
		t.Fatal("a new call is taken for a repeated one")
	}
	again, first := r.begin(replayKeyOf(h, []byte("args")))
	if first || again != e {
		t.Error("a repeated call is taken for a new one")
	}
	e.finish([]byte("reply"))
	if <-again.done; string(again.out) != "reply" {
		t.Errorf("reply = %q; want that of the first", again.out)
	}
	for name, other := range map[string]header{
		"xid": {xid: 2, prog: 100003, proc: 12}, "procedure": {xid: 1, prog: 100003, proc: 13},
	} {
		if _, first := r.begin(replayKeyOf(other, []byte("args"))); !first {
			t.Errorf("another %s is taken for a repetition", name)
		}
	}
	if _, first := r.begin(replayKeyOf(h, []byte("arms"))); !first {
		t.Error("other arguments are taken for a repetition")
	}
	for i := range uint32(3 * maxReplays) {
		r.begin(replayKeyOf(header{xid: 100 + i}, nil))
	}
	if len(r.known) != maxReplays || len(r.order) != maxReplays {
		t.Errorf("%d and %d calls are kept; want %d", len(r.known), len(r.order), maxReplays)
	}
	if _, first := r.begin(replayKeyOf(h, []byte("args"))); !first {
		t.Error("the oldest call is still kept")
	}
}

func TestClientsAreForgotten(t *testing.T) {
	s := newServer(true)
	addr := netip.MustParseAddr("10.0.0.1")
	stays := s.enter(addr)
	for range 2 * maxClients {
		addr = addr.Next()
		s.leave(s.enter(addr))
	}
	if len(s.clients) > maxClients {
		t.Errorf("%d clients are kept; want at most %d", len(s.clients), maxClients)
	}
	if s.clients[stays.addr] != stays {
		t.Error("a connected client was forgotten")
	}
}
