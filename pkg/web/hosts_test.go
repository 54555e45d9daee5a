package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// dialFrom connects to the public door from 127.0.0.from, until the test ends.
func (d daemon) dialFrom(t *testing.T, from byte) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
	conn, err := dialer.DialContext(t.Context(), "tcp4", d.public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// readStatus reads an answer's first line.
func readStatus(t *testing.T, conn net.Conn) (status int) {
	t.Helper()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if _, scanErr := fmt.Sscanf(line, "HTTP/1.1 %d", &status); scanErr != nil {
		t.Fatalf("answered %q, %v; want a status", line, err)
	}
	return status
}

// askHost sends a request that names this host, "" for none at all.
func (d daemon) askHost(t *testing.T, method, path, host string) (status int, body string) {
	t.Helper()
	conn := d.dialFrom(t, 1)
	defer conn.Close()
	request := method + " " + path + " HTTP/1.0\r\nContent-Length: 0\r\n\r\n"
	if host != "" {
		request = strings.Replace(request, "\r\n", "\r\nHost: "+host+"\r\n", 1)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s of host %q: %v", method, path, host, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// A page whose name resolves to this machine reaches nothing through it but what
// players may have.
func TestHostsOfOthers(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "hls/a/master.m3u8"), "#EXTM3U\n")
	for _, host := range []string{"evil.example", "evil.example:8080", "EVIL.example", "local", "x.local.evil.example", "localhost.evil.example", "notlocalhost",
		"127.0.0.1.evil.example", "127.1", "2130706433", "0x7f000001", "evil.example.", "nas.example.org.evil.example", "other.nas.example.org", "[::1", "::1.evil.example"} {
		for _, door := range []string{"GET /", "GET /settings", "GET /api/v1/info", "GET /api/v1/nothing", "GET /metrics", "POST /api/v1/jobs", "PUT /api/v1/media/a.mp4",
			"GET " + ProgramPath + "amd64", "GET " + transcode.PathShare, "POST /muxer/1", "POST /tidy/1", "GET /nothing", "GET /../api/v1/info", "GET /mediax"} {
			method, path, _ := strings.Cut(door, " ")
			status, body := d.askHost(t, method, path, host)
			var said struct{ Status, Error string }
			err := json.Unmarshal([]byte(body), &said)
			if status == 307 && strings.Contains(path, "..") {
				continue // to a path that is refused
			}
			if status != 421 || err != nil || !strings.Contains(said.Error, "http.names") || (said.Status == "error") != isMuxers(path) {
				t.Errorf("%s of %s: %d %.300q; want 421 that speaks of http.names", door, host, status, body)
			}
		}
		if status, body := d.askHost(t, "GET", "/media/hls/a/master.m3u8", host); status != 200 || body != "#EXTM3U\n" {
			t.Errorf("a playlist of %s: %d, %q; want it, as players go by other names", host, status, body)
		}
	}
}

func TestOurHosts(t *testing.T) {
	own, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	d := start(t)
	for _, host := range []string{"127.0.0.1", "10.0.0.1:8080", "[::1]", "[::1]:8080", "[fe80::1%25eth0]:8080", "localhost", "localhost:8080", "LocalHost.", "nas.local", "NAS.local.:80",
		own, strings.ToUpper(own) + ".:8080", "nas.example.org", "nas.example.org:8080", "NAS.Example.org.", ""} {
		if status, body := d.askHost(t, "GET", "/api/v1/info", host); status != 200 {
			t.Errorf("host %q: %d %s; want 200", host, status, body)
		}
	}
}

// A host name with a domain is known without it, too.
func TestShortHostName(t *testing.T) {
	s := &Server{Names: []string{"Nas.Example.org."}, Log: slog.New(slog.DiscardHandler)}
	for host, want := range map[string]bool{"nas.example.org": true, "nas": false, "example.org": false} {
		if got := s.isOurs(host); got != want {
			t.Errorf("%s is ours: %v; want %v", host, got, want)
		}
	}
}

// Whatever stands in a Host header, it is ours only as a literal address, or by
// one of few names.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"", "[::1]:80", "[", "a.local.", "[fe80::1%eth0]", "1.2.3.4:", "nas.example.org:80"} {
		f.Add(host)
	}
	s := &Server{Names: []string{"nas.example.org"}}
	own, _ := os.Hostname()
	f.Fuzz(func(t *testing.T, host string) {
		name := hostName(host)
		if !s.isOurs(host) || name == "" || strings.EqualFold(name, own) {
			return
		}
		short, _, _ := strings.Cut(strings.ToLower(own), ".")
		if _, err := netip.ParseAddr(name); err != nil && !slices.Contains([]string{"localhost", "nas.example.org", short}, name) && !strings.HasSuffix(name, ".local") {
			t.Errorf("%q is ours, as %q", host, name)
		}
	})
}
