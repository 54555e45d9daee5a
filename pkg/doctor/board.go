package doctor

import (
	"context"
	"strings"

	"pibootd/pkg/registry"
)

// board looks at one board: what it would be served, what it may mount, how far
// its last boot came.
func (d *Doctor) board(ctx context.Context, board registry.Pi) []Finding {
	finding := func(level Level, text, todo string) Finding {
		return Finding{Subject: board.Name, Level: level, Text: text, Todo: todo}
	}
	var found []Finding
	if _, err := d.Fleet.BootFiles(board); err != nil {
		found = append(found, finding(Problem, "its boot files cannot be made: "+err.Error(), "add it again, or put its boot directory right"))
	}
	proof, err := d.Fleet.Prove(ctx, board)
	if err != nil {
		found = append(found, finding(Problem, strings.ReplaceAll(err.Error(), "\n", "; "), "restart pibootd, which opens every export anew; its log says more"))
	} else {
		found = append(found, finding(OK, strings.Join(proof, "; "), ""))
	}
	return append(found, d.lastBoot(ctx, board))
}
