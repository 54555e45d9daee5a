package daemon

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/config"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/muxer"
	"pibootd/pkg/transcode/tidy"
	"pibootd/pkg/transcode/trash"
	"pibootd/pkg/transcode/watchfolder"
	"pibootd/pkg/transcode/webhook"
	"pibootd/pkg/web"
)

func (d *daemon) shareProxy() *web.ShareProxy {
	return &web.ShareProxy{Queue: d.queue, MediaDir: d.cfg.MediaDir(), QueueURL: d.fleet.QueueURL, Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log}
}

// muxers answers the muxers that the configuration names; nil if it names none.
func (d *daemon) muxers() http.Handler {
	if len(d.cfg.HTTP.Muxers) == 0 {
		return nil
	}
	h := &muxer.Handler{Queue: d.queue, MediaDir: d.cfg.MediaDir(), Allowed: d.cfg.HTTP.Muxers, Revoke: d.revoke(), Log: d.log}
	return h.Routes()
}

// startIntegrations makes the watch folder, the sender of webhooks and the tidier of
// originals.
func (d *daemon) startIntegrations() {
	d.hooks = &webhook.Sender{Store: d.state.store, URL: d.cfg.Webhook.URL, Secret: d.secrets.webhook, Log: d.log}
	d.tidier = &tidy.Tidier{Store: d.state.store, MediaDir: d.cfg.MediaDir(), After: d.cfg.Media.TidyAfter, Log: d.log}
	d.trash = &trash.Trash{MediaDir: d.cfg.MediaDir(), Keep: d.cfg.Media.TrashKeep, Log: d.log}
	if dir := d.cfg.Media.Inbox; dir != "" {
		d.watchFolder = &watchfolder.Folder{
			Store: d.state.store, Queue: d.queue, MediaDir: d.cfg.MediaDir(), Dir: dir, Output: outputs[d.cfg.Media.InboxMakes], Log: d.log,
		}
	}
}

func (d *daemon) runIntegrations(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return d.hooks.Run(ctx) })
	g.Go(func() error { return d.tidier.Run(ctx) })
	g.Go(func() error { return d.trash.Run(ctx) })
	if d.watchFolder != nil {
		g.Go(func() error { return d.watchFolder.Run(ctx) })
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
