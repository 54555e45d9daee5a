package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// An unknown name stops an upgrade before the first board is changed.
func TestUpgradeOfNobody(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			t.Errorf("%s %s; want nothing changed", r.Method, r.URL)
		case strings.HasSuffix(r.URL.Path, "/hlspi1"):
			w.Write([]byte(`{"id": 1, "name": "hlspi1"}`))
		default:
			http.Error(w, `{"error": "no such board"}`, http.StatusNotFound)
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	var errs bytes.Buffer
	code := run([]string{"pibootd", "upgrade-pi", "hlspi1", "hlspi9", "--to", "muxer", "--socket", socket}, streams{out: &errs, err: &errs})
	if code != exitFailed || !strings.Contains(errs.String(), "no such board") {
		t.Errorf("exit %d, %q; want %d, and that there is no such board", code, errs.String(), exitFailed)
	}
}
