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
	// childGrace limits how long run waits for the output of a child that has
	// ended.
	childGrace = 10 * time.Second
)

// errStalled is the cause when a child is killed because it makes no progress.
var errStalled = errors.New("no progress")

// A child is one run of ffmpeg or ffprobe.
type child struct {
	name   string
	args   []string
	dir    string                // working directory; "" means the worker's own
	env    []string              // in addition to the worker's own
	stdin  io.Reader             // nil: no input
	extra  []*os.File            // become file descriptors 3 and following
	stdout func(io.Reader) error // reads standard output to its end
	line   func([]byte) bool     // consumes lines of standard error that are not for people; may be nil
	first  *string               // receives the first line of standard error; may be nil
	pulse  *pulse                // may be nil
	stall  time.Duration         // the child is killed if pulse stops for this long
	grows  string                // a file whose growth counts as progress; "": none
}

// run starts the child in its own process group at low priority and waits for it.
// If ctx ends, or the child makes no progress for too long, run kills the whole
// group, because an incomplete output is worthless. It returns the last lines of
// standard error in any case.
func (c child) run(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stderr := &lastLines{consume: c.line}
	cmd := exec.CommandContext(ctx, c.name, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.WaitDelay = c.dir, c.stdin, stderr, childGrace
	cmd.ExtraFiles = c.extra
	// Pdeathsig: an ffmpeg must not outlive a worker that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// The kernel sends Pdeathsig when the thread that started the child ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	stdout, err := startPiped(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.name, err)
	}
	defer stdout.Close()
	// The error is ignored, because the priority does not affect the result.
	_ = unix.Setpriority(unix.PRIO_PGRP, cmd.Process.Pid, childNice)

	var watch sync.WaitGroup
	watch.Go(func() { c.watch(ctx, cancel) })
	var readErr error
	// Elsewhere, because a goroutine that is locked to its thread costs a switch of
	// threads for each time that it waits.
	var read sync.WaitGroup
	read.Go(func() { readErr = c.read(stdout, cancel) })
	read.Wait()
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

// read passes standard output to c.stdout. It cancels the child if that fails,
// because nobody needs the rest.
func (c child) read(stdout io.Reader, cancel context.CancelCauseFunc) error {
	err := c.stdout(stdout)
	if err != nil {
		cancel(err)
	}
	io.Copy(io.Discard, stdout) // ends with the child, and Wait reports the cause
	return err
}

// watch cancels the child if the pulse stops.
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
			// ffmpeg reports no progress while it moves the index of a file to the
			// front.
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

// outcome returns the most informative of the errors.
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

// lastLines is a writer that keeps the last lines of a text, and the first one. One
// goroutine writes to it, and the text is read after that has ended.
type lastLines struct {
	first   []byte // the first line of the whole text
	ring    [][]byte
	partial []byte
	consume func([]byte) bool // see child.line
}

// Write never fails. It cuts lines that are longer than the limit.
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
	if l.consume != nil && l.consume(l.partial) {
		l.partial = nil
		return
	}
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
