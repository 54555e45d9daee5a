package nfs

import (
	"bytes"
	"encoding/binary"
	"testing"

	"pibootd/pkg/nfs/rpc"
)

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
		if xid := binary.BigEndian.Uint32(call); d.Uint32() != xid || d.Uint32() != rpc.MsgReply {
			t.Errorf("reply %x is no reply to xid %d", reply, xid)
		}
		if d.Uint32() == rpc.MsgAccepted {
			if d.Take(8); d.Uint32() == rpc.SystemErr {
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
