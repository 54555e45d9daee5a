package daemon

import (
	"context"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/config"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/muxer"
	"pibootd/pkg/transcode/tidy"
	"pibootd/pkg/transcode/watchfolder"
	"pibootd/pkg/transcode/webhook"
	"pibootd/pkg/web"
)

// startIntegrations sets up the other ways into the queue that the configuration asks for.
func (d *daemon) startIntegrations() {
	d.tidier = &tidy.Tidier{Store: d.state.store, MediaDir: d.cfg.MediaDir(), After: d.cfg.Media.TidyAfter, Log: d.log}
	d.web.UploadToken, d.web.MaxUpload = d.uploadToken, int64(d.cfg.HTTP.UploadMaxGB)*1_000_000_000
	lender := &web.Lender{Queue: d.queue, MediaDir: d.cfg.MediaDir(), QueueURL: d.fleet.QueueURL, Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log}
	d.web.Lender = lender.Routes()
	if len(d.cfg.HTTP.Muxers) > 0 {
		h := &muxer.Handler{Queue: d.queue, MediaDir: d.cfg.MediaDir(), Allowed: d.cfg.HTTP.Muxers, Log: d.log}
		if d.nfs != nil {
			h.Revoke = d.nfs.Revoke
		}
		d.web.Muxers = h.Routes()
	}
}

// runIntegrations runs the webhooks, the removal of originals and the watch folder.
func (d *daemon) runIntegrations(ctx context.Context, g *errgroup.Group) {
	hooks := &webhook.Sender{Store: d.state.store, URL: d.cfg.Webhook.URL, Secret: d.hookSecret, Log: d.log}
	g.Go(func() error { return hooks.Run(ctx) })
	g.Go(func() error { return d.tidier.Run(ctx) })
	if dir := d.cfg.Media.Inbox; dir != "" {
		folder := &watchfolder.Folder{
			Store: d.state.store, Queue: d.queue, MediaDir: d.cfg.MediaDir(), Dir: dir, Output: outputs[d.cfg.Media.InboxMakes], Log: d.log,
		}
		g.Go(func() error { return folder.Run(ctx) })
	}
}

// outputs are the outputs that media.inbox_makes names.
var outputs = map[config.Makes]transcode.Output{
	config.MakesHLS:    {},
	config.MakesCMAF:   {Container: transcode.ContainerCMAF},
	config.MakesAuthor: {Ladder: transcode.PresetAuthor},
	config.MakesMP4:    {Format: transcode.FormatMP4},
	config.MakesMKV:    {Format: transcode.FormatMKV},
}
