package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"pibootd/pkg/boot"
	"pibootd/pkg/config"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/store"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/web"
)

// Whoever is refused as a board's worker stands on that board's timeline, once for
// each reason however often it tries; who is nobody's worker on no timeline.
func TestRefusedLoginsStandOnTheTimeline(t *testing.T) {
	d := loginDaemon(t)
	broker, err := d.openBroker()
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	proxy := httptest.NewServer((&web.ShareProxy{Authenticate: d.authenticate, OnRefused: d.refused, Log: d.log}).Routes())
	defer proxy.Close()
	for range 3 {
		for _, login := range []struct{ name, token string }{
			{"3333347a", "guess"}, {"3333347A", "board's"}, {"0x3333347a", "board's"}, {"10000001", "guess"}, {"*", "guess"}, {"Desk-PC", "machine's"},
		} {
			conn, err := nats.Connect(broker.URL(), nats.UserInfo(login.name, login.token))
			if err == nil {
				conn.Close()
			}
			if !errors.Is(err, nats.ErrAuthorization) {
				t.Errorf("login as %q with %q: %v; want it refused", login.name, login.token, err)
			}
		}
	}
	for _, name := range []string{"desk-pc", "3333347A"} {
		if status := askShare(t, proxy.URL, name, "guess"); status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong token is answered with %d over HTTP; want 401", name, status)
		}
	}
	conn, err := nats.Connect(broker.URL(), nats.UserInfo("3333347a", "board's"))
	if err != nil {
		t.Fatalf("the board's own worker: %v", err)
	}
	conn.Close()

	got := d.recorded(t)
	want := []string{
		"3333347a hlspi1 login_refused from 127.0.0.1: wrong token",
		`3333347a hlspi1 login_refused from 127.0.0.1: the name is not spelled as it is registered: "3333347A"`,
		`desk-pc desk-pc login_refused from 127.0.0.1: the name is not spelled as it is registered: "Desk-PC"`,
		"desk-pc desk-pc login_refused from 127.0.0.1: wrong token",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timelines have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A worker that connects more often than it needs to stands on its timeline.
func TestTooManyConnectionsStandOnTheTimeline(t *testing.T) {
	d := loginDaemon(t)
	broker, err := d.openBroker()
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	for range 10 {
		conn, err := nats.Connect(broker.URL(), nats.UserInfo("3333347a", "board's"), nats.MaxReconnects(0))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	got := d.recorded(t)
	want := []string{"3333347a hlspi1 misuse from 127.0.0.1: it has more connections than a worker needs; the oldest was closed"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the timelines have\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// loginDaemon has what a daemon needs to let workers in: a board with the token
// "board's", and a machine with "machine's".
func loginDaemon(t *testing.T) *daemon {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "pibootd.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	known, registryErr := registry.Open(t.Context(), s)
	events, timelineErr := timeline.Open(t.Context(), s)
	if err := errors.Join(registryErr, timelineErr); err != nil {
		t.Fatal(err)
	}
	board := registry.Pi{
		Serial: 0x3333347a, MAC: pi.MAC{0xb8, 0x27, 0xeb, 0x33, 0x34, 0x7a}, Name: "hlspi1", IP: netip.MustParseAddr("10.0.0.11"),
		Root: registry.Root{Template: "minimal", Version: 1, Arch: pi.ARM64},
	}
	_, boardErr := known.Add(t.Context(), board, "board's")
	_, machineErr := known.AddMachine(t.Context(), registry.Machine{Name: "desk-pc"}, "machine's")
	if err := errors.Join(boardErr, machineErr); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return &daemon{
		cfg: config.Config{StateDir: t.TempDir()}, network: netip.MustParsePrefix("127.0.0.1/8"), log: log, state: &stateDir{registry: known, timeline: events}, socks: &sockets{},
		policy: &boot.Policy{Registry: known, Timeline: events, Log: log},
	}
}

// recorded writes what has been noted for the timelines and returns it.
func (d *daemon) recorded(t *testing.T) (lines []string) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.state.timeline.Run(ended); err != nil {
		t.Fatal(err)
	}
	events, err := d.state.timeline.Events(t.Context(), "", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", e.Board, e.Name, e.Kind, e.Detail))
	}
	return lines
}

// askShare asks for the media share as a worker does, and returns the status.
func askShare(t *testing.T, url, name, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+transcode.PathShare, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(name, token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}
