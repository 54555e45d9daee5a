//go:build release

package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"pibootd/pkg/pi"
)

// A sshBoard is a board that a test is logged in to, as root.
type sshBoard struct {
	client *ssh.Client
	root   string // on the NAS
}

// newKey makes an ssh key and a file for --authorized-keys with it.
func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, ssh.MarshalAuthorizedKey(authorized), 0o600); err != nil {
		t.Fatal(err)
	}
	return signer, file
}

// login logs in to a board, whose host key has to be the one in its root.
func (l *lab) login(t *testing.T, serial pi.Serial, addr netip.Addr, key ssh.Signer) *sshBoard {
	t.Helper()
	b := &sshBoard{root: filepath.Join(l.state, "roots", serial.String())}
	text, err := os.ReadFile(filepath.Join(b.root, "etc/ssh/ssh_host_ed25519_key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: ssh.FixedHostKey(host), HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	}
	again := time.NewTicker(time.Second) // sshd may start after the worker
	defer again.Stop()
	for late := time.Now().Add(labTimeout); ; <-again.C {
		err := l.net.Do(func() (err error) {
			b.client, err = ssh.Dial("tcp", netip.AddrPortFrom(addr, 22).String(), config)
			return err
		})
		if err == nil {
			t.Cleanup(func() { _ = b.client.Close() }) // the board may be off by then
			return b
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Now().After(late) {
			t.Fatalf("logging in to %s: %v", addr, err)
		}
	}
}

// sh runs a script on the board and returns what it printed.
func (b *sshBoard) sh(t *testing.T, script string) string {
	t.Helper()
	began := time.Now()
	session, err := b.client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close() // ends what is still running
	out, err := session.CombinedOutput(script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s: %s", script, time.Since(began).Round(time.Second))
	return string(out)
}

// proxy serves Debian's packages to the lab's network, as a HTTP proxy, and
// returns its URL.
func (l *lab) proxy(t *testing.T) string {
	t.Helper()
	var listener net.Listener
	err := l.net.Do(func() (err error) {
		listener, err = net.Listen("tcp", "10.77.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}} // to where the request says
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := errors.Join(server.Close(), <-ended); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String()
}

// upgradesItself has a board install and upgrade packages, of which one has
// scripts, a group and a set-group-ID program, and another kernel. It returns
// the version of that.
func (b *sshBoard) upgradesItself(t *testing.T, proxy string) string {
	t.Helper()
	b.sh(t, fmt.Sprintf(`echo 'Acquire::http::Proxy "%s";' >/etc/apt/apt.conf.d/proxy`, proxy))
	b.sh(t, "apt-get -q update --error-on=any")
	b.sh(t, "apt-get -qy --no-install-recommends install cron tree")
	crontab, err := os.Stat(filepath.Join(b.root, "usr/bin/crontab"))
	if err != nil || crontab.Mode() != 0o755|os.ModeSetgid || crontab.Sys().(*syscall.Stat_t).Gid == 0 {
		t.Errorf("crontab is %v, %v; want it set-group-ID, of a group of its own", crontab, err)
	}
	if state := strings.TrimSpace(b.sh(t, "systemctl is-active cron")); state != "active" {
		t.Errorf("cron is %q; want active", state)
	}
	b.sh(t, "DEBIAN_FRONTEND=noninteractive apt-get -qy upgrade")
	b.sh(t, "apt-get -qy --no-install-recommends install linux-image-rt-arm64")
	b.isSound(t, "cron tree 'linux-image-*-rt-arm64'")
	kernels, err := filepath.Glob(filepath.Join(b.root, "boot/vmlinuz-*-rt-arm64"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("kernels for real time: %q, %v; want one", kernels, err)
	}
	return strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
}

// changedFile matches what dpkg says of a file whose content is not its
// package's, unless it is there to be changed. Manuals that are left out are
// missing.
var changedFile = regexp.MustCompile(`(?m)^..5\S+ +/.*$`)

// isSound checks that dpkg finds every package whole, and every file of some as
// it was in its package, read from the server again.
func (b *sshBoard) isSound(t *testing.T, packages string) {
	t.Helper()
	b.sh(t, "sync; echo 3 >/proc/sys/vm/drop_caches")
	if audit := b.sh(t, "dpkg --audit"); audit != "" {
		t.Errorf("dpkg --audit says\n%s", audit)
	}
	said := b.sh(t, "dpkg --verify $(dpkg-query -W -f '${Package}\n' "+packages+") || true")
	if changed := changedFile.FindAllString(said, -1); len(changed) > 0 {
		t.Errorf("dpkg --verify says\n%s", strings.Join(changed, "\n"))
	}
}

// bootsKernel checks that a board booted a kernel with its modules, and that
// its boot files fit together.
func (b *sshBoard) bootsKernel(t *testing.T, want string) {
	t.Helper()
	if kernel := strings.TrimSpace(b.sh(t, "uname -r")); kernel != want {
		t.Errorf("the board runs kernel %q; want the new one, %q", kernel, want)
	}
	b.sh(t, "modprobe loop && grep -q ^loop /proc/modules")
}
