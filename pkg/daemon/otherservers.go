package daemon

import (
	"context"
	"log/slog"

	"pibootd/pkg/doctor"
)

// logOtherServers logs once, after the start, which other servers answer DHCP.
func (d *daemon) logOtherServers(ctx context.Context) {
	servers, err := d.doctor.OtherServers(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.log.Warn("cannot look for other DHCP servers", "component", "dhcp", "err", err)
		}
		return
	}
	for _, r := range servers {
		f := d.doctor.Judge(r)
		level := slog.LevelInfo
		if f.Level != doctor.OK {
			level = slog.LevelWarn
		}
		d.log.Log(ctx, level, "another DHCP server answers", "component", "dhcp", "addr", r.Addr, "detail", f.Text, "todo", f.Todo)
	}
}
