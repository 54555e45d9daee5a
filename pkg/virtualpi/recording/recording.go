//go:build linux

// Package recording has what a board asks its servers for in one boot, from the first DISCOVER
// until its worker is online: recorded from the wire, while QEMU runs a real kernel, and made
// again by Go code against any servers. A recording contains no file's data. Trees of the same
// shape are made for the servers instead, see Recording.MakeTree. It is for benchmarks alone.
package recording

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// A Recording is the requests of one boot.
type Recording struct {
	Discovers [][]byte // DHCP messages of the boot code and the initramfs, as they were sent
	Files     []File   // read by TFTP, one after the other
	Nodes     []Node   // of the root file system; the first is its root
	Calls     []Call   // of NFS, for the root file system alone
}

// A File is a request of TFTP.
type File struct {
	Request []byte // the RRQ packet
	Name    string
	Size    int64 // in bytes; -1: there is none
	Probe   bool  // the board wants its size only, and ends the transfer (RFC 2347)
}

// A Node is a file of any type below the root.
type Node struct {
	Parent int    `json:",omitempty"` // of Recording.Nodes
	Name   string `json:",omitempty"`
	Made   bool   `json:",omitempty"` // by the board, so it does not exist at first

	Type   uint32 `json:",omitempty"` // ftype3 of RFC 1813; 0 where no reply has told
	Mode   uint32 `json:",omitempty"`
	UID    uint32 `json:",omitempty"`
	GID    uint32 `json:",omitempty"`
	Size   uint64 `json:",omitempty"`
	Target string `json:",omitempty"` // of a symbolic link
	IsRead bool   `json:",omitempty"`
}

// A Call is a call of NFSv3. Its arguments are a node's handle, Args and, for RENAME and LINK,
// another node's handle and MoreArgs.
type Call struct {
	Proc     uint32
	Node     int    `json:",omitempty"`
	Args     []byte `json:",omitempty"`
	Other    int    `json:",omitempty"`
	MoreArgs []byte `json:",omitempty"`
	Data     int    `json:",omitempty"` // bytes that a WRITE has behind Args

	UID    uint32 `json:",omitempty"`
	GID    uint32 `json:",omitempty"`
	After  int    `json:",omitempty"` // how many replies the board had when it made the call
	Status uint32 `json:",omitempty"` // of the reply
	Gives  int    `json:",omitempty"` // the node whose handle the reply was the first to have; 0: none
}

// Load reads what Save wrote.
func Load(name string) (_ *Recording, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w", name, err)
	}
	var r Recording
	if err := json.NewDecoder(unpacked).Decode(&r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return &r, nil
}

// Save writes the recording to a file, packed.
func (r *Recording) Save(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	packed, err := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(packed).Encode(r), packed.Close())
}
