//go:build e2e

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"
	"github.com/vmware/go-nfs-client/nfs/xdr"

	"pibootd/pkg/fleet"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
)

// Whoever is root on a board, and speaks NFS from its address, changes nothing
// in the media share: neither what others have published, nor originals, nor
// what the daemon makes. Half a minute after all that it can do to its scratch,
// that is empty, and its timeline says what was wrong.
func TestForgedBoard(t *testing.T) {
	l := newLab(t)
	l.serve(t)
	l.importTiny(t)
	board := decode[fleet.Added](t, l, "add-pi", "--mac", "b8:27:eb:33:34:7a", "--serial", "3333347a", "--name", "hlspi1").Pi
	media := filepath.Join(l.state, "media")
	for _, name := range []string{"hls/a/master.m3u8", "hls/a/720p/00000.ts", "family-videos/1.mp4", "videos/x.mp4"} {
		putText(t, filepath.Join(media, name), "what others made: "+name)
	}
	l.pibootd(t, "transcode", filepath.Join(media, "videos/x.mp4"))
	before := contents(t, l.state)

	forged := l.forge(t, netip.PrefixFrom(board.IP, 24))
	forged.attackMedia(t)
	forged.attackScratch(t)

	ctx, cancel := context.WithTimeout(t.Context(), labTimeout)
	defer cancel()
	said := ""
	for e, err := range l.client.Follow(ctx, board.Serial.String(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == timeline.Misuse {
			said = e.Detail
			break
		}
	}
	if !strings.Contains(said, "6 of type symbolic link") || !strings.Contains(said, "300 of type regular file") {
		t.Errorf("its timeline says %q; want the links and files in its scratch", said)
	}
	scratch := filepath.Join(media, transcode.ScratchOf(board.Serial.String()))
	for entries, err := os.ReadDir(scratch); len(entries) > 0; entries, err = os.ReadDir(scratch) {
		if err != nil {
			t.Fatal(err)
		}
		select { // the sweep that has begun
		case <-ctx.Done():
			t.Fatalf("%d entries are left in the scratch", len(entries))
		case <-time.After(100 * time.Millisecond):
		}
	}
	if after := contents(t, l.state); !maps.Equal(before, after) {
		t.Errorf("in the share there is\n%v; want\n%v", after, before)
	}
}

// A forger speaks NFS from the address of a board.
type forger struct {
	machine *netlab.Namespace
	server  string
}

// forge puts a machine with that address onto the lab's network.
func (l *lab) forge(t *testing.T, addr netip.Prefix) *forger {
	t.Helper()
	machine := netlabtest.Host{Port: "forged", Addr: addr.String()}.Join(t, l.net)
	return &forger{machine, "10.77.0.1"}
}

// A mounted export, and a connection for calls that the library has not.
type mountedExport struct {
	*nfsclient.Target
	raw  *rpc.Client
	auth rpc.Auth
}

func (f *forger) on(t *testing.T, export string, do func(m mountedExport) error) {
	t.Helper()
	err := f.machine.Do(func() error {
		mount, err := nfsclient.DialMount(f.server)
		if err != nil {
			return err
		}
		defer mount.Close()
		auth := rpc.NewAuthUnix("hlspi1", 0, 0).Auth()
		target, err := mount.Mount(export, auth)
		if err != nil {
			return err
		}
		defer target.Close()
		addr, err := net.ResolveTCPAddr("tcp", f.server+":2049")
		if err != nil {
			return err
		}
		raw, err := rpc.DialTCP("tcp", nil, addr.String())
		if err != nil {
			return err
		}
		defer raw.Close()
		return do(mountedExport{target, raw, auth})
	})
	if err != nil {
		t.Fatalf("%s: %v", export, err)
	}
}

// symlink is SYMLINK (RFC 1813 §3.3.10), and returns its status.
func (m mountedExport) symlink(dir, name, target string) (uint32, error) {
	_, handle, err := m.Lookup(dir)
	if err != nil {
		return 0, err
	}
	reply, err := m.raw.Call(&struct {
		rpc.Header
		Where  nfsclient.Diropargs3
		Attr   nfsclient.Sattr3
		Target string
	}{
		rpc.Header{Rpcvers: 2, Prog: nfsclient.Nfs3Prog, Vers: nfsclient.Nfs3Vers, Proc: 10, Cred: m.auth, Verf: rpc.AuthNull},
		nfsclient.Diropargs3{FH: handle, Filename: name}, nfsclient.Sattr3{}, target,
	})
	if err != nil {
		return 0, err
	}
	return xdr.ReadUint32(reply)
}

const readOnly = 30 // NFS3ERR_ROFS

// attackMedia tries what made the daemon delete and overwrite others' files when
// boards could write to the share.
func (f *forger) attackMedia(t *testing.T) {
	t.Helper()
	f.on(t, "/media", func(m mountedExport) error {
		for _, link := range [][3]string{
			{"/.work", "4", "../hls"}, {"/.work", "64", "../family-videos"}, {"/.work", "50", ".."}, {"/.work", "3", "../../x"},
			{"/", "link", "hls"}, {"/hls/a", "720p", "../../videos"},
		} {
			if status, err := m.symlink(link[0], link[1], link[2]); err != nil || status != readOnly {
				t.Errorf("SYMLINK %v: status %d, %v; want %d", link, status, err, readOnly)
			}
		}
		for what, try := range map[string]func() error{
			"MKDIR .work/338":         func() error { _, err := m.Mkdir("/.work/338", 0o777); return err },
			"MKDIR .scratch/others":   func() error { _, err := m.Mkdir("/.scratch/others", 0o777); return err },
			"CREATE videos/new.mp4":   func() error { _, err := m.Create("/videos/new.mp4", 0o666); return err },
			"REMOVE videos/x.mp4":     func() error { return m.Remove("/videos/x.mp4") },
			"RMDIR hls/a":             func() error { return m.RemoveAll("/hls/a") },
			"READDIR .scratch":        func() error { _, err := m.ReadDirPlus("/.scratch"); return err },
			"LOOKUP its own scratch":  func() error { _, _, err := m.Lookup("/.scratch/3333347a"); return err },
			"READDIR .uploads":        func() error { _, err := m.ReadDirPlus("/.uploads"); return err },
			"LOOKUP beside the share": func() error { _, _, err := m.Lookup("/../pibootd.db"); return err },
		} {
			if try() == nil {
				t.Errorf("%s: done; want it refused", what)
			}
		}
		return nil
	})
}

// attackScratch fills a scratch with what must lead nowhere.
func (f *forger) attackScratch(t *testing.T) {
	t.Helper()
	f.on(t, "/scratch/3333347a", func(m mountedExport) error {
		var errs []error
		for name, target := range map[string]string{
			"1.probe.1": "../../hls", "4": "../../hls", "64": "../../family-videos", "50": "../..", "3": "../../../../..", "root": "/",
		} {
			status, err := m.symlink("/", name, target)
			if err == nil && status != 0 {
				err = fmt.Errorf("SYMLINK %s: status %d", name, status)
			}
			errs = append(errs, err)
		}
		_, err := m.Mkdir("/1.audio.1", 0o777)
		errs = append(errs, err)
		for i := range 300 {
			_, err := m.Create(fmt.Sprintf("/%d%s", i, strings.Repeat("n", 250)), 0o666)
			errs = append(errs, err)
		}
		_, err = m.symlink("/1.audio.1", "publish", "../../../hls/a")
		return errors.Join(append(errs, err)...)
	})
}

// contents returns what is in the share, but in what is the daemon's own, and
// what is beside it, with a hash of each file.
func contents(t *testing.T, state string) map[string]string {
	t.Helper()
	list := map[string]string{}
	err := filepath.WalkDir(state, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(state, name)
		if d.IsDir() && (d.Name() == transcode.ScratchDir || rel == "nats" || rel == "roots") {
			return fs.SkipDir
		}
		if strings.HasPrefix(rel, "pibootd.") || rel == "nfs-calls" {
			return nil // what the daemon itself writes
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		list[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(name)
			sum := sha256.Sum256(text)
			list[rel] += " " + hex.EncodeToString(sum[:4])
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
