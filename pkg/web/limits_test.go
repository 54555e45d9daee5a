package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pibootd/pkg/access"
	"pibootd/pkg/store"
)

// Followers of events are bounded for each address; those of others, and of the
// control socket, are not shut out.
func TestFollowersAreBounded(t *testing.T) {
	d := start(t)
	follow := func(from byte) int {
		conn := d.dialFrom(t, from)
		if _, err := io.WriteString(conn, "GET /api/v1/events?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return readStatus(t, conn)
	}
	for i := range maxOwnFollow {
		if got := follow(1); got != 200 {
			t.Fatalf("follower %d: %d; want 200", i+1, got)
		}
	}
	status, _, text := d.ask(t, http.MethodGet, "/api/v1/events?follow=true", "", "")
	if status != 503 || !strings.Contains(text, "16 streams of events of 127.0.0.1") {
		t.Errorf("one more: %d %s; want 503 in words", status, text)
	}
	if got := follow(2); got != 200 {
		t.Errorf("of another address: %d; want 200", got)
	}
	for _, err := range d.client.Follow(t.Context(), "", 0) {
		if err != nil {
			t.Errorf("on the control socket: %v", err)
		}
		break
	}
}

func TestSlots(t *testing.T) {
	s := newSlots("things", 3, 2)
	take := func(key string, want string) (release func()) {
		t.Helper()
		release, err := s.take(key)
		if fmt.Sprint(err) != want {
			t.Errorf("take(%s) = %v; want %s", key, err, want)
		}
		return release
	}
	first := take("a", "<nil>")
	take("a", "<nil>")
	take("a", "2 things of a are under way already, the most for one; try again later")
	take("b", "<nil>")
	take("c", "3 things are under way already, the most there may be; try again later")
	first()
	take("c", "<nil>")
	if len(s.taken) != 3 {
		t.Errorf("%v are taken; want one of each", s.taken)
	}
}

// An address that holds many connections gets no more, and loses one to a
// newcomer where there are too many in all.
func TestConnectionsAreBounded(t *testing.T) {
	limits := newConns(8, 4)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = limits.note
	server.Start()
	t.Cleanup(server.Close)
	d := daemon{public: server.Listener.Addr().String()}
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	served := func(from byte) (conn net.Conn, status int) {
		conn = d.dialFrom(t, from)
		_, _ = io.WriteString(conn, request) // one that is refused may be closed
		return conn, readStatus(t, conn)
	}
	var held []net.Conn
	for i := range 8 {
		conn, status := served(byte(1 + i/4))
		if held = append(held, conn); status != 200 {
			t.Fatalf("connection %d: %d; want 200", i+1, status)
		}
	}
	if _, status := served(1); status != 503 {
		t.Errorf("a fifth of one address: %d; want 503", status)
	}
	if _, status := served(3); status != 200 {
		t.Errorf("one of another address: %d; want 200", status)
	}
	lost := 0
	for _, conn := range held {
		_, writeErr := io.WriteString(conn, request)
		if _, err := conn.Read(make([]byte, 1)); err != nil || writeErr != nil {
			lost++
		}
	}
	if lost != 1 {
		t.Errorf("%d of those who held most were dropped; want one", lost)
	}
	for _, conn := range held {
		conn.Close()
	}
	server.Close()
	if limits.open != 0 || len(limits.of) != 0 {
		t.Errorf("%d connections are counted, of %v; want none", limits.open, limits.of)
	}
}

// The daemon itself counts connections.
func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	d := start(t)
	for range maxOwnConns {
		d.dialFrom(t, 2)
	}
	last := d.dialFrom(t, 2)
	if got := readStatus(t, last); got != 503 {
		t.Errorf("one connection more than %d: %d; want 503", maxOwnConns, got)
	}
	if status, _, _ := d.ask(t, http.MethodGet, "/api/v1/info", "", ""); status != 200 {
		t.Errorf("another address: %d; want 200", status)
	}
}

// A pipeListener is a listener whose connections have deadlines of a test's own
// time.
type pipeListener chan net.Conn

func (l pipeListener) Accept() (net.Conn, error) {
	conn, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// serveInBubble serves one connection of the public door, on which talk speaks,
// in a time of its own.
func serveInBubble(t *testing.T, media string, talk func(conn net.Conn, in *bufio.Reader)) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "pibootd.db")) // outside, as its goroutines are
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{live: newLive(), Access: access.New(db, time.Hour), Public: Public{Media: true}, Info: Info{MediaDir: media}, UploadToken: []byte(uploadTestToken), MaxUpload: uploadTestMax, Log: slog.New(slog.DiscardHandler)}
		server := s.newServer(context.Background(), s.publicHandler())
		listener := make(pipeListener, 1)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		ours, theirs := net.Pipe()
		defer func() {
			ours.Close()
			close(listener)
			<-served
			server.Close()
		}()
		listener <- theirs
		talk(ours, bufio.NewReader(ours))
	})
}

func say(t *testing.T, conn net.Conn, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, format, args...); err != nil {
		t.Fatal(err)
	}
}

// Connections on which nothing comes are ended, whatever they wait for.
func TestSilentConnectionsEnd(t *testing.T) {
	auth := "Authorization: Bearer " + uploadTestToken + "\r\n"
	for what, tt := range map[string]struct {
		request string
		want    int
	}{
		"nothing":              {"", 0},
		"half a header":        {"GET /settings HTTP/1.1\r\nHost:", 0},
		"idle":                 {"GET /settings HTTP/1.1\r\nHost: localhost\r\n\r\n", 200},
		"a job's half":         {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 100\r\n\r\n{", 408},
		"a body nobody wants":  {"GET /settings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", 200},
		"a stranger's job":     {"POST /api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", 401},
		"an upload that stops": {"PUT /api/v1/media/a.mp4 HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Length: 100\r\n\r\na", 408},
	} {
		serveInBubble(t, t.TempDir(), func(conn net.Conn, in *bufio.Reader) {
			say(t, conn, "%s", tt.request)
			status := 0
			if response, err := http.ReadResponse(in, nil); err == nil {
				status = response.StatusCode
				_, _ = io.Copy(io.Discard, response.Body)
			}
			if _, err := in.ReadByte(); status != tt.want || err != io.EOF {
				t.Errorf("%s: answered %d, then %v; want %d, then the end", what, status, err, tt.want)
			}
		})
	}
}

// A player that pauses gets the rest, also on a connection that had an answer
// with a deadline before.
func TestPausedPlayer(t *testing.T) {
	media := t.TempDir()
	film := strings.Repeat("a film ", 1<<18)
	if err := os.WriteFile(filepath.Join(media, "a.mp4"), []byte(film), 0o644); err != nil {
		t.Fatal(err)
	}
	serveInBubble(t, media, func(conn net.Conn, in *bufio.Reader) {
		for _, path := range []string{"/api/v1/nothing", "/media/a.mp4"} {
			say(t, conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
			response, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if strings.HasPrefix(path, "/media/") {
				<-time.After(time.Hour) // of the bubble
			}
			text, err := io.ReadAll(response.Body)
			if err != nil || path == "/media/a.mp4" && string(text) != film {
				t.Errorf("%s: %d bytes, %v; want all %d", path, len(text), err, len(film))
			}
		}
	})
}
