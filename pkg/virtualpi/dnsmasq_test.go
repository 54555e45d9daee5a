//go:build netns

package virtualpi

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pibootd/pkg/netlab/netlabtest"
)

// A dnsmasq serves DHCP and TFTP on a LAN: another implementation than ours.
type dnsmasq struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed, and made again, with each line
}

// startDnsmasq serves root (none if empty) on lan, with options besides the
// test board's address. It runs until the test ends.
func startDnsmasq(t *testing.T, lan Socket, root string, options ...string) *dnsmasq {
	t.Helper()
	args := []string{
		"--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--conf-file=/dev/null", "--pid-file", "--user=root", "--port=0",
		"--interface=" + netlabtest.Bridge, "--no-ping", "--leasefile-ro",
		"--dhcp-range=10.77.0.0,static,255.255.255.0", "--dhcp-host=b8:27:eb:33:34:7a,10.77.0.50",
	}
	if root != "" {
		args = append(args, "--enable-tftp", "--tftp-root="+root)
	}
	cmd := exec.Command("dnsmasq", append(args, options...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := lan.Namespace.Do(cmd.Start); err != nil {
		t.Fatalf("starting dnsmasq: %v; install the package dnsmasq-base", err)
	}
	d := &dnsmasq{more: make(chan struct{})}
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		d.read(bufio.NewScanner(stderr), ready)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("dnsmasq said:\n%s", strings.Join(d.lines, "\n"))
		}
	})
	select {
	case <-ready:
	case <-done:
		t.Fatal("dnsmasq ended")
	}
	return d
}

// read keeps what dnsmasq says and closes ready when it has its sockets.
func (d *dnsmasq) read(from *bufio.Scanner, ready chan<- struct{}) {
	for once := sync.OnceFunc(func() { close(ready) }); from.Scan(); {
		d.mu.Lock()
		d.lines = append(d.lines, from.Text())
		close(d.more)
		d.more = make(chan struct{})
		d.mu.Unlock()
		if strings.Contains(from.Text(), "sockets bound exclusively to interface") || strings.Contains(from.Text(), "DHCP, ") {
			once()
		}
	}
}

// wantLogged waits for each text in what dnsmasq says: it says that it has sent a file
// some time after the file has come.
func (d *dnsmasq) wantLogged(t *testing.T, wants []string) {
	t.Helper()
	limit := time.After(time.Minute)
	for _, want := range wants {
		for {
			d.mu.Lock()
			said, more := strings.Contains(strings.Join(d.lines, "\n"), want), d.more
			d.mu.Unlock()
			if said {
				break
			}
			select {
			case <-more:
			case <-limit:
				t.Fatalf("dnsmasq logged no %q", want)
			}
		}
	}
}

// bootFiles makes a TFTP root from names, which end in / for an empty directory.
func bootFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
