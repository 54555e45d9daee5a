package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/internal/pause"
)

const (
	// pipeBytes is how much a pipe holds that a patient reader reads: the most that
	// Linux grants to everybody.
	pipeBytes = 1 << 20
	// pipePause is how long a patient reader waits for a pipe to fill.
	pipePause = 10 * time.Millisecond
)

// startPiped starts cmd and returns what it writes to standard output. Go's own pipes
// wake a thread for each line that is written, also while nobody reads.
func startPiped(cmd *exec.Cmd) (*os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	from, to := os.NewFile(uintptr(ends[0]), "stdout"), os.NewFile(uintptr(ends[1]), "stdout")
	cmd.Stdout = to
	err := cmd.Start()
	if err = errors.Join(err, to.Close()); err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return from, nil
}

// A patientReader reads a pipe in large parts. ffprobe writes a line at a time, and to
// wake a reader for each would take it longer than to find out what it writes.
type patientReader struct {
	ctx   context.Context
	from  io.Reader
	short bool // the latest read was of less than half a pipe
}

func newPatientReader(ctx context.Context, from io.Reader) *patientReader {
	if f, ok := from.(*os.File); ok {
		// A smaller pipe works, too.
		_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeBytes)
	}
	return &patientReader{ctx: ctx, from: from}
}

func (r *patientReader) Read(into []byte) (int, error) {
	if r.short {
		pause.For(r.ctx, pipePause)
	}
	n, err := r.from.Read(into)
	r.short = n < pipeBytes/2
	return n, err
}
