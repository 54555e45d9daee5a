// Package probe mounts an export and uses it as a board does, from the network
// namespace of its caller.
package probe

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"
	"github.com/vmware/go-nfs-client/nfs/xdr"
)

const (
	// Timeout is how long a probe takes at most.
	Timeout = 20 * time.Second

	// Size is how many bytes a board reads and writes.
	Size = 16 << 10

	// TracePrefix begins the name of the file that a board writes.
	TracePrefix = ".pibootd-probe-"

	rpcVersion = 2 // RFC 5531 §9

	jukeboxPause = 100 * time.Millisecond

	// maxLinks is how many symbolic links a board follows on one path, as Linux.
	maxLinks = 40
)

// A File is what a probe uses besides mounting.
type File struct {
	Name  string // is found and read, as seen from the root; "" lists the root itself
	Write bool   // also write, read back and remove a file in the root
}

// A Report says what a probe found.
type Report struct {
	From    netip.Addr // that it was mounted from: the client's, or by nfsd this machine's
	File    string     // where File.Name led after symbolic links
	Read    int        // bytes of it that were read
	Written int        // bytes that were written, read back and removed
	Took    time.Duration
}

// A Board does in a probe what a real one does to its root.
type Board struct {
	addr    netip.Addr
	host    string // the server's address
	export  string
	refused func(error) error
	auth    rpc.Auth
	trace   string
	report  Report
}

// NewBoard returns a board with the address client that mounts export from
// serverAddr. refused explains why the server refused to mount; it may return
// its argument.
func NewBoard(client, serverAddr netip.Addr, export string, refused func(error) error) *Board {
	return &Board{
		addr:    client,
		host:    serverAddr.String(),
		export:  export,
		refused: refused,
		auth:    rpc.NewAuthUnix("pibootd-probe", 0, 0).Auth(),
		report:  Report{From: client},
	}
}

// Try mounts the export and does what want says. The library panics on some
// replies; that is an error like any other here.
func (b *Board) Try(want File) (err error) {
	defer Recover(&err)
	m, err := nfsclient.DialMount(b.host)
	if err != nil {
		return fmt.Errorf("%s cannot reach the NFS server for %s: %w", b.addr, b.export, err)
	}
	defer m.Close()
	m.SetTimeout(Timeout)
	target, err := m.Mount(b.export, b.auth)
	if err != nil {
		return fmt.Errorf("%s may not mount %s: %w", b.addr, b.export, b.refused(err))
	}
	defer target.Close()
	target.SetTimeout(Timeout)
	if err := patiently(func() error { return b.read(target, want.Name) }); err != nil {
		return fmt.Errorf("%s has mounted %s but cannot read %q: %w", b.addr, b.export, want.Name, err)
	}
	if want.Write {
		if err := patiently(func() error { return b.write(target) }); err != nil {
			return fmt.Errorf("%s has mounted %s but cannot write to it: %w", b.addr, b.export, err)
		}
	}
	if err := m.Unmount(); err != nil {
		return fmt.Errorf("%s cannot unmount %s: %w", b.addr, b.export, err)
	}
	return nil
}

// Report is what the board has done so far.
func (b *Board) Report() Report { return b.report }

// Trace is the name of the file that the board writes; "" before it does.
func (b *Board) Trace() string { return b.trace }

// Recover turns a panic of the NFS client library into the error of the
// function that defers it.
func Recover(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
	}
}

// read finds and reads the file called name, or lists the root.
func (b *Board) read(target *nfsclient.Target, name string) error {
	if name == "" {
		return b.list(target)
	}
	where, attr, err := b.resolve(target, name)
	if err != nil {
		return err
	}
	b.report.File = where
	if attr.Type != nfsclient.NF3Reg {
		return fmt.Errorf("%s is of file type %d; want a regular file", where, attr.Type)
	}
	f, err := target.Open(where)
	if err != nil {
		return err
	}
	buf := make([]byte, Size)
	n, err := f.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	b.report.Read = n
	return nil
}

// resolve follows name to what is no symbolic link. Links are relative to the
// export, which is the board's root.
func (b *Board) resolve(target *nfsclient.Target, name string) (string, *nfsclient.Fattr, error) {
	var attr *nfsclient.Fattr
	at, links := []string{}, 0
	for todo := strings.Split(name, "/"); len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			at = at[:max(0, len(at)-1)]
			continue
		}
		where := path.Join(path.Join(at...), part)
		info, _, err := target.Lookup(where)
		if err != nil {
			return "", nil, fmt.Errorf("looking up %s: %w", where, err)
		}
		attr, _ = info.(*nfsclient.Fattr)
		if attr.Type != nfsclient.NF3Lnk {
			at = append(at, part)
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("more than %d symbolic links at %s", maxLinks, where)
		}
		dest, err := readLink(target, where)
		if err != nil {
			return "", nil, err
		}
		if strings.HasPrefix(dest, "/") {
			at = nil
		}
		todo = append(strings.Split(dest, "/"), todo...)
	}
	if attr == nil {
		return "", nil, fmt.Errorf("%q leads to no file", name)
	}
	return path.Join(at...), attr, nil
}

func readLink(target *nfsclient.Target, where string) (string, error) {
	f, err := target.Open(where)
	if err != nil {
		return "", fmt.Errorf("opening the link %s: %w", where, err)
	}
	dest, err := f.Readlink()
	if err != nil {
		return "", fmt.Errorf("reading the link %s: %w", where, err)
	}
	return dest, nil
}

// list makes one READDIR call for the root. The library's own listing reads
// all of it, some twenty entries at a time, which takes long for a big share.
func (b *Board) list(target *nfsclient.Target) error {
	_, root, err := target.Lookup(".")
	if err != nil {
		return err
	}
	type readdirArgs struct {
		rpc.Header
		Dir              []byte
		Cookie, Verifier uint64
		Count            uint32
	}
	const procReaddir = 16
	res, err := target.Call(&readdirArgs{
		Header: rpc.Header{
			Rpcvers: rpcVersion, Prog: nfsclient.Nfs3Prog, Vers: nfsclient.Nfs3Vers, Proc: procReaddir,
			Cred: b.auth, Verf: rpc.AuthNull,
		},
		Dir:   root,
		Count: Size,
	})
	if err != nil {
		return err
	}
	stat, err := xdr.ReadUint32(res)
	if err != nil {
		return err
	}
	b.report.File = "."
	return nfsclient.NFS3Error(stat)
}

// patiently calls f again while the server asks its clients to try later (NFS3ERR_JUKEBOX), as while
// it counts what a limited export has. A kernel does so without end, and nothing tells when it is later.
// The library does not know that status: it alone is ErrInvalid.
func patiently(f func() error) error {
	for began := time.Now(); ; time.Sleep(jukeboxPause) {
		err := f()
		if !errors.Is(err, os.ErrInvalid) {
			return err
		}
		if time.Since(began) > Timeout/2 {
			return fmt.Errorf("the server asks to try again later: %w", err)
		}
	}
}

// write makes a file of random bytes in the root, reads it back and removes
// it.
func (b *Board) write(target *nfsclient.Target) error {
	data := make([]byte, Size)
	_, _ = rand.Read(data) // never fails
	if b.trace == "" {
		b.trace = TracePrefix + hex.EncodeToString(data[:8])
	}
	if err := put(target, b.trace, data); err != nil {
		return err
	}
	got, err := get(target, b.trace)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%s holds other bytes than were written to it", b.trace)
	}
	if err := target.Remove(b.trace); err != nil {
		return fmt.Errorf("removing %s: %w", b.trace, err)
	}
	b.report.Written = len(data)
	return nil
}

func put(target *nfsclient.Target, name string, data []byte) error {
	f, err := target.OpenFile(name, 0o600)
	if err != nil {
		return fmt.Errorf("making %s: %w", name, err)
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("committing %s: %w", name, err)
	}
	return nil
}

func get(target *nfsclient.Target, name string) ([]byte, error) {
	f, err := target.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	buf := make([]byte, 2*Size)
	n, err := f.Read(buf)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return buf[:n], nil
}

// Sweep removes from the exported directory dir the file called trace, which an
// interrupted probe may have left there.
func Sweep(dir, trace string) error {
	if trace == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(dir, trace)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("nfs: tidying up after a probe: %w; remove it by hand", err)
	}
	return nil
}
