package doctor

import (
	"context"
	"strings"
	"time"

	"pibootd/pkg/diagnosis"
	"pibootd/pkg/registry"
)

// board examines one board: the files that it would be served, its mounts, and how
// far its last boot came.
func (d *Doctor) board(ctx context.Context, board registry.Pi, deadline time.Time) ([]Finding, diagnosis.Code) {
	found := d.bootFiles(board)
	found = append(found, d.exports(ctx, board, deadline))
	boot, code := d.boot(ctx, board)
	return append(found, boot), code
}

// exports tries the board's mounts as the board makes them. A mount that hangs is a
// problem. If other boards have used up the time, the finding is that this board's
// exports are unknown.
func (d *Doctor) exports(ctx context.Context, board registry.Pi, deadline time.Time) Finding {
	f := Finding{Subject: board.Name, Level: OK}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	proof, err := d.Fleet.Prove(ctx, board)
	switch {
	case err != nil && ctx.Err() != nil:
		f.Level, f.Text, f.Todo = Warning, "no time was left to try its exports", "pibootd doctor "+board.Name
		return f
	case err != nil:
		f.Level, f.Text = Problem, strings.ReplaceAll(err.Error(), "\n", "; ")
		f.Todo = "restart pibootd, which opens every export again; its log says more"
		if lacks, err := d.Fleet.Roots.LacksInit(board.Serial, ""); err == nil && lacks {
			f.Text, f.Todo = "its root has no init (/sbin/init)", "give it a fresh root: pibootd reset-pi "+board.Name
		}
		return f
	}
	f.Text = strings.Join(proof, "; ")
	return f
}
