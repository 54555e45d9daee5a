//go:build netns

package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"pibootd/pkg/config"
	"pibootd/pkg/netlab"
	"pibootd/pkg/netlab/netlabtest"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/web"
)

// A logText is what a daemon has written.
type logText struct {
	serving chan struct{} // closed once it has written that it serves; nil: nobody waits for that

	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving != nil && bytes.Contains(p, []byte("msg=serving")) {
		close(l.serving)
	}
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// startLogged starts a daemon and returns what it logs and shows on its terminal
// until it serves.
func startLogged(t *testing.T, network *netlab.Namespace, cfg config.Config) (log, terminal string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	logged, shown := logText{serving: make(chan struct{})}, logText{}
	ended := make(chan error, 1)
	go func() {
		o := Options{Config: cfg, Version: "tested", Log: slog.New(slog.NewTextHandler(&logged, nil)), Terminal: &shown}
		ended <- network.Do(func() error { return Run(ctx, o) })
	}()
	select {
	case <-logged.serving:
	case err := <-ended:
		t.Fatalf("Run = %v", err)
	}
	return logged.String(), shown.String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// pinned returns a client in the lab's network that knows the daemon by the
// fingerprint of its certificate.
func pinned(network *netlab.Namespace, fingerprint string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, kind, addr string) (conn net.Conn, err error) {
			err = network.Do(func() error { conn, err = new(net.Dialer).DialContext(ctx, kind, addr); return err })
			return conn, err
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if sum := sha256.Sum256(raw[0]); hex.EncodeToString(sum[:]) != fingerprint {
				return errors.New("another certificate")
			}
			return nil
		}},
	}}
}

func ask(t *testing.T, client *http.Client, method, url, body, cookie string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// The first start shows a link, in the log and on the terminal, by which the
// password is made over TLS. The session and the certificate survive a restart,
// which shows no link any more.
func TestFirstStart(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	cfg := config.Default()
	cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", filepath.Join(t.TempDir(), "state"), config.Embedded
	log, terminal, stop := startLogged(t, network, cfg)
	link := regexp.MustCompile(`https://10\.77\.0\.1:8443/setup#(\S+)`).FindStringSubmatch(log)
	fingerprint := regexp.MustCompile(`sha256=([0-9a-f]{64})`).FindStringSubmatch(log)
	if link == nil || fingerprint == nil || !strings.Contains(terminal, link[0]) || !strings.Contains(terminal, fingerprint[1]) {
		t.Fatalf("the log has no link or no fingerprint, or the terminal has others:\n%s\n%s", log, terminal)
	}
	if strings.Contains(log, "need a login now") {
		t.Errorf("the first start of a new installation says what it closed:\n%s", log)
	}
	client := pinned(network, fingerprint[1])
	body, err := json.Marshal(web.Credential{Code: link[1], Password: "a password for this test"})
	if err != nil {
		t.Fatal(err)
	}
	response := ask(t, client, http.MethodPost, "https://10.77.0.1:8443/api/v1/setup", string(body), "")
	if response.StatusCode != http.StatusOK || len(response.Cookies()) != 1 {
		t.Fatalf("set-up is answered %s", response.Status)
	}
	cookie := response.Cookies()[0].Name + "=" + response.Cookies()[0].Value
	stop()

	client.CloseIdleConnections()
	log, terminal, stop = startLogged(t, network, cfg)
	defer stop()
	if strings.Contains(log, "/setup#") || terminal != "" || !strings.Contains(log, fingerprint[1]) {
		t.Errorf("the second start shows a link, or another certificate:\n%s\n%s", log, terminal)
	}
	if response := ask(t, client, http.MethodGet, "https://10.77.0.1:8443/api/v1/jobs", "", cookie); response.StatusCode != http.StatusOK {
		t.Errorf("jobs after a restart: %s", response.Status)
	}
	client.CloseIdleConnections()
}

// The first start on a state directory of a version without logins says what it has
// closed, once. A program that has the port of TLS does not stop it.
func TestFirstStartOfAnUpgrade(t *testing.T) {
	network := netlabtest.NewBridge(t, "10.77.0.1/24")
	cfg := config.Default()
	cfg.Interface, cfg.StateDir, cfg.NFS.Driver = "br0", filepath.Join(t.TempDir(), "state"), config.Embedded
	if err := makeDirs(cfg); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), filepath.Join(cfg.StateDir, "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	known, err := registry.Open(t.Context(), s)
	if err == nil {
		_, err = known.Add(t.Context(), registry.Pi{
			Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.77.0.192"),
			Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
		}, "token")
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var taken net.Listener
	err = network.Do(func() (err error) { taken, err = net.Listen("tcp4", "10.77.0.1:8443"); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const closed = "need a login now"
	log, _, stop := startLogged(t, network, cfg)
	stop()
	if !strings.Contains(log, closed) || !strings.Contains(log, `still_public="[/media /metrics /worker/v1/program/]"`) {
		t.Errorf("the first start does not say what it has closed:\n%s", log)
	}
	if !strings.Contains(log, "no HTTPS") || !strings.Contains(log, "port 8443 is taken") || !strings.Contains(log, "http://10.77.0.1:8080/setup#") {
		t.Errorf("the start without TLS says:\n%s\nwant the reason, and a link without TLS", log)
	}
	log, _, stop = startLogged(t, network, cfg)
	stop()
	if strings.Contains(log, closed) {
		t.Errorf("the second start says it again:\n%s", log)
	}
}
