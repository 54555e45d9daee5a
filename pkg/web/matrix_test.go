package web

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/access"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/muxer"
	"pibootd/pkg/transcode/queue"
)

// needed is the scope that each request needs while http.public is "media", by the
// part of a pattern that routes are grouped by. This is the decision;
// TestAuthorization shows that the server does what it says.
var needed = map[access.Scope][]string{
	access.Nobody: {
		"GET /api/v1/session", "POST /api/v1/session", "DELETE /api/v1/session", "POST /api/v1/setup", "GET /api/v1/openapi.json", "OPTIONS /api/v1/uploads",
		"GET /", "GET /login", "GET /setup", "GET /page.js", "GET /media/none.mp4", "GET /metrics", "GET /worker/v1/program/none",
	},
	access.Read: {
		"GET /api/v1/info", "GET /api/v1/live", "GET /api/v1/events", "GET /api/v1/pis", "GET /api/v1/pis/{ref}", "GET /api/v1/pis/{ref}/kept", "GET /api/v1/discovered",
		"GET /api/v1/templates", "GET /api/v1/templates/{ref}", "GET /api/v1/media", "GET /api/v1/trash", "GET /api/v1/operations", "GET /api/v1/operations/{id}",
		"GET /api/v1/workers", "GET /api/v1/workers/{ref}", "GET /api/v1/jobs", "GET /api/v1/jobs/{id}", "GET /api/v1/jobs/{id}/watch", "GET /api/v1/streams", "GET /api/v1/streams/{name}",
	},
	access.Submit: {
		"POST /api/v1/jobs", "PUT /api/v1/media/{name...}", "GET /api/v1/files",
		"GET /api/v1/uploads", "POST /api/v1/uploads", "HEAD /api/v1/uploads/{id}", "PATCH /api/v1/uploads/{id}", "DELETE /api/v1/uploads/{id}",
	},
	access.Admin: {
		"GET /api/v1/tokens", "POST /api/v1/tokens", "DELETE /api/v1/tokens/{name}", "GET /api/v1/audit", "GET /api/v1/sessions", "DELETE /api/v1/sessions/{id}", "GET /api/v1/config", "GET /api/v1/doctor", "GET /api/v1/logs",
		"POST /api/v1/pis", "PATCH /api/v1/pis/{ref}", "DELETE /api/v1/pis/{ref}", "POST /api/v1/pis/{ref}/root", "GET /api/v1/pis/{ref}/drift", "GET /api/v1/pis/{ref}/report",
		"DELETE /api/v1/pis/{ref}/kept/{name}", "PUT /api/v1/pis/{ref}/drain", "DELETE /api/v1/pis/{ref}/drain",
		"POST /api/v1/templates", "DELETE /api/v1/templates/{ref}", "DELETE /api/v1/operations/{id}",
		"DELETE /api/v1/media/{name...}", "POST /api/v1/trash/{id}/restore", "DELETE /api/v1/trash/{id}",
		"POST /api/v1/workers", "PATCH /api/v1/workers/{ref}", "DELETE /api/v1/workers/{ref}",
		"PATCH /api/v1/jobs/{id}", "DELETE /api/v1/jobs/{id}", "POST /api/v1/jobs/{id}/retry", "POST /api/v1/streams", "DELETE /api/v1/streams/{name}", "GET /api/v1/streams/{name}/key", "POST /api/v1/streams/{name}/key",
	},
}

// socketOnly are the requests that the ports do not have.
var socketOnly = []string{"POST /api/v1/setup-link"}

// The doors of workers and muxers have logins of their own.
const (
	workersDoor = "GET " + transcode.PathShare
	muxersDoor  = "POST /muxer/1"
)

// example returns a request of a pattern about things that do not exist, so that
// nothing changes if it is permitted.
func example(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	path = strings.Replace(path, "/doctor", "/doctor?board=nobody", 1)
	return method, strings.NewReplacer("{ref}", "nobody", "{id}", "99", "{name...}", "hls/none", "{name}", "none").Replace(path)
}

// A role is somebody who makes requests.
type role struct {
	name   string
	scope  access.Scope
	header http.Header
	other  bool // a page of another origin makes them
}

// denied returns the status by which a role is refused what needs scope; 0: it is
// not.
func (r role) denied(scope access.Scope) int {
	switch {
	case r.other:
		return 403
	case r.scope.Includes(scope):
		return 0
	case r.scope == access.Nobody:
		return 401
	}
	return 403
}

// roles are those of the matrix. A muxer is known by its address.
func (d daemon) roles(t *testing.T) []role {
	t.Helper()
	b := d.browser(t)
	d.setUp(t, b)
	cookie := http.Header{"Cookie": {b.cookie}, CSRFHeader: {b.csrf}}
	fromOther := cookie.Clone()
	fromOther.Set("Origin", "https://evil.example")
	noCSRF := http.Header{"Cookie": {b.cookie}}
	worker := &http.Request{Header: http.Header{}}
	worker.SetBasicAuth("pc1", "worker's")
	roles := []role{
		{name: "nobody"},
		{name: "a stale session", header: http.Header{"Cookie": {plainCookie + "=none"}}},
		{name: "a wrong token", header: http.Header{"Authorization": {"Bearer none"}}},
		{name: "worker", header: worker.Header},
		{name: "the upload token", scope: access.Submit, header: http.Header{"Authorization": {"Bearer " + uploadTestToken}}},
		{name: "session", scope: access.Admin, header: cookie},
		{name: "session of another origin", scope: access.Admin, header: fromOther, other: true},
		{name: "session without CSRF", scope: access.Admin, header: noCSRF},
	}
	for _, scope := range []access.Scope{access.Read, access.Submit, access.Admin} {
		added, err := d.client.AddToken(t.Context(), NewToken{Name: "the-" + string(scope), Scope: scope})
		if err != nil {
			t.Fatal(err)
		}
		roles = append(roles, role{name: "token " + string(scope), scope: scope, header: http.Header{"Authorization": {"Bearer " + added.Secret}}})
	}
	return roles
}

// startDoors starts a server that serves a worker and muxers, too.
func startDoors(t *testing.T, public Public, muxers netip.Addr) daemon {
	return startWith(t, func(s *Server, _ *Listeners) {
		jobs := s.Queue.(*queue.Queue)
		s.Public = public
		s.Share = (&ShareProxy{Queue: jobs, MediaDir: s.Info.MediaDir, Authenticate: func(worker, token string) bool { return worker == "pc1" && token == "worker's" }, Log: s.Log}).Routes()
		s.Muxers = (&muxer.Handler{Queue: jobs, MediaDir: s.Info.MediaDir, Allowed: []netip.Addr{muxers}, Log: s.Log}).Routes()
	})
}

func (d daemon) statusOf(t *testing.T, r role, method, path string) int {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+d.public+path, strings.NewReader("?"))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range r.header {
		request.Header[name] = values
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "text/event-stream" { // which has no end
		_, _ = io.CopyN(io.Discard, response.Body, 1<<16) // so that the connection can be used again
	}
	return response.StatusCode
}

// Everybody may do what needs no more than their scope, and nothing else: every
// route with every role.
func TestAuthorization(t *testing.T) {
	d := startDoors(t, Public{Media: true, Metrics: true, Program: true}, netip.MustParseAddr("127.0.0.9"))
	roles := d.roles(t)
	for scope, patterns := range needed {
		for _, pattern := range patterns {
			for _, r := range roles {
				d.wantPermitted(t, r, pattern, scope)
			}
		}
	}
	for _, pattern := range socketOnly {
		for _, r := range roles {
			method, path := example(pattern)
			if status := d.statusOf(t, r, method, path); status != 404 {
				t.Errorf("%s by %s is answered %d; want 404", pattern, r.name, status)
			}
		}
	}
	for _, r := range roles {
		want := 401
		if r.name == "worker" {
			want = 200
		}
		if status := d.statusOf(t, r, "GET", transcode.PathShare); status != want {
			t.Errorf("%s by %s is answered %d; want %d", workersDoor, r.name, status, want)
		}
		if status := d.statusOf(t, r, "POST", "/muxer/1"); status != 403 {
			t.Errorf("%s by %s is answered %d; want 403", muxersDoor, r.name, status)
		}
	}
}

// wantPermitted makes sure that a role may make a request, or that it is refused as
// it should be.
func (d daemon) wantPermitted(t *testing.T, r role, pattern string, scope access.Scope) {
	t.Helper()
	if pattern == "DELETE /api/v1/session" && r.name == "session" {
		return // TestSession ends one
	}
	method, path := example(pattern)
	status := d.statusOf(t, r, method, path)
	want := r.denied(scope)
	session := strings.HasSuffix(path, "/session") || strings.HasSuffix(path, "/setup") && method == "POST"
	switch {
	case session:
		d.wantSession(t, r, method, path, status)
		return
	case scope == access.Nobody:
		want = 0
	case r.name == "session without CSRF" && !isSafe(method):
		want = 403
	}
	if refused := status == 401 || status == 403; refused != (want != 0) || refused && status != want {
		t.Errorf("%s by %s is answered %d; want %d (0: permitted)", pattern, r.name, status, want)
	}
}

// wantSession checks the requests that are for those who are not logged in.
func (d daemon) wantSession(t *testing.T, r role, method, path string, status int) {
	t.Helper()
	hasToken := r.header.Get("Authorization") != ""
	want := 0
	switch {
	case hasToken && r.scope == access.Nobody, method == "GET" && r.scope == access.Nobody:
		want = 401
	case r.other:
		want = 403
	case method == "POST":
		want = 400 // the body is no JSON
	case method == "DELETE" && r.name == "session without CSRF":
		want = 403
	case method == "DELETE":
		want = 401 // there is none
	default:
		want = 200
	}
	if status != want {
		t.Errorf("%s %s by %s is answered %d; want %d", method, path, r.name, status, want)
	}
}

// Muxers are known by their address, and have no other door.
func TestAuthorizationOfMuxers(t *testing.T) {
	d := startDoors(t, Public{Media: true}, netip.MustParseAddr("127.0.0.1"))
	nobody := role{name: "muxer"}
	if status := d.statusOf(t, nobody, "POST", "/muxer/1"); status == 401 || status == 403 || status >= 500 {
		t.Errorf("a muxer at its own door is answered %d", status)
	}
	for scope, patterns := range needed {
		for _, pattern := range patterns {
			if scope != access.Nobody {
				d.wantPermitted(t, nobody, pattern, scope)
			}
		}
	}
}

// The settings of what is public open and close what they name.
func TestAuthorizationOfPublic(t *testing.T) {
	probes := []string{"GET /media/none.mp4", "GET /api/v1/jobs", "GET /metrics", "GET /worker/v1/program/none", "POST /api/v1/jobs", "GET /api/v1/tokens"}
	for _, tt := range []struct {
		public Public
		open   []string
	}{
		{Public{}, nil},
		{Public{Media: true}, probes[:1]},
		{Public{Media: true, Read: true}, probes[:4]},
		{Public{Metrics: true}, probes[2:3]},
		{Public{Program: true}, probes[3:4]},
	} {
		d := startDoors(t, tt.public, netip.MustParseAddr("127.0.0.9"))
		for _, pattern := range probes {
			method, path := example(pattern)
			status := d.statusOf(t, role{}, method, path)
			if open := status != 401; open != slices.Contains(tt.open, pattern) {
				t.Errorf("%+v: %s by nobody is answered %d", tt.public, pattern, status)
			}
		}
	}
}

// Every route is in the matrix, with the scope that the table of routes has.
func TestEveryRouteIsAuthorized(t *testing.T) {
	scopes := map[string]access.Scope{}
	for scope, patterns := range needed {
		for _, pattern := range patterns {
			scopes[pattern] = scope
		}
	}
	for _, r := range new(Server).routes(nil) {
		scope, ok := scopes[r.pattern]
		if ok == r.socket || r.socket != slices.Contains(socketOnly, r.pattern) {
			t.Errorf("%s is in the matrix: %v; it is on the control socket alone: %v", r.pattern, ok, r.socket)
		}
		if ok && scope != r.scope {
			t.Errorf("%s needs %q; want %q", r.pattern, r.scope, scope)
		}
	}
}
