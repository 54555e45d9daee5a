package nfsd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/nfs"
	onrpc "pibootd/pkg/nfs/rpc"
)

// fakeExportfs puts an exportfs into PATH that keeps its table in a file, one
// export a line, refuses what has "bad" in its name, and reads the FIFO of that
// name before it exports what has "slow" in its name. It returns the table.
func fakeExportfs(t *testing.T) (table func() string) {
	t.Helper()
	dir := t.TempDir()
	const script = `#!/bin/sh
table=%s/table
touch $table
case "$*" in *slow*) for export; do :; done; read line <"${export#*:}/fifo" ;; esac
case "$*" in *bad*) echo "exportfs: /srv/bad does not support NFS export" >&2; exit 1 ;; esac
if [ "$1" = -u ]; then
	grep -qF "$2 " $table || { echo "exportfs: Could not find '$2' to unexport." >&2; exit 1; }
	grep -vF "$2 " $table >$table.new
	mv $table.new $table
	exit 0
fi
[ "$1 $2" = "-i -o" ] || { echo "unexpected $*" >&2; exit 1; }
options=$3
shift 3
for export; do
	grep -vF "$export " $table >$table.new
	echo "$export $options" >>$table.new
	mv $table.new $table
done
`
	if err := os.WriteFile(filepath.Join(dir, "exportfs"), fmt.Appendf(nil, script, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() string {
		text, err := os.ReadFile(filepath.Join(dir, "table"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
}

func open(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testExport(t *testing.T, id uint32, clients ...string) nfs.Export {
	t.Helper()
	dir := t.TempDir()
	e := nfs.Export{ID: id, Path: dir, Dir: dir}
	for _, c := range clients {
		e.Clients = append(e.Clients, netip.MustParseAddr(c))
	}
	return e
}

func wantFile(t *testing.T, dir string, lines ...string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, fileName))
	if len(lines) == 0 && errors.Is(err, fs.ErrNotExist) {
		return
	}
	want := fileHeader + strings.Join(lines, "\n") + "\n"
	if err != nil || string(got) != want {
		t.Errorf("the file is %q, %v; want %q", got, err, want)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v; want nothing", left, err)
	}
}

// The file says what nfsd's table says, for every client its own line, and
// nothing for nobody: nfsd would take that for everybody.
func TestExport(t *testing.T) {
	table := fakeExportfs(t)
	dir := filepath.Join(t.TempDir(), "exports.d")
	s := open(t, dir)
	root, media := testExport(t, 1, "10.0.0.9"), testExport(t, 1<<32-1)
	media.Squash, media.AnonUID, media.ReadOnly, media.PrivilegedPort = nfs.AllSquash, 1000, true, true
	export := func(e nfs.Export) {
		t.Helper()
		if err := s.Export(e); err != nil {
			t.Error(err)
		}
	}
	const rootOptions = "rw,insecure,sync,no_subtree_check,no_root_squash,anonuid=65534,anongid=65534,fsid=1885929473"
	const mediaOptions = "ro,secure,sync,no_subtree_check,all_squash,anonuid=1000,anongid=65534,fsid=2409037823"

	export(media)
	wantFile(t, dir)
	export(root)
	wantFile(t, dir, root.Dir+" 10.0.0.9("+rootOptions+")")
	media.Clients = []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.10")}
	export(media)
	media.Clients = media.Clients[1:]
	export(media)
	export(media)
	wantFile(t, dir, root.Dir+" 10.0.0.9("+rootOptions+")", media.Dir+" 10.0.0.10("+mediaOptions+")")
	want := "10.0.0.9:" + root.Dir + " " + rootOptions + "\n10.0.0.10:" + media.Dir + " " + mediaOptions + "\n"
	if got := table(); got != want {
		t.Errorf("nfsd's table is\n%s; want\n%s", got, want)
	}

	// An export of a former process is known and can be removed.
	again := open(t, dir)
	if got, want := again.Exports(), s.Exports(); len(got) != 2 || got[0].Path != want[0].Path || got[1].ID != want[1].ID || !reflect.DeepEqual(got[0].Clients, want[0].Clients) {
		t.Errorf("opened again: %+v; want %+v", got, want)
	}
	for _, path := range []string{root.Path, root.Path, "/none"} {
		if err := again.Unexport(path); err != nil {
			t.Errorf("Unexport(%s) = %v", path, err)
		}
	}
	wantFile(t, dir, media.Dir+" 10.0.0.10("+mediaOptions+")")
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	wantFile(t, dir)
	if got := table(); got != "" {
		t.Errorf("nfsd's table after Close is %q; want it empty", got)
	}
}

// An error has exportfs's own words, and changes nothing.
func TestExportIsUndone(t *testing.T) {
	table := fakeExportfs(t)
	dir := t.TempDir()
	s := open(t, dir)
	good := testExport(t, 1, "10.0.0.9")
	if err := s.Export(good); err != nil {
		t.Fatal(err)
	}
	before := table()
	bad := testExport(t, 2, "10.0.0.10")
	bad.Dir = filepath.Join(bad.Dir, "bad")
	bad.Path = bad.Dir
	if err := os.Mkdir(bad.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	err := s.Export(bad)
	if err == nil || !strings.Contains(err.Error(), "exit status 1: exportfs: /srv/bad does not support NFS export") {
		t.Errorf("Export = %v; want exportfs's own words", err)
	}
	if table() != before || len(s.Exports()) > 2 {
		t.Errorf("afterwards nfsd's table is %q, exports are %v; want %q", table(), s.Exports(), before)
	}
}

// A change that exportfs makes slowly keeps nobody from reading the exports or from
// changing another one.
func TestExportsDoNotWaitForEachOther(t *testing.T) {
	fakeExportfs(t)
	dir := t.TempDir()
	s := open(t, dir)
	slow, other := testExport(t, 1, "10.0.0.9"), testExport(t, 2, "10.0.0.10")
	slow.Dir = filepath.Join(slow.Dir, "slow")
	slow.Path = slow.Dir
	fifo := filepath.Join(slow.Dir, "fifo")
	if err := errors.Join(os.Mkdir(slow.Dir, 0o755), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	exported := make(chan error, 1)
	go func() { exported <- s.Export(slow) }()
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns when exportfs has opened it
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Export(other); err != nil {
		t.Error(err)
	}
	if got := s.Exports(); len(got) != 2 {
		t.Errorf("Exports = %v; want both", got)
	}
	if other.ID = slow.ID; s.Export(other) == nil {
		t.Error("another export has the id of one that is being made; want it refused")
	}
	if _, err := gate.WriteString("\n"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(<-exported, gate.Close()); err != nil {
		t.Errorf("the slow export: %v; want it made", err)
	}
	if again := open(t, dir); len(again.Exports()) != 2 {
		t.Errorf("the file has %v; want both", again.Exports())
	}
}

func TestExportRefuses(t *testing.T) {
	fakeExportfs(t)
	s := open(t, t.TempDir())
	first := testExport(t, 1, "10.0.0.9")
	if err := s.Export(first); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*nfs.Export){
		"has no id":                                func(e *nfs.Export) { e.ID = 0 },
		"has the id 1885929472; want another":      func(e *nfs.Export) { e.ID = fsidMask },
		"has the id 1 of export " + first.Path:     func(e *nfs.Export) { e.ID = 1 },
		"exported under its own path":              func(e *nfs.Export) { e.Path = "/roots/1" },
		"nfsd shows all of a directory":            func(e *nfs.Export) { e.Only = "videos" },
		"has the client fd00::1; want IPv4":        func(e *nfs.Export) { e.Clients = []netip.Addr{netip.MustParseAddr("fd00::1")} },
		"no such file or directory":                func(e *nfs.Export) { e.Dir += "/none"; e.Path = e.Dir },
		"want a path of only a-z, A-Z, 0-9 and /.": func(e *nfs.Export) { e.Dir += "/a b"; e.Path = e.Dir },
		"by a symbolic link; nfsd wants the real path": func(e *nfs.Export) {
			link := filepath.Join(e.Dir, "link")
			if err := os.Symlink(e.Dir, link); err != nil {
				t.Fatal(err)
			}
			e.Dir, e.Path = link, link
		},
	} {
		e := testExport(t, 2, "10.0.0.10")
		change(&e)
		if err := s.Export(e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Export(%+v) = %v; want an error with %q", e, err, want)
		}
	}
	if got := s.Exports(); len(got) != 1 {
		t.Errorf("exports: %v; want the first alone", got)
	}
}

// A file that somebody has edited is not taken for pibootd's.
func TestOpenRefuses(t *testing.T) {
	const good = "/srv/a 10.0.0.9(rw,insecure,sync,no_subtree_check,no_root_squash,anonuid=65534,anongid=65534,fsid=5)"
	for _, line := range []string{
		"/srv/a", "/srv/a *(rw)", "/srv/a 10.0.0.9", "/srv/a 10.0.0.9(rw)", good + " 10.0.0.10(rw)",
		strings.Replace(good, "fsid=5", "fsid=0", 1), strings.Replace(good, "rw", "rw,crossmnt", 1),
		strings.Replace(good, "/srv/a", "/srv/../a", 1), strings.Replace(good, "10.0.0.9", "host", 1),
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(fileHeader+good+"\n"+line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("%s: line 4: %q is not by pibootd; want it moved to another file", filepath.Join(dir, fileName), line)
		if _, err := Open(dir, nil); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("Open = %v; want %s", err, want)
		}
	}
}

func FuzzParseExports(f *testing.F) {
	f.Add("/srv/a 10.0.0.9(rw,insecure,sync,no_subtree_check,no_root_squash,anonuid=65534,anongid=65534,fsid=5)\n")
	f.Add("# x\n\n/a b(ro")
	f.Fuzz(func(t *testing.T, text string) {
		exports, err := parseExports(text)
		if err != nil {
			return
		}
		again, err := parseExports(formatExports(exports))
		if err != nil || !reflect.DeepEqual(again, exports) {
			t.Errorf("parseExports(%q) = %+v, and written and read again %+v, %v", text, exports, again, err)
		}
	})
}

func TestInExports(t *testing.T) {
	var e onrpc.Encoder
	for _, s := range []string{"/a", "10.0.0.1", "", "/b", "10.0.0.2", "10.0.0.3", "", ""} {
		e.Bool(s != "")
		if s != "" {
			e.String(s)
		}
	}
	for at, want := range map[[2]string]bool{
		{"/a", "10.0.0.1"}: true, {"/b", "10.0.0.3"}: true, {"/a", "10.0.0.2"}: false, {"/c", "10.0.0.1"}: false,
	} {
		if got := inExports(e.Buf, at[0], at[1]); got != want {
			t.Errorf("inExports(%v) = %v; want %v", at, got, want)
		}
	}
	for n := range e.Buf {
		inExports(e.Buf[:n], "/c", "10.0.0.1") // ends
	}
}

func FuzzInExports(f *testing.F) {
	f.Add(binary.BigEndian.AppendUint32(nil, 1))
	f.Fuzz(func(_ *testing.T, list []byte) { inExports(list, "/a", "10.0.0.1") })
}

func TestAvailable(t *testing.T) {
	dir := t.TempDir()
	stopped, running := filepath.Join(dir, "stopped"), filepath.Join(dir, "running")
	for file, text := range map[string]string{stopped: "rc 0 0 0\nth 0 0 0.000\n", running: "rc 0 3 9\nth 8 0 0.000\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	for file, want := range map[string]string{
		filepath.Join(dir, "none"): "nfs: nfsd does not run on this machine",
		stopped:                    "nfs: nfsd is stopped: it has 0 threads",
		dir:                        "is a directory",
	} {
		if err := available(t.Context(), loopback, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("available(%s) = %v; want %q", file, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := available(ctx, netip.MustParseAddr("127.0.0.2"), running); err == nil {
		t.Error("available where there is no portmapper = nil; want an error")
	}
}

// A board's scratch is its user's by nfsd too; what nfsd cannot do at all is
// refused, and what only this server counts does not keep it from exporting.
func TestSeparatesBoards(t *testing.T) {
	table := fakeExportfs(t)
	s := open(t, t.TempDir())
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e := nfs.Export{
		ID: 1<<31 + 7, Path: dir, Dir: dir, Clients: []netip.Addr{netip.MustParseAddr("10.0.0.11")},
		Squash: nfs.AllSquash, AnonUID: 1900000007, AnonGID: 1900000007, MaxBytes: 1, MaxNames: 1, MinFree: 1,
	}
	if err := s.Export(e); err != nil {
		t.Fatal(err)
	}
	const options = "rw,insecure,sync,no_subtree_check,all_squash,anonuid=1900000007,anongid=1900000007,fsid="
	if got := table(); !strings.HasPrefix(got, "10.0.0.11:"+dir+" "+options) || strings.Count(got, "\n") != 1 {
		t.Errorf("exportfs has %q; want one line with %s", got, options)
	}
	e.Only = "videos"
	if err := s.Export(e); err == nil || !strings.Contains(err.Error(), "nfsd shows all of a directory") {
		t.Errorf("Export of one entry = %v; want it refused", err)
	}
}

func TestRevokeIsRefused(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := new(Server).Revoke(f); !errors.Is(err, ErrCannotRevoke) {
		t.Errorf("Revoke by nfsd = %v; want %v", err, ErrCannotRevoke)
	}
}
