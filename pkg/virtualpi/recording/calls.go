//go:build linux

package recording

import (
	"bytes"
	"errors"

	"pibootd/pkg/nfs/rpc"
)

// Programs and procedures of RFC 1813.
const (
	programNFS   = 100003
	programMount = 100005
	procMnt      = 1

	procGetattr     = 1
	procSetattr     = 2
	procLookup      = 3
	procAccess      = 4
	procReadlink    = 5
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procSymlink     = 10
	procMknod       = 11
	procRemove      = 12
	procRmdir       = 13
	procRename      = 14
	procLink        = 15
	procReaddir     = 16
	procReaddirplus = 17

	typeRegular = 1
	typeDir     = 2
	typeLink    = 5
)

const (
	maxHandle = 64
	maxName   = 4096
)

// A recorder makes a recording of the messages of RPC.
type recorder struct {
	mount   string // what the board mounts as its root
	out     Recording
	replies int
	open    map[uint32]int  // calls without a reply, by xid; of out.Calls
	mounts  map[uint32]bool // MNT calls for mount, by xid
	handles map[string]int  // nodes by handle
	names   map[entry]int   // nodes by where they were first seen
	made    map[entry]bool  // names that the board has made
}

// An entry is a name in a directory.
type entry struct {
	dir  int
	name string
}

func newRecorder(mount string) *recorder {
	return &recorder{
		mount: mount, out: Recording{Nodes: []Node{{Type: typeDir, Mode: 0o755}}},
		open: map[uint32]int{}, mounts: map[uint32]bool{}, handles: map[string]int{}, names: map[entry]int{}, made: map[entry]bool{},
	}
}

// call takes a call of the board. What is no call, or of no interest, it leaves alone.
func (r *recorder) call(message []byte) error {
	d := &rpc.Decoder{Buf: message}
	xid, kind, version := d.Uint32(), d.Uint32(), d.Uint32()
	program, _, proc := d.Uint32(), d.Uint32(), d.Uint32()
	d.Uint32()
	credentials := &rpc.Decoder{Buf: d.Opaque(rpc.MaxAuthBody)}
	d.Uint32()
	d.Opaque(rpc.MaxAuthBody)
	if d.Bad || kind != rpc.MsgCall || version != rpc.Version {
		return nil
	}
	if program == programMount && proc == procMnt {
		r.mounts[xid] = string(d.Opaque(maxName)) == r.mount
		return nil
	}
	if _, again := r.open[xid]; again || program != programNFS || proc == 0 {
		return nil
	}
	c := Call{Proc: proc, After: r.replies}
	credentials.Uint32() // stamp
	credentials.Opaque(maxName)
	c.UID, c.GID = credentials.Uint32(), credentials.Uint32()
	if known, err := r.arguments(&c, d); err != nil || !known {
		return err // a handle of another export
	}
	r.open[xid] = len(r.out.Calls)
	r.out.Calls = append(r.out.Calls, c)
	return nil
}

// arguments reads a call's arguments; known is false if they are of another export.
func (r *recorder) arguments(c *Call, d *rpc.Decoder) (known bool, err error) {
	if c.Node, known = r.handles[string(d.Opaque(maxHandle))]; !known {
		return false, nil
	}
	args := d.Buf
	switch c.Proc {
	case procWrite:
		d.Uint64() // offset
		c.Data = int(d.Uint32())
		d.Uint32() // how stable
		args = args[:len(args)-len(d.Buf)]
	case procRename:
		d.Opaque(maxName)
		args = args[:len(args)-len(d.Buf)]
		fallthrough
	case procLink:
		if c.Proc == procLink {
			args = nil
		}
		if c.Other, known = r.handles[string(d.Opaque(maxHandle))]; !known {
			return false, errors.New("a file was renamed or linked into a directory that no reply had")
		}
		c.MoreArgs = bytes.Clone(d.Buf)
	}
	if d.Bad {
		return false, errors.New("arguments of a call are malformed")
	}
	c.Args = bytes.Clone(args)
	return true, nil
}

// nameOf returns the name in the arguments that begin with one.
func nameOf(args []byte) string { return string((&rpc.Decoder{Buf: args}).Opaque(maxName)) }

// reply takes a reply of the server.
func (r *recorder) reply(message []byte) error {
	d := &rpc.Decoder{Buf: message}
	xid, kind := d.Uint32(), d.Uint32()
	d.Uint32()
	d.Uint32()
	d.Opaque(rpc.MaxAuthBody)
	accepted, status := d.Uint32(), d.Uint32()
	if d.Bad || kind != rpc.MsgReply || accepted != rpc.Success {
		return nil
	}
	if r.mounts[xid] && status == 0 {
		r.handles[string(d.Opaque(maxHandle))] = 0
		delete(r.mounts, xid)
		return nil
	}
	at, ok := r.open[xid]
	if !ok {
		return nil
	}
	delete(r.open, xid)
	r.replies++
	c := &r.out.Calls[at]
	c.Status = status
	if status == 0 {
		r.result(c, d)
	}
	return nil
}

// result learns from the result of a call that succeeded.
func (r *recorder) result(c *Call, d *rpc.Decoder) {
	switch c.Proc {
	case procGetattr:
		r.attributes(c.Node, d)
	case procAccess, procReadlink, procRead:
		r.postAttributes(c.Node, d)
		if c.Proc == procReadlink {
			r.out.Nodes[c.Node].Target = string(d.Opaque(maxName))
		}
		r.out.Nodes[c.Node].IsRead = r.out.Nodes[c.Node].IsRead || c.Proc == procRead
	case procLookup:
		r.found(c, entry{c.Node, nameOf(c.Args)}, d.Opaque(maxHandle), d)
	case procCreate, procMkdir, procSymlink, procMknod:
		e := entry{c.Node, nameOf(c.Args)}
		r.made[e] = true
		if d.Bool() {
			r.found(c, e, d.Opaque(maxHandle), d)
		}
	case procRemove, procRmdir:
		r.existed(entry{c.Node, nameOf(c.Args)})
	case procRename:
		r.existed(entry{c.Node, nameOf(c.Args)})
		r.made[entry{c.Other, nameOf(c.MoreArgs)}] = true
	case procLink:
		r.made[entry{c.Other, nameOf(c.MoreArgs)}] = true
	case procReaddir, procReaddirplus:
		r.listed(c, d)
	}
}

// found notes the handle and attributes of an entry.
func (r *recorder) found(c *Call, e entry, handle []byte, d *rpc.Decoder) {
	n, known := r.handles[string(handle)]
	if !known {
		n = r.node(e)
		r.handles[string(handle)] = n
		if c.Proc != procReaddirplus {
			c.Gives = n
		}
	}
	r.postAttributes(n, d)
}

// node returns the node that is first seen as e.
func (r *recorder) node(e entry) int {
	if n, ok := r.names[e]; ok && r.out.Nodes[n].Type == 0 && !r.made[e] {
		return n // only its name was known
	}
	r.out.Nodes = append(r.out.Nodes, Node{Parent: e.dir, Name: e.name, Made: r.made[e]})
	r.names[e] = len(r.out.Nodes) - 1
	return r.names[e]
}

// existed notes that there was something of that name.
func (r *recorder) existed(e entry) {
	if _, ok := r.names[e]; !ok && !r.made[e] {
		r.node(e)
	}
}

// listed notes the entries of a directory.
func (r *recorder) listed(c *Call, d *rpc.Decoder) {
	r.postAttributes(c.Node, d)
	d.Uint64() // verifier
	for d.Bool() {
		d.Uint64() // number
		e := entry{c.Node, string(d.Opaque(maxName))}
		d.Uint64() // cookie
		dots := e.name == "." || e.name == ".."
		if c.Proc == procReaddir {
			if !dots {
				r.existed(e)
			}
			continue
		}
		var attributes rpc.Decoder
		if before := d.Buf; d.Bool() {
			skipAttributes(d)
			attributes.Buf = before
		}
		if !d.Bool() {
			if !dots {
				r.existed(e)
			}
			continue
		}
		if handle := d.Opaque(maxHandle); !dots {
			r.found(c, e, handle, &attributes)
		}
	}
}

func (r *recorder) postAttributes(node int, d *rpc.Decoder) {
	if d.Bool() {
		r.attributes(node, d)
	}
}

// sizeOfAttributes is that of a fattr3, in bytes.
const sizeOfAttributes = 84

func skipAttributes(d *rpc.Decoder) { d.Take(sizeOfAttributes) }

// attributes reads a fattr3. The first that tell of a node count: later the board may have changed it.
func (r *recorder) attributes(node int, d *rpc.Decoder) {
	a := &rpc.Decoder{Buf: d.Take(sizeOfAttributes)}
	n := &r.out.Nodes[node]
	if a.Buf == nil || n.Type != 0 && node != 0 {
		return
	}
	n.Type, n.Mode = a.Uint32(), a.Uint32()
	a.Uint32() // links
	n.UID, n.GID, n.Size = a.Uint32(), a.Uint32(), a.Uint64()
}

// finished returns the recording without calls that had no reply.
func (r *recorder) finished() (*Recording, error) {
	if len(r.open) > 0 {
		var whole []Call
		for i, c := range r.out.Calls {
			if !r.isOpen(i) {
				whole = append(whole, c)
			}
		}
		r.out.Calls = whole
	}
	if len(r.out.Calls) == 0 || len(r.out.Files) == 0 || len(r.out.Discovers) == 0 {
		return nil, errors.New("the board asked for nothing by DHCP, TFTP or NFS")
	}
	return &r.out, nil
}

func (r *recorder) isOpen(call int) bool {
	for _, open := range r.open {
		if open == call {
			return true
		}
	}
	return false
}
