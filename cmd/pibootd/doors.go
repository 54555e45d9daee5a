package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/config"
	"pibootd/pkg/watchfolder"
	"pibootd/pkg/muxer"
	"pibootd/pkg/transcode"
)

// openDoors opens the other ways into the queue that the configuration asks for.
func (d *daemon) openDoors() {
	if len(d.cfg.HTTP.Muxers) > 0 {
		h := &muxer.Handler{Queue: d.queue, MediaDir: d.cfg.MediaDir(), Allowed: d.cfg.HTTP.Muxers, Log: d.log}
		d.web.Muxers = h.Routes()
	}
}

// runDoors runs what looks for work by itself.
func (d *daemon) runDoors(ctx context.Context, g *errgroup.Group) {
	if dir := d.cfg.Media.Inbox; dir != "" {
		folder := &watchfolder.Folder{
			Store: d.state.store, Queue: d.queue, MediaDir: d.cfg.MediaDir(), Dir: dir, Output: outputs[d.cfg.Media.InboxMakes], Log: d.log,
		}
		g.Go(func() error { return folder.Run(ctx) })
	}
}

// outputs are what the configuration's words ask for.
var outputs = map[config.Makes]transcode.Output{
	config.MakesHLS:    {},
	config.MakesCMAF:   {Container: transcode.ContainerCMAF},
	config.MakesAuthor: {Ladder: transcode.PresetAuthor},
	config.MakesMP4:    {Format: transcode.FormatMP4},
	config.MakesMKV:    {Format: transcode.FormatMKV},
}
