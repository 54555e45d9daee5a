//go:build netns

package nfs

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// fuse mounts a FUSE file system that has only a root, and returns where.
func fuse(t *testing.T) string {
	t.Helper()
	// No os.File: the runtime would poll it, which works only once it is mounted.
	dev, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", dev)
	if err := unix.Mount("test", dir, "fuse", 0, data); err != nil {
		unix.Close(dev)
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() { serveFUSE(dev) })
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		served.Wait() // reading ends with the last mount
	})
	return dir
}

// serveFUSE answers what is asked of a root directory (linux/fuse.h) until
// the file system is unmounted, and closes dev, so that nobody waits for an
// answer that will not come.
func serveFUSE(dev int) {
	defer unix.Close(dev)
	const getattr, statfs, initialize = 3, 17, 26
	in := make([]byte, 1<<20)
	for {
		n, err := unix.Read(dev, in)
		if err != nil || n < 40 {
			return
		}
		opcode, unique := binary.NativeEndian.Uint32(in[4:]), in[8:16]
		out := make([]byte, 16)
		copy(out[8:], unique)
		switch {
		case opcode == getattr:
			attr := make([]byte, 16+88)
			binary.NativeEndian.PutUint64(attr[16:], 1)                     // inode
			binary.NativeEndian.PutUint32(attr[16+60:], unix.S_IFDIR|0o755) // mode
			out = append(out, attr...)
		case opcode == statfs:
			out = append(out, make([]byte, 80)...)
		case opcode == initialize:
			reply := make([]byte, 64)
			binary.NativeEndian.PutUint32(reply, 7)
			binary.NativeEndian.PutUint32(reply[4:], 31)
			binary.NativeEndian.PutUint32(reply[20:], 1<<17) // max_write
			out = append(out, reply...)
		default:
			enosys := -int32(unix.ENOSYS)
			binary.NativeEndian.PutUint32(out[4:], uint32(enosys))
		}
		binary.NativeEndian.PutUint32(out, uint32(len(out)))
		_, _ = unix.Write(dev, out) // fails where nobody waits for the answer any more
	}
}
