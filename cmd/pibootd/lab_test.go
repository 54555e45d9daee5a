//go:build e2e || release || bench

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/web"
)

// A lab is a network of its own with a daemon, as `make build` made it, on a
// bridge.
type lab struct {
	net    *netlab.Namespace
	binary string
	state  string
	env    []string // of the programs that it starts, beside the test's own
	daemon *process
	client *web.Client
}

// labTimeout bounds every wait. It is far longer than any step takes, so that only
// a fault reaches it.
const labTimeout = 5 * time.Minute

func newLab(t *testing.T) *lab {
	t.Helper()
	binary, err := filepath.Abs("../../bin/pibootd")
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("no pibootd to test, run make build first: %v", err)
	}
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	netlabtest.Host{Port: "other"}.Join(t, network) // so that the bridge has a carrier while no board is on, as a switch has
	l := &lab{net: network, binary: binary, state: t.TempDir()}
	l.client = web.NewClient(filepath.Join(l.state, "pibootd.sock"))
	t.Cleanup(func() { l.unmountRoots(t) })
	return l
}

// unmountRoots unmounts the roots that a killed daemon left mounted.
func (l *lab) unmountRoots(t *testing.T) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(l.state, "roots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
}

// serve starts the daemon and returns when it serves.
func (l *lab) serve(t *testing.T, more ...string) {
	t.Helper()
	l.daemon = l.start(t, append([]string{"serve", "--interface", "br0", "--state-dir", l.state}, more...)...)
	l.daemon.waitFor(t, "msg=serving")
}

// start starts a command in the lab's network. It is killed when the test
// ends, if it has not ended by then.
func (l *lab) start(t *testing.T, args ...string) *process {
	t.Helper()
	return l.startProgram(t, l.binary, args...)
}

func (l *lab) startProgram(t *testing.T, program string, args ...string) *process {
	t.Helper()
	return l.startIn(t, l.net, program, args...)
}

func (l *lab) startIn(t *testing.T, where *netlab.Namespace, program string, args ...string) *process {
	t.Helper()
	p := &process{name: strings.Join(args, " "), ended: make(chan struct{}), lines: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = l.environ()
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := where.Do(p.cmd.Start); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.signal(t, syscall.SIGKILL)
		<-p.ended
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.text())
		}
	})
	return p
}

func (l *lab) environ() []string {
	return append(append(os.Environ(), "PIBOOTD_STATE_DIR="+l.state), l.env...)
}

// pibootd runs a command in the lab's network and returns what it printed. The
// test fails if the command does.
func (l *lab) pibootd(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, err := l.try(t, args...)
	if err != nil {
		t.Fatalf("pibootd %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

func (l *lab) try(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.binary, args...)
	cmd.Env = l.environ()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := l.net.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	return out.String(), errs.String(), err
}

// decode runs a command with --json and reads what it printed.
func decode[T any](t *testing.T, l *lab, args ...string) T {
	t.Helper()
	var value T
	if err := json.Unmarshal([]byte(l.pibootd(t, append(args, "--json")...)), &value); err != nil {
		t.Fatalf("pibootd %s --json: %v", strings.Join(args, " "), err)
	}
	return value
}

// buildTemplate builds the minimal template. Packages are kept between tests
// where PIBOOTD_APT_CACHE says.
func (l *lab) buildTemplate(t *testing.T) {
	t.Helper()
	if out, err := l.build(t, "minimal").CombinedOutput(); err != nil {
		t.Fatalf("template build: %v\n%s", err, out)
	}
}

// build is template build, not in the lab's network, which has no way to
// Debian's packages.
func (l *lab) build(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cache := os.Getenv("PIBOOTD_APT_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	return exec.CommandContext(t.Context(), l.binary, append([]string{"template", "build", "--state-dir", l.state, "--cache", cache}, args...)...)
}

// A process is a program that runs beside the test.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // once ended

	mu    sync.Mutex
	out   bytes.Buffer
	lines chan struct{} // closed and replaced with every write
}

// Write records the process's output.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.lines)
	p.lines = make(chan struct{})
	return p.out.Write(text)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// waitFor returns when the process has printed a line with text in it.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	p.waitWithin(t, text, labTimeout)
}

func (p *process) waitWithin(t *testing.T, text string, limit time.Duration) {
	t.Helper()
	late := time.After(limit)
	for {
		p.mu.Lock()
		have, more := p.out.String(), p.lines
		p.mu.Unlock()
		if containsLine(have, text) {
			return
		}
		select {
		case <-more:
		case <-p.ended:
			if !containsLine(p.text(), text) {
				t.Fatalf("%s ended (%v) without %q:\n%s", p.name, p.err, text, p.text())
			}
		case <-late:
			t.Fatalf("%s never printed %q:\n%s", p.name, text, p.text())
		}
	}
}

func containsLine(out, text string) bool {
	for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
		if strings.Contains(lines.Text(), text) {
			return true
		}
	}
	return false
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}

// end sends a signal, waits for the process to end and returns its error.
func (p *process) end(t *testing.T, signal syscall.Signal) error {
	t.Helper()
	p.signal(t, signal)
	select {
	case <-p.ended:
	case <-time.After(labTimeout):
		t.Fatalf("%s does not end by %s", p.name, signal)
	}
	return p.err
}

// makeVideo makes a moving picture with sound and returns its path.
func makeVideo(t *testing.T, file, seconds string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-y",
		"-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration="+seconds,
		"-f", "lavfi", "-i", "sine=frequency=440:duration="+seconds,
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "96k", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("making a video: %v\n%s", err, out)
	}
}

// ffprobe returns the values that ffprobe shows for entries, a line each.
func ffprobe(t *testing.T, file string, args ...string) []string {
	t.Helper()
	args = append([]string{"-v", "error", "-of", "csv=p=0"}, append(args, file)...)
	var errs strings.Builder
	cmd := exec.CommandContext(t.Context(), "ffprobe", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v\n%s", file, err, errs.String())
	}
	return strings.Fields(string(out))
}
