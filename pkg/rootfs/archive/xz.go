package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/ulikunitz/xz"
)

// xzMemory bounds what a foreign file can make xz use. The highest preset
// needs 65 MiB for each of its threads, and it takes as many as fit.
const xzMemory = "192MiB"

// unpackXZ decompresses by the program xz, on all processors, or, where it is
// not installed, in this process, which takes several times as long.
func unpackXZ(ctx context.Context, from io.Reader) (io.ReadCloser, error) {
	program, err := exec.LookPath("xz")
	if err != nil {
		plain, err := xz.NewReader(from)
		return io.NopCloser(plain), err
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &xzProcess{cancel: cancel, stopped: ctx.Err}
	x.cmd = exec.CommandContext(ctx, program, "--decompress", "--stdout", "--threads=0", "--memlimit="+xzMemory)
	x.cmd.Stdin, x.cmd.Stderr = from, &x.complaints
	if x.out, err = x.cmd.StdoutPipe(); err != nil {
		cancel()
		return nil, err
	}
	if err := x.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	return x, nil
}

// An xzProcess is the output of a running xz.
type xzProcess struct {
	cancel     context.CancelFunc
	stopped    func() error // why it was killed; nil if it was not
	cmd        *exec.Cmd
	out        io.Reader
	complaints bytes.Buffer
	ended      error // what Read returns for good; set once the process is waited for
}

// Read ends with io.EOF only if xz found nothing wrong.
func (x *xzProcess) Read(buf []byte) (int, error) {
	if x.ended != nil {
		return 0, x.ended
	}
	n, err := x.out.Read(buf)
	if n > 0 || err == nil {
		return n, nil
	}
	x.ended = io.EOF
	if err := x.cmd.Wait(); err != nil {
		x.ended = fmt.Errorf("the xz file is damaged or cut short, fetch it again: %w: %s", err, bytes.TrimSpace(x.complaints.Bytes()))
	}
	if err := x.stopped(); err != nil {
		x.ended = err
	}
	return 0, x.ended
}

// Close stops xz if it still runs.
func (x *xzProcess) Close() error {
	x.cancel()
	if x.ended == nil {
		x.ended = errors.New("closed")
		_ = x.cmd.Wait() // it was killed, and its output is not wanted any more
	}
	return nil
}
