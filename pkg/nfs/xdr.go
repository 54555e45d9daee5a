package nfs

import "pibootd/pkg/nfs/rpc"

// A decoder reads the arguments of calls, and an encoder makes their results.
type (
	decoder struct{ rpc.Decoder }
	encoder struct{ rpc.Encoder }
)

func newDecoder(buf []byte) decoder { return decoder{rpc.Decoder{Buf: buf}} }

// handle reads a file handle (RFC 1813 §2.5, nfs_fh3).
func (d *decoder) handle() []byte { return d.Opaque(maxHandle) }

// name reads a file name or path. One that is too long for any file system is
// still read as long as it is, so that it gets NAMETOOLONG and not an RPC error.
func (d *decoder) name() string { return string(d.Opaque(maxString)) }
