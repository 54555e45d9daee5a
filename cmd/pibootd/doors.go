package main

import (
	"pibootd/pkg/muxer"
)

// openDoors opens the other ways into the queue that the configuration asks for.
func (d *daemon) openDoors() {
	if len(d.cfg.HTTP.Muxers) > 0 {
		h := &muxer.Handler{Queue: d.queue, MediaDir: d.cfg.MediaDir(), Allowed: d.cfg.HTTP.Muxers, Log: d.log}
		d.web.Muxers = h.Routes()
	}
}
