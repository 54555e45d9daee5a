package nfs

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzReadRecord: no record grows beyond its limit.
func FuzzReadRecord(f *testing.F) {
	f.Add(append(words(lastFragment|4), "abcd"...))
	f.Add(bytes.Join([][]byte{words(2), []byte("ab"), words(lastFragment | 1), []byte("c")}, nil))
	f.Add(words(1<<32 - 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 100
		buf := &buffer{s: new(Server)}
		err := readRecord(bytes.NewReader(in), limit, buf)
		if len(buf.b) > limit || cap(buf.b) > 2*limit {
			t.Errorf("a record has %d bytes in %d; want at most %d", len(buf.b), cap(buf.b), limit)
		}
		if err == nil && len(buf.b)+4 > len(in) {
			t.Errorf("a record has %d bytes of %d", len(buf.b), len(in))
		}
	})
}

// FuzzAnswer: whatever a call holds, the answer is one reply to it or silence.
func FuzzAnswer(f *testing.F) {
	handle, err := sealHandle(testHandleKey(f), 1, unixHandle())
	if err != nil {
		f.Fatal(err)
	}
	head := words(9, 0, 2, 100003, 3)
	for proc := range uint32(23) {
		call := append(bytes.Clone(head), words(proc, 0, 0, 0, 0)...)
		f.Add(append(call, args(handle, "name", 0, 0, 0, 0, handle, "other", 4, "data")...))
	}
	f.Add(append(words(9, 0, 2, 100005, 3, 1, 0, 0, 0, 0), args("/roots/1")...))
	f.Add(words(9, 0, 2, 100000, 2, 3, 0, 0, 0, 0, 100003, 3, 6, 0))
	f.Add(append(words(9, 0, 2, 100003, 3, 0, 1, 32), args(7, "board", 0, 0, 1, 5, 0, 0)...))
	f.Fuzz(func(t *testing.T, call []byte) {
		reply := answerTo(t, call)
		if reply == nil {
			return
		}
		d := newDecoder(reply)
		if xid := binary.BigEndian.Uint32(call); d.Uint32() != xid || d.Uint32() != msgReply {
			t.Errorf("reply %x is no reply to xid %d", reply, xid)
		}
		if d.Uint32() == msgAccepted {
			if d.Take(8); d.Uint32() == acceptSystemErr {
				t.Errorf("call %x broke off", call)
			}
		}
	})
}

// FuzzOpenHandle: no handle is good that was not sealed.
func FuzzOpenHandle(f *testing.F) {
	wire, err := sealHandle(testHandleKey(f), 1, unixHandle())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Add(wire[:handleMAC])
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _, err := openHandle(testHandleKey(t), in)
		if (err == nil) != bytes.Equal(in, wire) {
			t.Errorf("openHandle(%x) = %v", in, err)
		}
	})
}

// FuzzDecoder: items never reach beyond what there is.
func FuzzDecoder(f *testing.F) {
	f.Add(args("abc", 7, true, uint64(9)))
	f.Add(words(1<<31, 0))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := newDecoder(in)
		for !d.Bad && len(d.Buf) > 0 {
			before := len(d.Buf)
			if b := d.Opaque(16); len(b) > 16 {
				t.Fatalf("an item of %d bytes; want at most 16", len(b))
			}
			d.Bool()
			d.Uint64()
			if len(d.Buf) >= before {
				t.Fatal("reading does not get further")
			}
		}
	})
}
