//go:build netns

package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	nfsclient "github.com/vmware/go-nfs-client/nfs"
	"github.com/vmware/go-nfs-client/nfs/rpc"
	"github.com/vmware/go-nfs-client/nfs/xdr"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/nfs"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/muxer"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/queue/queuetest"
)

// A muxerLab is a network with all that muxers of the older pool speak to.
type muxerLab struct {
	t     *testing.T
	net   *netlab.Namespace
	fleet *Fleet
	queue *queuetest.Queue
	media string
}

var (
	firstMuxer, secondMuxer = netip.MustParseAddr("10.9.0.5"), netip.MustParseAddr("10.9.0.6")
	noMuxer                 = netip.MustParseAddr("10.9.0.7")
)

func newMuxerLab(t *testing.T) *muxerLab {
	t.Helper()
	l := &muxerLab{t: t, fleet: openFleet(t, t.TempDir())}
	l.net = netlabtest.NewBridge(t, l.fleet.Network.String())
	server := l.fleet.NFS.(*nfs.Server)
	l.queue = queuetest.Open(t, t.TempDir(), func(o *queue.Options) { o.Revoke = server.Revoke })
	l.media = l.queue.MediaDir
	l.fleet.MediaDir, l.fleet.Muxers = l.media, []netip.Addr{firstMuxer, secondMuxer}
	l.put("videos/film.mp4", 0o644)
	if err := l.fleet.Start(); err != nil {
		t.Fatal(err)
	}
	handler := &muxer.Handler{
		Queue: l.queue.Queue, MediaDir: l.media, Allowed: l.fleet.Muxers, Revoke: server.Revoke, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	l.serve(server, handler.Routes())
	return l
}

// serve serves NFS and HTTP until the test ends.
func (l *muxerLab) serve(server *nfs.Server, routes http.Handler) {
	l.t.Helper()
	var on nfs.Listeners
	var web net.Listener
	err := l.net.Do(func() (err error) {
		for port, to := range map[int]*net.Listener{111: &on.Portmap, 2049: &on.NFS, 8080: &web} {
			if *to, err = net.Listen("tcp4", fmt.Sprintf("10.9.0.1:%d", port)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	doors := &http.Server{Handler: routes, ReadHeaderTimeout: time.Minute}
	go func() { ended <- server.Serve(ctx, on) }()
	go func() { ended <- doors.Serve(web) }()
	l.t.Cleanup(func() {
		cancel()
		err := doors.Close()
		for range 2 {
			if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
				err = errors.Join(err, end)
			}
		}
		if err != nil {
			l.t.Error(err)
		}
	})
}

// put makes a file of the media share, with its name in it.
func (l *muxerLab) put(name string, mode fs.FileMode) {
	l.t.Helper()
	file := filepath.Join(l.media, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), mode), os.Chmod(file, mode))
	if err != nil {
		l.t.Fatal(err)
	}
}

// submit hands in a video for muxers.
func (l *muxerLab) submit(source string) int64 {
	l.t.Helper()
	job, _, err := l.queue.Submit(l.t.Context(), transcode.Request{Source: source, Output: transcode.Output{Ladder: transcode.PresetAuthor}})
	if err != nil {
		l.t.Fatal(err)
	}
	return job.ID
}

// A muxerHost is a machine that muxes.
type muxerHost struct {
	t      *testing.T
	net    *netlab.Namespace
	id     int
	auth   rpc.Auth
	target *nfsclient.Target
}

// host makes a machine at an address, which has not mounted anything.
func (l *muxerLab) host(id int, addr netip.Addr) *muxerHost {
	l.t.Helper()
	machine := netlabtest.Host{Port: fmt.Sprint("muxer", id), Addr: addr.String() + "/24"}.Join(l.t, l.net)
	return &muxerHost{t: l.t, net: machine, id: id, auth: rpc.NewAuthUnix("muxer", 0, 0).Auth()}
}

// mounts mounts an export.
func (m *muxerHost) mounts(export string) error {
	return m.net.Do(func() error {
		mount, err := nfsclient.DialMount("10.9.0.1")
		if err != nil {
			return err
		}
		defer mount.Close()
		m.target, err = mount.Mount(export, m.auth)
		return err
	})
}

// post says something to the backend.
func (m *muxerHost) post(path string, form url.Values) (status int, answer map[string]any) {
	m.t.Helper()
	var dialer net.Dialer
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = m.net.Do(func() error { conn, err = dialer.DialContext(ctx, network, addr); return err })
		return conn, err
	}}}
	r, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, "http://10.9.0.1:8080"+path, strings.NewReader(form.Encode()))
	if err != nil {
		m.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Host = "videobackend"
	response, err := client.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		m.t.Fatal(err)
	}
	return response.StatusCode, answer
}

// next polls for a job and says that it has begun.
func (m *muxerHost) next() (job int64, video string) {
	m.t.Helper()
	_, answer := m.post(fmt.Sprintf("/muxer/%d", m.id), nil)
	if answer["status"] != "job" {
		m.t.Fatalf("muxer %d polled for a job: %v", m.id, answer)
	}
	work := answer["job"].(map[string]any)
	job = int64(work["id"].(float64))
	if status, answer := m.post(fmt.Sprintf("/muxer/inprocess/%d/%d", m.id, job), nil); status != 200 {
		m.t.Fatalf("inprocess: %d %v", status, answer)
	}
	return job, "videos/" + work["path"].(string)
}

// muxes does what get_jobs.py does of a video, up to its last word.
func (m *muxerHost) muxes(video string) error {
	dir := video + ".hls"
	if _, _, err := m.target.Lookup(dir); err == nil {
		return errors.New("DirectoryExists")
	}
	if info, _, err := m.target.Lookup(video); err != nil || info.(*nfsclient.Fattr).Type != nfsclient.NF3Reg {
		return errors.New("MissingFile")
	}
	file, err := m.target.Open(video)
	if err != nil {
		return err
	}
	if text, err := io.ReadAll(file); err != nil || string(text) != video {
		return fmt.Errorf("%s holds %q, %w", video, text, err)
	}
	if _, err := m.target.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("mkdir %s: %w", dir, err)
	}
	segment := "G" + strings.Repeat("x", 187)
	for name, text := range map[string]string{
		"manifest_master.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:PROGRAM-ID=1,BANDWIDTH=200000\nmanifest_200.m3u8\n",
		"manifest_200.m3u8":    "#EXTM3U\n#EXTINF:5,\nmedia_200_00000.ts\n#EXTINF:5,\nmedia_200_00001.ts\n#EXT-X-ENDLIST\n",
		"media_200_00000.ts":   segment, "media_200_00001.ts": segment, "leftover.tmp": "x",
	} {
		if err := m.write(dir+"/"+name, text); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return m.target.Remove(dir + "/leftover.tmp")
}

func (m *muxerHost) write(name, text string) error {
	file, err := m.target.OpenFile(name, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(text))
	return errors.Join(err, file.Close())
}

// Arguments of calls that the library does not make.
type (
	setattrArgs struct {
		FH    []byte
		Attr  nfsclient.Sattr3
		Guard bool
	}
	writeArgs struct {
		FH            []byte
		Offset        uint64
		Count, Stable uint32
		Data          []byte
	}
	createArgs struct {
		Where nfsclient.Diropargs3
		How   uint32
		Attr  nfsclient.Sattr3
	}
	mkdirArgs struct {
		Where nfsclient.Diropargs3
		Attr  nfsclient.Sattr3
	}
	symlinkArgs struct {
		Where  nfsclient.Diropargs3
		Attr   nfsclient.Sattr3
		Target string
	}
	mknodArgs struct {
		Where nfsclient.Diropargs3
		Type  uint32
		Attr  nfsclient.Sattr3
	}
	renameArgs struct{ From, To nfsclient.Diropargs3 }
	linkArgs   struct {
		FH    []byte
		Where nfsclient.Diropargs3
	}
)

// call makes a call of NFS and returns its status; 0 is NFS3_OK.
func call[T any](m *muxerHost, proc uint32, args T) uint32 {
	m.t.Helper()
	res, err := m.target.Call(&struct {
		rpc.Header
		Args T
	}{rpc.Header{Rpcvers: 2, Prog: nfsclient.Nfs3Prog, Vers: nfsclient.Nfs3Vers, Proc: proc, Cred: m.auth, Verf: rpc.AuthNull}, args})
	if err != nil {
		m.t.Fatalf("procedure %d: %v", proc, err)
	}
	status, err := xdr.ReadUint32(res)
	if err != nil {
		m.t.Fatalf("procedure %d: %v", proc, err)
	}
	return status
}

// handle looks a path up.
func (m *muxerHost) handle(name string) []byte {
	m.t.Helper()
	_, fh, err := m.target.Lookup(name)
	if err != nil {
		m.t.Fatalf("looking %s up: %v", name, err)
	}
	return fh
}

// at is an entry of a directory.
func (m *muxerHost) at(name string) nfsclient.Diropargs3 {
	m.t.Helper()
	return nfsclient.Diropargs3{FH: m.handle(path.Dir(name)), Filename: path.Base(name)}
}

// snapshot returns all that a muxer could change of a tree, except one directory.
func snapshot(t *testing.T, dir, but string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == but {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d inode %d", info.Mode(), st.Uid, st.Gid, st.Ino)
		if !info.IsDir() {
			text += fmt.Sprintf(" links %d, %v", st.Nlink, info.ModTime())
		}
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(content))
		}
		all[name] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func sameTree(t *testing.T, before, after map[string]string) {
	t.Helper()
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s was\n%s\nand is\n%s", name, text, after[name])
		}
	}
	for name, text := range after {
		if before[name] == "" {
			t.Errorf("%s is new: %s", name, text)
		}
	}
}

// A muxer of the older pool does its work by the export that it is given, and
// what it has made is no muxer's afterwards, not even by a handle that it kept.
func TestMuxerWorks(t *testing.T) {
	l := newMuxerLab(t)
	l.put("videos/a b/clip.mkv", 0o644)
	canary := snapshot(t, l.media, "")
	m := l.host(1, firstMuxer)
	if err := m.mounts(MuxerExport); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"videos/film.mp4", "videos/a b/clip.mkv"} {
		id := l.submit(source)
		job, video := m.next()
		if job != id || video != source {
			t.Fatalf("it was given job %d of %s; want %d of %s", job, video, id, source)
		}
		if err := m.muxes(video); err != nil {
			t.Fatal(err)
		}
		segment := m.handle(video + ".hls/media_200_00000.ts")
		if status, answer := m.post(fmt.Sprintf("/muxer/complete/1/%d", job), nil); status != 200 {
			t.Fatalf("complete: %d %v", status, answer)
		}
		if _, answer := m.post("/tidy/1", nil); answer["status"] != "empty" {
			t.Errorf("it is to tidy %v; want nothing", answer)
		}
		done, err := l.queue.Job(t.Context(), job)
		if err != nil || done.State != queue.Done || done.Output != source+".hls/manifest_master.m3u8" {
			t.Errorf("job = %+v, %v; want it done", done, err)
		}
		stream := filepath.Join(l.media, source+".hls")
		made := snapshot(t, stream, "")
		for name, text := range made {
			if strings.Contains(text, fmt.Sprint(transcode.MuxerUID)) {
				t.Errorf("%s is a muxer's still: %s", name, text)
			}
		}
		for what, status := range map[string]uint32{
			"WRITE by a handle from before":   call(m, 7, writeArgs{segment, 0, 4, 2, []byte("evil")}),
			"SETATTR by a handle from before": call(m, 2, setattrArgs{FH: segment, Attr: nfsclient.Sattr3{Mode: nfsclient.SetMode{SetIt: true, Mode: 0o666}}}),
			"REMOVE":                          call(m, 12, m.at(source+".hls/media_200_00000.ts")),
			"CREATE":                          call(m, 8, createArgs{Where: m.at(source + ".hls/new.ts")}),
		} {
			if status == 0 {
				t.Errorf("%s of what was published is OK; want it refused", what)
			}
		}
		sameTree(t, made, snapshot(t, stream, ""))
		if err := os.RemoveAll(stream); err != nil {
			t.Fatal(err)
		}
	}
	sameTree(t, canary, snapshot(t, l.media, ""))
}

// A muxer that is hostile, root on its machine and in possession of every handle
// that it may have, changes nothing but what it has made below its stream.
func TestHostileMuxer(t *testing.T) {
	l := newMuxerLab(t)
	for name, mode := range map[string]fs.FileMode{
		"videos/own.mp4": 0o644, "videos/open.mp4": 0o666, "videos/done.mp4": 0o644, "videos/dir/clip.mkv": 0o644, "hls/a/master.m3u8": 0o644,
		"videos/done.mp4.hls/manifest.m3u8": 0o644, "videos/done.mp4.hls/open.ts": 0o666, ".work/9/c.1/00000.ts": 0o644, "originals/o.mp4": 0o644, "top.mp4": 0o644,
	} {
		l.put(name, mode)
	}
	for _, dir := range []string{"videos/dir", "videos/done.mp4.hls", ""} {
		if err := os.Chmod(filepath.Join(l.media, dir), 0o777); err != nil { // as on many a NAS
			t.Fatal(err)
		}
	}
	if err := os.Symlink("own.mp4", filepath.Join(l.media, "videos/link.mp4")); err != nil {
		t.Fatal(err)
	}
	l.submit("videos/own.mp4")
	m := l.host(2, secondMuxer)
	if err := m.mounts(MuxerExport); err != nil {
		t.Fatal(err)
	}
	job, video := m.next()
	own := video + ".hls"
	canary := snapshot(t, l.media, filepath.Join(l.media, own))
	if err := m.muxes(video); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{".work", ".scratch", ".uploads", "originals", "hls", "top.mp4", "videos/../.work", "videos/../hls"} {
		if _, _, err := m.target.Lookup(hidden); err == nil {
			t.Errorf("a muxer sees %s", hidden)
		}
	}
	evil, mode := []byte("evil"), nfsclient.Sattr3{Mode: nfsclient.SetMode{SetIt: true, Mode: 0o777}}
	empty := nfsclient.Sattr3{Size: nfsclient.SetSize{SetIt: true}}
	owner := nfsclient.Sattr3{UID: nfsclient.SetUID{SetIt: true, UID: transcode.MuxerUID}}
	past := nfsclient.Sattr3{Mtime: nfsclient.SetTime{SetIt: nfsclient.SetToClientTime}}
	refused := map[string]uint32{}
	for _, victim := range []string{"videos/film.mp4", "videos/open.mp4", "videos/dir/clip.mkv", "videos/done.mp4.hls/manifest.m3u8", "videos/done.mp4.hls/open.ts"} {
		fh := m.handle(victim)
		refused["WRITE to "+victim] = call(m, 7, writeArgs{fh, 0, 4, 2, evil})
		refused["truncate "+victim] = call(m, 2, setattrArgs{FH: fh, Attr: empty})
		refused["chmod "+victim] = call(m, 2, setattrArgs{FH: fh, Attr: mode})
		refused["chown "+victim] = call(m, 2, setattrArgs{FH: fh, Attr: owner})
		refused["touch "+victim] = call(m, 2, setattrArgs{FH: fh, Attr: past})
		refused["CREATE over "+victim] = call(m, 8, createArgs{Where: m.at(victim), Attr: empty})
		refused["REMOVE "+victim] = call(m, 12, m.at(victim))
		refused["RENAME into its stream "+victim] = call(m, 14, renameArgs{m.at(victim), m.at(own + "/x.ts")})
		refused["RENAME over "+victim] = call(m, 14, renameArgs{m.at(own + "/media_200_00000.ts"), m.at(victim)})
		refused["LINK "+victim] = call(m, 15, linkArgs{fh, m.at(own + "/y.ts")})
	}
	for _, name := range []string{
		"videos/none.mp4.hls", "videos/.hls", "videos/new", "videos/dir.hls", "videos/link.mp4.hls", "videos/dir/none.hls", "top.mp4.hls", "new",
		"videos/done.mp4.hls/manifest.m3u8.hls",
	} {
		refused["MKDIR "+name] = call(m, 9, mkdirArgs{Where: m.at(name)})
	}
	for _, name := range []string{"videos/x", "videos/dir/x", "videos/film.mp4.hls", "videos/done.mp4.hls/x", "x", own + "/x"} {
		if path.Dir(name) == own {
			refused["SYMLINK "+name] = call(m, 10, symlinkArgs{Where: m.at(name), Target: "../../hls/a/master.m3u8"})
			refused["MKNOD "+name] = call(m, 11, mknodArgs{Where: m.at(name), Type: nfsclient.NF3FIFO})
			continue
		}
		refused["CREATE "+name] = call(m, 8, createArgs{Where: m.at(name), Attr: mode})
		refused["SYMLINK "+name] = call(m, 10, symlinkArgs{Where: m.at(name), Target: "../hls/a"})
		refused["MKNOD "+name] = call(m, 11, mknodArgs{Where: m.at(name), Type: nfsclient.NF3FIFO})
		refused["RENAME of its stream to "+name] = call(m, 14, renameArgs{m.at(own), m.at(name)})
		refused["RENAME of a segment to "+name] = call(m, 14, renameArgs{m.at(own + "/media_200_00000.ts"), m.at(name)})
		refused["LINK of a segment to "+name] = call(m, 15, linkArgs{m.handle(own + "/media_200_00000.ts"), m.at(name)})
	}
	for _, dir := range []string{"videos", "videos/dir", "videos/done.mp4.hls"} {
		refused["RMDIR "+dir] = call(m, 13, m.at(dir))
		refused["RENAME "+dir] = call(m, 14, renameArgs{m.at(dir), m.at(own + "/z")})
		refused["chmod "+dir] = call(m, 2, setattrArgs{FH: m.handle(dir), Attr: mode})
	}
	for what, status := range refused {
		if status == 0 {
			t.Errorf("%s is OK; want it refused", what)
		}
	}
	sameTree(t, canary, snapshot(t, l.media, filepath.Join(l.media, own)))

	// Below its stream it makes files and directories. No stream has the latter,
	// so its job fails.
	for what, status := range map[string]uint32{
		"MKDIR": call(m, 9, mkdirArgs{Where: m.at(own + "/more")}),
		"chmod": call(m, 2, setattrArgs{FH: m.handle(own), Attr: mode}),
	} {
		if status != 0 {
			t.Errorf("%s in its own stream: status %d; want it allowed", what, status)
		}
	}
	if status, answer := m.post(fmt.Sprintf("/muxer/complete/2/%d", job), nil); status != 422 || !strings.Contains(fmt.Sprint(answer["error"]), "want files alone") {
		t.Errorf("complete: %d %v; want it refused for what is in the stream", status, answer)
	}
	if _, err := os.Lstat(filepath.Join(l.media, own)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stream that was refused: %v; want it gone", err)
	}
	sameTree(t, canary, snapshot(t, l.media, ""))
	if stranger := l.host(3, noMuxer); stranger.mounts(MuxerExport) == nil {
		t.Error("an address that is no muxer's mounts the muxers' export")
	}
}

// A muxer that cannot write, as one that has mounted the wrong share, breaks off
// and polls again: its job says so, and by whom.
func TestMuxerThatCannotWrite(t *testing.T) {
	l := newMuxerLab(t)
	id := l.submit("videos/film.mp4")
	m := l.host(1, firstMuxer)
	for range 5 {
		m.next()
	}
	if _, answer := m.post("/muxer/1", nil); answer["status"] != "empty" {
		t.Errorf("a sixth poll: %v; want nothing", answer)
	}
	job, err := l.queue.Job(t.Context(), id)
	const want = "the whole video was tried 5 times, the last time by muxer-1-10-9-0-5: its muxer asked for work again before"
	if err != nil || job.State != queue.Failed || !strings.HasPrefix(job.Reason, want) || !strings.Contains(job.Reason, "had not made film.mp4.hls") {
		t.Errorf("job = %+v, %v; want it failed: %s", job, err, want)
	}
}
