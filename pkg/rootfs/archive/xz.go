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

// xzMemory limits the memory of xz, whatever the file asks for. The highest preset
// needs 65 MiB for each thread, and xz starts as many threads as fit.
const xzMemory = "192MiB"

// unpackXZ decompresses with the program xz, on all processors. Without that
// program it decompresses in this process, several times slower.
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

// Read returns io.EOF only if xz reported no error.
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

// Close stops xz if it is still running.
func (x *xzProcess) Close() error {
	x.cancel()
	if x.ended == nil {
		x.ended = errors.New("closed")
		_ = x.cmd.Wait() // it was killed, and its output is not wanted any more
	}
	return nil
}
