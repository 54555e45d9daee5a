package fleet

import (
	"context"
	"math"
	"net/netip"
	"path/filepath"
	"slices"

	"pibootd/pkg/nfs"
	"pibootd/pkg/transcode"
)

// MuxerExport is what muxers of the older pool mount. It shows them one directory
// of the media share.
const MuxerExport = "/muxer"

const (
	muxerExportID = math.MaxUint32 - 1
	// muxerMinFree is what muxers leave free of the media share's file system.
	muxerMinFree = 512 << 20
)

// MuxerPath returns the path that muxers mount. With nfsd, which cannot show one
// entry of a directory, that is transcode.MuxerDir itself and not what it is in.
func (f *Fleet) MuxerPath() string { return f.NFS.MountPath(MuxerExport, f.muxerDir()) }

func (f *Fleet) muxerDir() string { return filepath.Join(f.MediaDir, transcode.MuxerDir) }

// muxerExport is what muxers get: they read transcode.MuxerDir, and change nothing in it
// but their streams. Originals and other streams are never theirs.
func (f *Fleet) muxerExport() nfs.Export {
	e := nfs.Export{
		ID: muxerExportID, Path: f.MuxerPath(), Dir: f.muxerDir(), Clients: slices.Clone(f.Muxers),
		Squash: nfs.AllSquash, AnonUID: transcode.MuxerUID, AnonGID: transcode.MuxerUID,
		PrivilegedPort: f.PrivilegedPort, MinFree: muxerMinFree, StreamDirs: true,
	}
	if e.Path == MuxerExport {
		e.Dir, e.Only = f.MediaDir, transcode.MuxerDir
	}
	return e
}

// exportMuxers opens the media share's videos to muxers, if there are any. What
// keeps it from that keeps no board from booting.
func (f *Fleet) exportMuxers() {
	if len(f.Muxers) == 0 {
		return
	}
	if err := f.NFS.Export(f.muxerExport()); err != nil {
		f.Log.Error("videos not exported to muxers", "component", "fleet", "err", err)
	}
}

// ProveMuxer mounts the muxers' export as a muxer at that address does, and
// returns what it was seen to do.
func (f *Fleet) ProveMuxer(ctx context.Context, muxer netip.Addr) (nfs.ProbeReport, error) {
	return f.NFS.Probe(ctx, muxer, f.Network.Addr(), f.MuxerPath(), nfs.ProbeFile{})
}
