//go:build netns

package nfs

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A restarted server is one whose process is killed and started again with the
// same exports and the same file of calls.
type restarted struct {
	*bench
	calls string
}

func newRestarted(b *bench) *restarted {
	r := &restarted{bench: b, calls: filepath.Join(b.TempDir(), "calls")}
	r.restart()
	return r
}

func (r *restarted) restart() {
	r.Helper()
	xid := uint32(5000)
	if r.c != nil {
		xid = r.c.xid
	}
	r.s.stop()
	r.s = serve(r.T, &Server{Key: testKey(), CallsFile: r.calls})
	mustExport(r.T, r.s.Server, Export{ID: 1, Path: "/roots/1", Dir: r.dir, Clients: []netip.Addr{loopback}})
	r.c = dial(r.T, r.s.addr)
	r.c.xid = xid
}

// forgetReplies makes the file of calls what it is when the process was killed
// after it had run its calls and before it answered any.
func (r *restarted) forgetReplies() {
	r.Helper()
	content, err := os.ReadFile(r.calls)
	r.locally(err)
	file, err := os.OpenFile(r.calls, os.O_RDWR, 0)
	r.locally(err)
	defer file.Close()
	for at := slotSize; at < len(content); at += slotSize {
		slot := content[at:min(at+slotSize, len(content))]
		seq, key, entry, ok := parseSlot(slot)
		if !ok {
			r.Fatal("a slot cannot be read")
		}
		running := journaled{journal: &journal{file: file}, at: int64(at), slot: newSlot(seq, key, entry.begun)}
		r.locally(running.write(nil))
	}
}

// again sends a call, restarts the server and sends the same call again.
func (r *restarted) again(what string, forget bool, proc uint32, all ...any) {
	r.Helper()
	s, d := r.c.nfs(proc, all...)
	if s != statusOK {
		r.Fatalf("%s = %v; want OK", what, s)
	}
	first := bytes.Clone(d.Buf)
	r.c.xid-- // what follows is the same call
	r.s.stop()
	if forget {
		r.forgetReplies()
	}
	r.restart()
	s, d = r.c.nfs(proc, all...)
	if s != statusOK {
		r.Errorf("%s again after a kill (not answered: %v) = %v; want OK", what, forget, s)
	} else if !forget && !bytes.Equal(d.Buf, first) {
		r.Errorf("%s again after a kill has another answer", what)
	}
}

// TestAgainAfterAKill: a call that a client repeats because the server was
// killed has the result that it had, whether it was answered or not.
func TestAgainAfterAKill(t *testing.T) {
	fileSystems(t, func(b *bench) {
		r := newRestarted(b)
		for _, forget := range []bool{false, true} {
			mode := sattr{mode: ptr(uint32(0o640)), uid: ptr(uint32(7))}
			r.again("CREATE", forget, 8, b.root, "f", guarded, mode)
			f, a := r.c.lookup(b.root, "f")
			f = bytes.Clone(f)
			if a.mode != 0o640 || a.uid != 7 {
				b.Errorf("the file made twice has mode %o and owner %d; want 640 and 7", a.mode, a.uid)
			}
			r.again("exclusive CREATE", forget, 8, b.root, "x", exclusive, raw("verifier"))
			r.again("MKDIR", forget, 9, b.root, "d", mode)
			r.again("SYMLINK", forget, 10, b.root, "l", sattr{}, "target")
			r.again("MKNOD", forget, 11, b.root, "fifo", typeFIFO, sattr{})
			r.again("LINK", forget, 15, f, b.root, "g")
			r.again("RENAME", forget, 14, b.root, "g", b.root, "h")
			r.again("SETATTR", forget, 2, f, sattr{mode: ptr(uint32(0o600))}, true, r.c.getattr(f).ctime[0], r.c.getattr(f).ctime[1])
			r.again("REMOVE", forget, 12, b.root, "f")
			r.again("RMDIR", forget, 13, b.root, "d")
			for _, name := range []string{"l", "fifo", "h", "x"} {
				r.again("REMOVE", forget, 12, b.root, name)
			}
		}
		if left, err := os.ReadDir(b.dir); err != nil || len(left) != 0 {
			b.Errorf("left over: %v, %v; want nothing", left, err)
		}
	})
}

// TestAgainWithoutVerifier: the kill came between the making of a file and the
// keeping of the verifier by which its maker is known.
func TestAgainWithoutVerifier(t *testing.T) {
	fileSystems(t, func(b *bench) {
		r := newRestarted(b)
		b.want("CREATE", b.call(r.c, 8, b.root, "f", exclusive, raw("verifier")), statusOK)
		b.locally(os.Chtimes(b.path("f"), time.Now(), time.Now()))
		r.s.stop()
		r.forgetReplies()
		r.restart()
		r.c.xid--
		b.want("CREATE again", b.call(r.c, 8, b.root, "f", exclusive, raw("verifier")), statusOK)
		b.want("CREATE by another", b.call(r.c, 8, b.root, "f", exclusive, raw("anothers")), statusExist)
	})
}

// TestOthersAreNotAdopted: what was there before the call is not its work.
func TestOthersAreNotAdopted(t *testing.T) {
	fileSystems(t, func(b *bench) {
		r := newRestarted(b)
		b.locally(os.Mkdir(b.path("lock"), 0o755))
		b.locally(os.Symlink("elsewhere", b.path("link")))
		b.locally(waitTick(b.path("link")))
		for name, call := range map[string][]any{
			"MKDIR":   {uint32(9), b.root, "lock", sattr{}},
			"SYMLINK": {uint32(10), b.root, "link", sattr{}, "elsewhere"},
			"CREATE":  {uint32(8), b.root, "lock", guarded, sattr{}},
			"REMOVE":  {uint32(12), b.root, "lock"},
		} {
			s, _ := r.c.nfs(call[0].(uint32), call[1:]...)
			r.c.xid--
			r.s.stop()
			r.forgetReplies()
			r.restart()
			if again, _ := r.c.nfs(call[0].(uint32), call[1:]...); s == statusOK || again != s {
				b.Errorf("%s = %v and after a kill %v; want it refused twice", name, s, again)
			}
		}
	})
}

// waitTick returns when the clock that files' times are from has moved on since
// the file was made.
func waitTick(file string) error {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, file, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return err
	}
	for {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
			return err
		}
		if now.Nano() > time.Unix(st.Ctime.Sec, int64(st.Ctime.Nsec)).UnixNano() {
			return nil
		}
	}
}
