package nfs

import (
	"crypto/subtle"
	"encoding/binary"
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A file handle on the wire: export id, type and bytes of the kernel's handle,
// and a MAC over all three. The MAC is what keeps a client from making up a
// handle of a file outside its export, and the export id under it from using
// one export's handles in another.
const (
	maxHandle = 64 // RFC 1813 §2.4, NFS3_FHSIZE

	handleType = 4 // offset of the type
	handleFile = 6 // offset of the kernel's bytes
	handleMAC  = blockSize

	// maxFileHandle is what remains for the kernel's bytes: overlayfs, the
	// longest of those served, needs 36.
	maxFileHandle = maxHandle - handleFile - handleMAC
)

// sealHandle makes the wire form of a kernel file handle in an export.
func sealHandle(key *handleKey, export uint32, fh unix.FileHandle) ([]byte, error) {
	if fh.Size() > maxFileHandle || fh.Type() < 0 || fh.Type() > math.MaxUint16 {
		return nil, statusServerFault // Export has tried one and refused
	}
	b := make([]byte, 0, maxHandle)
	b = binary.BigEndian.AppendUint32(b, export)
	b = binary.BigEndian.AppendUint16(b, uint16(fh.Type()))
	b = append(b, fh.Bytes()...)
	return key.appendSum(b, b), nil
}

// openHandle reads a wire handle. Any that this key has not sealed is
// statusBadHandle.
func openHandle(key *handleKey, wire []byte) (export uint32, fh unix.FileHandle, err error) {
	n := len(wire) - handleMAC
	if n <= handleFile || len(wire) > maxHandle {
		return 0, unix.FileHandle{}, statusBadHandle
	}
	var sum [handleMAC]byte
	if subtle.ConstantTimeCompare(wire[n:], key.appendSum(sum[:0], wire[:n])) == 0 {
		return 0, unix.FileHandle{}, statusBadHandle
	}
	typ := binary.BigEndian.Uint16(wire[handleType:])
	return binary.BigEndian.Uint32(wire), unix.NewFileHandle(int32(typ), wire[handleFile:n]), nil
}

// nameToHandle returns the kernel's handle of name in the directory dir. Unlike
// the function in x/sys it asks once: it knows how long a handle may be.
func nameToHandle(dir int, name string, flags int) (unix.FileHandle, error) {
	var h struct { // struct file_handle, name_to_handle_at(2)
		size  uint32
		typ   int32
		bytes [maxFileHandle]byte
	}
	h.size = maxFileHandle
	path, err := unix.BytePtrFromString(name)
	if err != nil {
		return unix.FileHandle{}, err
	}
	var mount int32
	_, _, errno := unix.Syscall6(unix.SYS_NAME_TO_HANDLE_AT, uintptr(dir), uintptr(unsafe.Pointer(path)),
		uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&mount)), uintptr(flags), 0)
	if errno != 0 {
		return unix.FileHandle{}, errno
	}
	return unix.NewFileHandle(h.typ, h.bytes[:h.size]), nil
}
