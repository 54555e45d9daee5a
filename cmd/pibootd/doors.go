package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"pibootd/pkg/config"
	"pibootd/pkg/muxer"
	"pibootd/pkg/tidy"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/watchfolder"
	"pibootd/pkg/web"
	"pibootd/pkg/webhook"
)

// readSecrets reads the secrets that the configuration names.
func (d *daemon) readSecrets() (err error) {
	if file := d.cfg.Webhook.SecretFile; file != "" {
		if d.hookSecret, err = readSecret(file); err != nil {
			return fmt.Errorf("webhook.secret_file: %w", err)
		}
	}
	if file := d.cfg.HTTP.UploadTokenFile; file != "" {
		if d.uploadToken, err = readSecret(file); err != nil {
			return fmt.Errorf("http.upload_token_file: %w", err)
		}
	}
	if file := d.cfg.Queue.Credentials; file != "" {
		if d.queueCredentials, err = readCredentials(file); err != nil {
			return fmt.Errorf("queue.credentials: %w", err)
		}
	}
	return nil
}

// openDoors opens the other ways into the queue that the configuration asks for.
func (d *daemon) openDoors() {
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

// Limits of a secret, in bytes.
const (
	minSecret = 16
	maxSecret = 4096
)

// readCredentials reads what an external NATS server knows pibootd by.
func readCredentials(name string) (queue.Credentials, error) {
	text, err := readPrivate(name)
	if err != nil {
		return queue.Credentials{}, err
	}
	c, err := queue.ParseCredentials(text)
	if err != nil {
		return queue.Credentials{}, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// readSecret reads a secret that only its owner can read.
func readSecret(name string) ([]byte, error) {
	text, err := readPrivate(name)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSpace(text)
	if len(secret) < minSecret || len(text) > maxSecret {
		return nil, hintedError{fmt.Errorf("%s has %d bytes; want %d to %d", name, len(secret), minSecret, maxSecret), "openssl rand -hex 32 > " + name}
	}
	return secret, nil
}

// readPrivate reads a file that only its owner can read, and at most one byte
// more than maxSecret of it.
func readPrivate(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, hintedError{fmt.Errorf("%s is %v; want a file that only its owner can read", name, info.Mode()), "chmod 600 " + name}
	}
	return io.ReadAll(io.LimitReader(file, maxSecret+1))
}

// runDoors runs what looks for work by itself.
func (d *daemon) runDoors(ctx context.Context, g *errgroup.Group) {
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

// outputs are what the configuration's words ask for.
var outputs = map[config.Makes]transcode.Output{
	config.MakesHLS:    {},
	config.MakesCMAF:   {Container: transcode.ContainerCMAF},
	config.MakesAuthor: {Ladder: transcode.PresetAuthor},
	config.MakesMP4:    {Format: transcode.FormatMP4},
	config.MakesMKV:    {Format: transcode.FormatMKV},
}
