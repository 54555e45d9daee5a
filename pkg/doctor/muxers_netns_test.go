//go:build netns

package doctor

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/config"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// wantMuxers checks that there is a finding about muxers with this level and text.
// If the level is ok, there must be no worse finding.
func wantMuxers(t *testing.T, d *Doctor, level Level, text string) {
	t.Helper()
	found, err := d.Examine(t.Context(), nil)
	must(t, err)
	seen := false
	for _, f := range found {
		if f.Subject != "muxers" {
			continue
		}
		seen = seen || f.Level == level && strings.Contains(f.Text, text)
		if level == OK && f.Level != OK {
			t.Errorf("%+v; want nothing to be wrong with muxers", f)
		}
		if f.Level != OK && f.Todo == "" {
			t.Errorf("%+v says not what to do", f)
		}
	}
	if !seen {
		t.Errorf("findings = %+v; want %s of muxers with %q", found, level, text)
	}
}

// Doctor reports each problem that prevents a legacy muxer from working.
func TestMuxers(t *testing.T) {
	d, board := newDoctor(t)
	stranger := netip.MustParseAddr("10.9.0.5")
	if found := d.muxers(t.Context()); len(found) != 0 {
		t.Errorf("without muxers: %+v; want nothing", found)
	}
	d.Fleet.Muxers = []netip.Addr{stranger, board.IP}
	wantMuxers(t, d, Problem, "10.9.0.5 may not mount /muxer: no such export")
	must(t, d.Fleet.Start())
	videos := filepath.Join(d.MediaDir, transcode.MuxerDir)
	wantMuxers(t, d, Problem, "there is no "+videos)
	must(t, os.Symlink("elsewhere", videos))
	wantMuxers(t, d, Problem, "want a directory")
	must(t, os.Remove(videos))
	must(t, os.MkdirAll(filepath.Join(videos, "films"), 0o755))
	wantMuxers(t, d, OK, "/muxer mounted by 10.9.0.5")
	wantMuxers(t, d, OK, "for the muxer hlspi1 (10.9.0.192): /muxer mounted by 10.9.0.192")

	must(t, os.Chmod(filepath.Join(videos, "films"), 0o750))
	wantMuxers(t, d, Problem, "films: muxers come as user 1899999999, who may not read it")
	must(t, os.Chmod(filepath.Join(videos, "films"), 0o755))

	d.NFS = config.Kernel // to check modes only, because another server has the export
	wantMuxers(t, d, Problem, videos+" and 1 more: nfsd lets muxers make their streams where")
	for _, dir := range []string{videos, filepath.Join(videos, "films")} {
		must(t, os.Chown(dir, -1, transcode.MuxerUID))
		must(t, os.Chmod(dir, 0o775))
	}
	wantMuxers(t, d, Warning, "muxers can remove and replace the videos in it")
	for _, dir := range []string{videos, filepath.Join(videos, "films")} {
		must(t, os.Chmod(dir, os.ModeSticky|0o775))
	}
	wantMuxers(t, d, OK, "/muxer mounted by")
	d.NFS = config.Embedded

	troubles := []queue.LegacyTrouble{{Worker: "muxer-1-10-9-0-192", Failures: 1, Job: 7, Reason: "FFmpegErr", At: time.Now()}}
	d.MuxerTroubles = func(context.Context) ([]queue.LegacyTrouble, error) { return troubles, nil }
	wantMuxers(t, d, OK, "/muxer mounted by")
	troubles[0].Failures = 5
	wantMuxers(t, d, Problem, "muxer-1-10-9-0-192 has begun 5 jobs and ended none")

	d.Fleet.Muxers = []netip.Addr{stranger}
	must(t, d.Fleet.Start())
	d.Fleet.Muxers = []netip.Addr{stranger, board.IP}
	wantMuxers(t, d, Problem, "10.9.0.192 may not mount /muxer: the address is not one of the export's clients")
	far, here := netip.MustParseAddr("192.168.7.5"), d.Fleet.Network.Addr()
	d.Fleet.Muxers = []netip.Addr{far, here}
	wantMuxers(t, d, Problem, "192.168.7.5 may not mount /muxer: it is not exported to that address")
	must(t, d.Fleet.Start())
	d.MuxerTroubles = nil
	wantMuxers(t, d, OK, "/muxer open to 192.168.7.5; a mount from there was not tried")
	wantMuxers(t, d, OK, "the muxer 10.9.0.1 is this machine")
	d.Fleet.Muxers = nil
	must(t, d.Fleet.Start())
	for _, e := range d.Fleet.NFS.Exports() {
		if e.Path == "/muxer" {
			t.Error("/muxer is exported though there are no muxers any more")
		}
	}
}
