package fleet

import (
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/timeline"
)

// updateWorker brings the worker in a board's root up to date and records the
// result on the board's timeline. An error stops no other board, because a board
// can put anything into its root.
func (f *Fleet) updateWorker(update *rootfs.WorkerUpdate, board registry.Pi) {
	// The paths change with the NFS driver, too.
	changed, err := update.Root(board.Serial, board.Arch, f.services(board.Serial))
	switch {
	case err != nil:
		f.Log.Error("worker not updated", "component", "fleet", "pi", board.Name, "err", err)
		f.record(board, timeline.RootFailed, "the worker in its root is not that of this pibootd: "+err.Error())
	case changed:
		f.Log.Info("worker updated", "component", "fleet", "pi", board.Name)
		f.record(board, timeline.Changed, "its root has the worker of this pibootd now; restart the board if it is running")
	}
}
