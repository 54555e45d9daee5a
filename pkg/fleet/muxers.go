package fleet

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"

	"pibootd/pkg/nfs"
	"pibootd/pkg/nfs/probe"
	"pibootd/pkg/transcode"
)

// MuxerExport is the path that muxers of the older pool mount. It shows them one
// directory of the media share.
const MuxerExport = "/muxer"

const muxerExportID = math.MaxUint32 - 1

// MuxerPath returns the path that muxers mount. With nfsd, which cannot show a single
// entry of a directory, it is that of transcode.MuxerDir, not of its parent.
func (f *Fleet) MuxerPath() string { return f.NFS.MountPath(MuxerExport, f.muxerDir()) }

func (f *Fleet) muxerDir() string { return filepath.Join(f.MediaDir, transcode.MuxerDir) }

// muxerExport lets muxers read transcode.MuxerDir and change only their own streams
// in it. They can change no originals and no other streams.
func (f *Fleet) muxerExport() nfs.Export {
	e := nfs.Export{
		ID: muxerExportID, Path: f.MuxerPath(), Dir: f.muxerDir(), Clients: slices.Clone(f.Muxers),
		Squash: nfs.AllSquash, AnonUID: transcode.MuxerUID, AnonGID: transcode.MuxerUID,
		PrivilegedPort: f.PrivilegedPort, MinFree: boardsFloor(f.MediaDir), StreamDirs: true,
	}
	if e.Path == MuxerExport {
		e.Dir, e.Only = f.MediaDir, transcode.MuxerDir
	}
	return e
}

// exportMuxers exports the media share's videos to muxers, if there are any. An error
// is only logged, so that it keeps no board from booting.
func (f *Fleet) exportMuxers() {
	if len(f.Muxers) == 0 {
		return
	}
	if err := f.NFS.Export(f.muxerExport()); err != nil {
		f.Log.Error("videos not exported to muxers", "component", "fleet", "err", err)
	}
}

// ProveMuxer tries the muxers' export for a muxer's address, and describes what
// worked. It mounts the export as that muxer does, if the muxer is in this machine's
// network.
func (f *Fleet) ProveMuxer(ctx context.Context, muxer netip.Addr) (string, error) {
	at := f.MuxerPath()
	switch {
	case muxer.IsLoopback() || muxer == f.Network.Addr():
		return fmt.Sprintf("the muxer %s is this machine, which need not mount %s", muxer, at), nil
	case f.Network.Contains(muxer):
		report, err := f.NFS.Probe(ctx, muxer, f.Network.Addr(), at, probe.File{})
		return fmt.Sprintf("%s mounted by %s", at, report.From), err
	}
	for _, e := range f.NFS.Exports() {
		if e.Path == at && slices.Contains(e.Clients, muxer) {
			return fmt.Sprintf("%s open to %s; a mount from there was not tried, it is in another network", at, muxer), nil
		}
	}
	return "", fmt.Errorf("%s may not mount %s: it is not exported to that address", muxer, at)
}
