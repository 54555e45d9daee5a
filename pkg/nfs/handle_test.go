package nfs

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHandles(t *testing.T) {
	key := testHandleKey(t)
	for _, n := range []int{1, 8, 12, 36, maxFileHandle} {
		file := bytes.Repeat([]byte{0xab}, n)
		wire, err := sealHandle(key, 7, unix.NewFileHandle(248, file))
		if err != nil || len(wire) > maxHandle {
			t.Fatalf("sealHandle = %d bytes, %v; want at most %d", len(wire), err, maxHandle)
		}
		id, fh, err := openHandle(key, wire)
		if err != nil || id != 7 || fh.Type() != 248 || !bytes.Equal(fh.Bytes(), file) {
			t.Errorf("openHandle = %d, %d, %x, %v; want what was sealed", id, fh.Type(), fh.Bytes(), err)
		}
		for i := range wire {
			forged := bytes.Clone(wire)
			forged[i] ^= 0x80
			if _, _, err := openHandle(key, forged); !errors.Is(err, statusBadHandle) {
				t.Errorf("openHandle with byte %d changed = %v; want BADHANDLE", i, err)
			}
		}
	}
	for name, fh := range map[string]unix.FileHandle{
		"too long": unix.NewFileHandle(1, make([]byte, maxFileHandle+1)),
		"type":     unix.NewFileHandle(1<<16, make([]byte, 8)),
		"negative": unix.NewFileHandle(-1, make([]byte, 8)),
	} {
		if _, err := sealHandle(key, 7, fh); err == nil {
			t.Errorf("sealHandle of a handle with a %s that does not fit = nil", name)
		}
	}
}

func TestIdentityInATree(t *testing.T) {
	caller := identity{uid: 0, gid: 0, groups: []uint32{0, 5, invalidID}}
	for _, tt := range []struct {
		name      string
		e         Export
		caller    identity
		anonymous bool
		want      identity
	}{
		{"root", Export{}, caller, false, identity{groups: []uint32{0, 5}}},
		{"user", Export{}, identity{uid: 1, gid: 2}, false, identity{uid: 1, gid: 2}},
		{"no credentials", Export{}, identity{}, true, identity{uid: nobody, gid: nobody}},
		{"no user", Export{}, identity{uid: invalidID, gid: invalidID}, false, identity{uid: nobody, gid: nobody}},
		{"root squashed", Export{Squash: RootSquash, AnonUID: 9}, caller, false, identity{uid: 9, gid: nobody, groups: []uint32{5}}},
		{"user not squashed", Export{Squash: RootSquash}, identity{uid: 1, gid: 2, groups: []uint32{3}}, false, identity{uid: 1, gid: 2, groups: []uint32{3}}},
		{"all squashed", Export{Squash: AllSquash, AnonGID: 8}, identity{uid: 1, gid: 2, groups: []uint32{3}}, false, identity{uid: nobody, gid: 8}},
		{"anonymous that is no user", Export{Squash: AllSquash, AnonUID: invalidID}, caller, false, identity{uid: nobody, gid: nobody}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := (&tree{export: tt.e}).identity(tt.caller, tt.anonymous)
			if got.uid != tt.want.uid || got.gid != tt.want.gid || !slices.Equal(got.groups, tt.want.groups) {
				t.Errorf("identity = %+v; want %+v", got, tt.want)
			}
		})
	}
}

// TestVerifierAfterAFailedSync: then clients have to write again.
func TestVerifierAfterAFailedSync(t *testing.T) {
	s := &Server{Key: testKey()}
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	before := s.verifier.Load()
	if err := s.stabilize(&writer{fd: -1}, unstable); err != nil || s.verifier.Load() != before {
		t.Errorf("an UNSTABLE write syncs: %v", err)
	}
	if err := s.stabilize(&writer{fd: -1}, fileSync); err == nil || s.verifier.Load() == before {
		t.Errorf("stabilize = %v with the same verifier; want an error and another", err)
	}
	before = s.verifier.Load()
	var ws writers
	ws.commitAndClose(s, &writer{fd: -1, users: 1, closed: make(chan struct{})})
	if s.verifier.Load() == before {
		t.Error("the verifier is the same after a failed sync")
	}
}

func TestStatusOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want status
	}{
		{nil, statusOK},
		{unix.ENOTEMPTY, statusNotEmpty},
		{errors.Join(unix.ENOSPC), statusNoSpc},
		{statusStale, statusStale},
		{unix.ENOTRECOVERABLE, statusIO},
		{errors.New("odd"), statusServerFault},
	} {
		if got := statusOf(tt.err); got != tt.want {
			t.Errorf("statusOf(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}

func TestSharedBits(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		bits int // -1: refused
	}{
		{"192.168.1.1", "192.168.1.2", 30},
		{"192.168.1.2", "192.168.1.3", 31},
		{"192.168.1.1", "192.168.1.3", 29}, // .3 is the broadcast address of the /30
		{"192.168.1.4", "192.168.1.5", 31},
		{"192.168.1.4", "192.168.1.6", 29}, // .4 is the first of the /30
		{"192.168.1.127", "192.168.1.128", 24},
		{"10.0.0.1", "192.168.1.1", 32}, // behind a router
		{"10.0.0.1", "10.0.0.1", -1},
		{"10.0.0.1", "fe80::1", -1},
		{"10.0.0.1", "100.64.0.1", 1},
	} {
		bits, err := sharedBits(netip.MustParseAddr(tt.a), netip.MustParseAddr(tt.b))
		if refused := tt.bits < 0; (err != nil) != refused || !refused && bits != tt.bits {
			t.Errorf("sharedBits(%s, %s) = %d, %v; want %d", tt.a, tt.b, bits, err, tt.bits)
		}
	}
}

func unixHandle() unix.FileHandle { return unix.NewFileHandle(1, []byte{1, 2, 3, 4, 5, 6, 7, 8}) }
