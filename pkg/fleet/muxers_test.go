package fleet

import (
	"net/netip"
	"testing"

	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/nfsd"
	"pibootd/pkg/transcode"
)

// nfsd exports a directory under its own path and cannot show one entry of it:
// with it muxers get the videos themselves, and never the media share.
func TestMuxerExport(t *testing.T) {
	kernel, err := nfsd.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		server          Exporter
		path, dir, only string
	}{
		"embedded": {&nfs.Server{}, "/muxer", "/srv/media", "videos"},
		"nfsd":     {kernel, "/srv/media/videos", "/srv/media/videos", ""},
	} {
		f := New(Fleet{NFS: test.server, MediaDir: "/srv/media", Muxers: []netip.Addr{netip.MustParseAddr("10.9.0.5")}})
		e := f.muxerExport()
		if e.Path != test.path || e.Dir != test.dir || e.Only != test.only || len(e.Clients) != 1 {
			t.Errorf("%s: %+v; want %s at %s, showing %q", name, e, test.dir, test.path, test.only)
		}
		if e.Squash != nfs.AllSquash || e.AnonUID != transcode.MuxerUID || e.AnonGID != transcode.MuxerUID || !e.StreamDirs {
			t.Errorf("%s: %+v; want all squashed to the muxers' user, and streams alone to be changed", name, e)
		}
	}
}
