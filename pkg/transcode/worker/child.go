package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stderrLines     = 20
	stderrLineBytes = 500
	childNice       = 10
	// childGrace is how long after a child's end its output is waited for.
	childGrace = 10 * time.Second
)

// errStalled is the cause when a child is killed because it no longer moves.
var errStalled = errors.New("no progress")

// A child is one run of ffmpeg or ffprobe.
type child struct {
	name   string
	args   []string
	dir    string                // working directory; "" for ours
	env    []string              // besides ours
	stdin  io.Reader             // nil: nothing
	extra  *os.File              // its file descriptor 3; may be nil
	stdout func(io.Reader) error // reads standard output to its end
	first  *string               // is given the first line of standard error; may be nil
	pulse  *pulse                // may be nil
	stall  time.Duration         // killed when pulse stands still for so long
	grows  string                // a file: writing it counts as moving; "" is none
}

// run starts the child, in its own process group and politely, and waits for
// it. When ctx ends, or nothing moves for too long, the whole group is killed:
// what it has written is worth nothing then. The last lines of standard error
// are returned in any case.
func (c child) run(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stderr := &lastLines{}
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.WaitDelay = c.dir, c.stdin, stderr, childGrace
	if c.extra != nil {
		cmd.ExtraFiles = []*os.File{c.extra}
	}
	// Pdeathsig: a worker that is killed must leave no ffmpeg behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	// The kernel takes the end of the starting thread for that of the parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	// Only manners: the work is as good without.
	_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, childNice)

	var watch sync.WaitGroup
	watch.Go(func() { c.watch(ctx, cancel) })
	readErr := c.read(stdout, cancel)
	waitErr := cmd.Wait()
	cause := context.Cause(ctx)
	cancel(nil)
	watch.Wait()
	lines := stderr.lines()
	if c.first != nil {
		*c.first = string(stderr.first)
	}
	return lines, c.outcome(cause, readErr, waitErr)
}

// read hands standard output over; a child whose output cannot be read has
// nobody to work for.
func (c child) read(stdout io.Reader, cancel context.CancelCauseFunc) error {
	err := c.stdout(stdout)
	if err != nil {
		cancel(err)
	}
	io.Copy(io.Discard, stdout) // ends with the child: Wait reports why
	return err
}

// watch cancels when the pulse stands still.
func (c child) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	if c.pulse == nil {
		return
	}
	tick := time.NewTicker(max(c.stall/10, time.Millisecond))
	defer tick.Stop()
	var written time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			// ffmpeg tells nothing while it puts the index of a file in front.
			if info, err := os.Stat(c.grows); err == nil && !info.ModTime().Equal(written) {
				written = info.ModTime()
				c.pulse.touch(now)
			}
			if c.pulse.stalled(now, c.stall) {
				cancel(fmt.Errorf("%w for %v", errStalled, c.stall))
				return
			}
		}
	}
}

// outcome picks the error that says most.
func (c child) outcome(cause, readErr, waitErr error) error {
	switch {
	case cause != nil && readErr == nil:
		return fmt.Errorf("%s was stopped: %w", c.name, cause)
	case waitErr != nil && cause == nil:
		return fmt.Errorf("%s: %w", c.name, waitErr)
	case readErr != nil:
		return fmt.Errorf("reading what %s says: %w", c.name, readErr)
	}
	return nil
}

// lastLines is a writer that keeps the end of a text, and its first line. It is written by one
// goroutine, and read after that has ended.
type lastLines struct {
	first   []byte // the first line, whatever came after it
	ring    [][]byte
	partial []byte
}

// Write never fails. A line's end is dropped where it is longer than the limit.
func (l *lastLines) Write(text []byte) (int, error) {
	n := len(text)
	for {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		room := max(stderrLineBytes-len(l.partial), 0)
		l.partial = append(l.partial, line[:min(len(line), room)]...)
		if !whole {
			return n, nil
		}
		l.push()
		text = rest
	}
}

func (l *lastLines) push() {
	if l.first == nil {
		l.first = l.partial
	}
	l.ring = append(l.ring, l.partial)
	l.partial = nil
	if len(l.ring) > stderrLines {
		l.ring = l.ring[1:]
	}
}

func (l *lastLines) lines() []string {
	if len(l.partial) > 0 {
		l.push()
	}
	lines := make([]string, len(l.ring))
	for i, line := range l.ring {
		lines[i] = string(bytes.ToValidUTF8(line, []byte("?")))
	}
	return lines
}
