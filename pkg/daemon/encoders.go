package daemon

import (
	"context"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/transcode/rtmp"
)

// liveKeys returns the directory with the keys of live streams; "" if no encoder can send
// one.
func (d *daemon) liveKeys() string {
	if d.cfg.Live.RTMPPort == 0 {
		return ""
	}
	return filepath.Join(d.cfg.StateDir, "keys", "live")
}

// receiveEncoders receives the live streams that encoders send.
func (d *daemon) receiveEncoders(ctx context.Context, g *errgroup.Group) {
	if d.socks.rtmp == nil {
		return
	}
	server := &rtmp.Server{Log: d.log, Publish: func(key string, from netip.AddrPort) (rtmp.Publication, error) { return d.queue.Publish(key, from) }}
	g.Go(func() error { return server.Serve(ctx, d.socks.rtmp) })
}
