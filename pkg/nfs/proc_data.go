package nfs

import (
	"math"

	"golang.org/x/sys/unix"
)

// maxOffset is the largest offset in a file.
const maxOffset = math.MaxInt64

// minSplice is the least number of bytes for which READ moves pages of the page cache to the
// socket. Copying fewer bytes is cheaper.
const minSplice = 32 << 10

// readHead is the size of what precedes the data in READ's result: status, attributes, count,
// end of file and the data's length.
const readHead = 4 + attrSize + 3*4

// read implements READ (RFC 1813 §3.3.6). The data stays in the page cache, referenced by a
// pipe, or is read directly into its place in the reply; the head before it is written
// afterwards.
func (c *call) read() error {
	wire, offset, count := c.in.handle(), c.in.Uint64(), c.in.Uint32()
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.open(wire)
	defer o.close()
	head, want := len(c.Buf), int(min(count, maxIO))
	var n int
	var st unix.Statx_t
	if err == nil {
		n, err = c.readFile(o, offset, want)
	}
	if err == nil {
		st, err = o.stat()
	}
	if err != nil {
		c.reply.Unsplice()
		c.status(err)
		c.postAttr(o)
		return nil
	}
	if !c.reply.Spliced() {
		c.Buf = c.reply.Bytes[:head]
	}
	if st.Atime != o.attr.Atime { // the kernel does not report it
		c.server.attrs.forget(o.fh)
	}
	c.status(nil)
	c.Bool(true)
	c.attr(&st, o.tree.export.ID)
	c.Uint32(uint32(n))
	c.Bool(n < want || offset+uint64(n) >= st.Size)
	c.Uint32(uint32(n))
	if !c.reply.Spliced() {
		c.Buf = c.Buf[:len(c.Buf)+n]
		c.Pad(n)
	}
	return nil
}

// readResults returns the maximum size of READ's data.
func readResults(args decoder) uint32 {
	args.handle()
	args.Uint64() // offset
	return args.Uint32()
}

// readFile reads count bytes of o at offset, or fewer at the end of the file. The data goes to
// the reply's pipe if there is one, else to the reply's buffer, readHead bytes after what the
// call has written so far.
func (c *call) readFile(o *object, offset uint64, count int) (int, error) {
	if err := o.permitRead(); err != nil {
		return 0, err
	}
	fd, err := o.openData(unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	count = int(min(uint64(count), maxOffset-min(offset, maxOffset))) // the limit of a file's size
	if c.reply.Splices() && count >= minSplice && o.attr.Size >= minSplice && offset <= o.attr.Size-minSplice {
		if n, err := c.reply.Splice(fd, int64(offset), count); err == nil {
			return n, nil
		}
	}
	c.reply.Bytes = append(c.reply.Bytes[:0], c.Buf...)
	room := c.reply.Grow(readHead + count)
	return readAt(fd, room[readHead:], int64(offset))
}

// readAt fills p from offset, and returns fewer bytes only at the end of the file.
func readAt(fd int, p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(fd, p[done:], offset+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		done += n
	}
	return done, nil
}

// permitRead is permit for READ. It also permits those who may execute the file, because a
// client must read a program to run it.
func (o *object) permitRead() error {
	err := o.permit(unix.R_OK)
	if err == nil || !o.is(unix.S_IFREG) {
		return err
	}
	return o.as(func() error {
		if o.mayExecute() {
			return nil
		}
		return err
	})
}

// Stability of a WRITE (stable_how).
const (
	unstable = 0
	dataSync = 1
	fileSync = 2
)

// unstableWrite reports whether a WRITE goes to memory only and does not wait for the disk.
func unstableWrite(args decoder) bool {
	args.handle()
	args.Uint64() // offset
	args.Uint32() // count
	return args.Uint32() == unstable && !args.Bad
}

// write implements WRITE (§3.3.7).
func (c *call) write() error {
	wire, offset, count, how := c.in.handle(), c.in.Uint64(), c.in.Uint32(), c.in.Uint32()
	data := c.in.Opaque(maxIO)
	if c.in.Bad || how > fileSync || uint64(count) != uint64(len(data)) {
		return errGarbage
	}
	o, err := c.openToChange(wire)
	defer o.close()
	verifier := c.server.verifier.Load() // before the write, see commit
	n, w, err := o.write(err, data, offset, how)
	ok := c.status(err)
	c.wcc(w)
	if ok {
		c.Uint32(uint32(n))
		c.Uint32(how)
		c.Uint64(verifier)
	}
	return nil
}

// write writes p at offset, unless err is set. It returns how many bytes it has written to the
// file and, unless how is unstable, to the disk.
func (o *object) write(err error, p []byte, offset uint64, how uint32) (int, wcc, error) {
	if err == nil && offset > maxOffset-uint64(len(p)) {
		err = statusFBig
	}
	if err == nil {
		err = o.permit(unix.W_OK)
	}
	if err != nil {
		return 0, unchanged(o), err
	}
	need := o.writeCost(len(p), offset)
	if err := o.tree.reserve(need); err != nil {
		return 0, unchanged(o), err
	}
	writers := &o.tree.writers
	f, err := writers.use(o, how == unstable)
	if err != nil {
		o.tree.finalize(need, cost{})
		return 0, unchanged(o), err
	}
	n := 0
	w, err := changeOne(o, nil, func() error {
		return o.as(func() (err error) { n, err = writeAt(f.fd, p, int64(offset)); return err })
	})
	o.tree.finalizeGrown(need, w)
	if err == nil {
		err = o.tree.server.stabilize(f, how)
	}
	writers.done(f, 0)
	writers.trim(o.tree.server)
	return n, w, err
}

// writeCost returns the maximum cost of a WRITE of n bytes at offset. Overwriting data does not
// enlarge the file, but needs new blocks if the file shares its old ones, as files of a cloned
// root do.
func (o *object) writeCost(n int, offset uint64) cost {
	whole := o.attr.Blocks*512 >= o.attr.Size
	if n == 0 || whole && offset+uint64(n) <= o.attr.Size {
		if o.tree.inPlace {
			return cost{}
		}
		return cost{disk: int64(n)}
	}
	most := roundUp(uint64(n)) + pageSize
	return cost{bytes: most, disk: most}
}

// writeAt writes p to fd, and returns an error only if it could not write any byte.
func writeAt(fd int, p []byte, offset int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(fd, p[done:], offset+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || n == 0 {
			break // such as a full disk: the client writes the rest and receives the error
		}
		done += n
	}
	return done, nil
}

// commit implements COMMIT (§3.3.21). It syncs the whole file, whatever the range.
func (c *call) commit() error {
	wire := c.in.handle()
	c.in.Uint64() // offset
	c.in.Uint32() // count
	if c.in.Bad {
		return errGarbage
	}
	o, err := c.openObject(wire, true)
	defer o.close()
	before := unchanged(o).after
	if err == nil {
		err = o.commit()
	}
	ok := c.status(err)
	w := unchanged(o)
	w.before = before
	c.wcc(w)
	if ok {
		// Load the verifier after syncing. If another call has seen a sync fail in the meantime,
		// the verifier differs from that of the writes.
		c.Uint64(c.server.verifier.Load())
	}
	return nil
}

// commit writes all data of o to the disk.
func (o *object) commit() error {
	f, writes := o.tree.writers.find(o)
	if f == nil {
		if !o.is(unix.S_IFREG) {
			return statusInval
		}
		return o.sync()
	}
	err := o.tree.server.stabilize(f, fileSync)
	o.tree.writers.done(f, writes)
	return err
}
