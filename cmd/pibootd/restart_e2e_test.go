//go:build e2e

package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
)

// While the daemon is killed and restarted, clients of all its servers ask without a
// pause. No connection is refused, and what a dying daemon had read already is answered
// when it is asked for again, once. A socket that the new configuration does not have is
// closed.
func TestRestartLosesNoRequest(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.importTiny(t)
	config := filepath.Join(t.TempDir(), "pibootd.toml")
	putText(t, config, "[http]\ntls_port = 8443\n")
	l.daemon = l.start(t, "keep", "--", "serve", "--interface", "br0", "--state-dir", l.state, "--config", config)
	l.daemon.waitFor(t, "msg=serving")
	mac := pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}
	l.pibootd(t, "add-pi", "--mac", mac.String(), "--serial", "3333347a", "--ip", "10.77.0.50")
	kernel := l.putKernel(t)
	board := lanHost{netlabtest.Host{Port: "board", MAC: mac, Addr: "10.77.0.50/24"}.Join(t, l.net)}

	r := &restarts{done: make(chan struct{})}
	callers := append(board.callers(mac, kernel), &caller{name: "control", ask: func(ctx context.Context) error { _, err := l.client.Info(ctx); return err }})
	ctx, stop := context.WithCancel(t.Context())
	var calling sync.WaitGroup
	for _, c := range callers {
		calling.Go(func() { c.run(ctx, r) })
	}
	pid := l.nextPID(t, 0)
	kill := func() { _ = syscall.Kill(pid, syscall.SIGKILL) }
	restart := func() { l.daemon.signal(t, syscall.SIGHUP) }
	reconfigure := func() { putText(t, config, "[http]\ntls_port = 0\n"); restart() }
	for _, end := range []func(){kill, restart, kill, reconfigure} {
		waitForAnswers(t, callers)
		r.began.Add(1)
		end()
		pid = l.nextPID(t, pid)
		r.finish()
	}
	waitForAnswers(t, callers)
	stop()
	calling.Wait()
	for _, c := range callers {
		t.Logf("%s: %d requests were answered, %d of them when they were repeated", c.name, c.answered.Load(), c.again)
		if c.err != nil {
			t.Errorf("%s: %v", c.name, c.err)
		}
	}
	l.daemon.waitFor(t, "socket=https")
	waitUntil(t, "port 8443 is still open, which the configuration no longer has", func() bool {
		return errors.Is(l.net.Do(func() error { return tryTCP(t.Context(), "10.77.0.1:8443") }), syscall.ECONNREFUSED)
	})
}

func tryTCP(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", addr)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// nextPID returns the daemon's process id, once it is not last.
func (l *lab) nextPID(t *testing.T, last int) (pid int) {
	t.Helper()
	waitUntil(t, "the daemon is not there again", func() bool {
		info, err := l.client.Info(t.Context())
		pid = info.PID
		return err == nil && pid != last
	})
	return pid
}

// waitUntil asks again and again.
func waitUntil(t *testing.T, otherwise string, is func() bool) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for late := time.Now().Add(labTimeout); !is(); <-again.C {
		if time.Now().After(late) {
			t.Fatal(otherwise)
		}
	}
}

// restarts counts those of the daemon.
type restarts struct {
	began, finished atomic.Int64

	mu   sync.Mutex
	done chan struct{} // closed by the next that is finished
}

func (r *restarts) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished.Add(1)
	close(r.done)
	r.done = make(chan struct{})
}

// How long a client waits before it takes a request for lost: while the daemon serves, and
// once it is there again.
const (
	lossTime   = 20 * time.Second
	answerTime = 5 * time.Second
)

// patience returns a context that ends when what is asked now is lost.
func (r *restarts) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	r.mu.Lock()
	done := r.done
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lossTime)
	go func() {
		select {
		case <-done:
			time.AfterFunc(answerTime, cancel)
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// A caller asks a server without a pause.
type caller struct {
	name     string
	ask      func(context.Context) error
	answered atomic.Int64
	ended    atomic.Bool
	again    int   // how often it had to ask again
	err      error // why it ended early
}

func (c *caller) run(ctx context.Context, r *restarts) {
	defer c.ended.Store(true)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for ctx.Err() == nil {
		if err := c.once(ctx, r); err != nil && ctx.Err() == nil {
			c.err = err
			return
		}
		c.answered.Add(1)
		<-pace.C
	}
}

// once asks, and asks again if that was lost, or broken off by a restart.
func (c *caller) once(ctx context.Context, r *restarts) error {
	before := r.finished.Load()
	patience, cancel := r.patience(ctx)
	defer cancel()
	err := c.ask(patience)
	if err == nil || errors.Is(err, syscall.ECONNREFUSED) || r.began.Load() == before && patience.Err() == nil {
		return err
	}
	c.again++
	late, cancelLate := context.WithTimeout(ctx, labTimeout)
	defer cancelLate()
	return errors.Join(c.ask(late), ctx.Err())
}

// waitForAnswers returns when every caller has had two answers more.
func waitForAnswers(t *testing.T, callers []*caller) {
	t.Helper()
	for _, c := range callers {
		before := c.answered.Load()
		waitUntil(t, c.name+" gets no answer", func() bool { return c.answered.Load() >= before+2 || c.ended.Load() })
	}
}
