package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/access"
)

const testPassword = "the password of this test"

// A browser keeps cookies and sends what browsers send.
type browser struct {
	t      *testing.T
	base   string // http://host:port
	client http.Client
	cookie string // name=value
	csrf   string
	header http.Header // sent with each request
}

func (d daemon) browser(t *testing.T) *browser {
	return &browser{t: t, base: "http://" + d.public, header: http.Header{}}
}

// ask makes a request and parses its answer into v, unless v is nil.
func (b *browser) ask(method, path string, body, v any) (status int, answer *http.Response) {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	if body == nil {
		text = nil
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(b.t.Context()), method, b.base+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, values := range b.header {
		r.Header[name] = values
	}
	if b.cookie != "" {
		r.Header.Set("Cookie", b.cookie)
	}
	if b.csrf != "" {
		r.Header.Set(CSRFHeader, b.csrf)
	}
	answer, err = b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, err = io.ReadAll(answer.Body); err != nil {
		b.t.Fatal(err)
	}
	if v != nil {
		if err := json.Unmarshal(text, v); err != nil {
			b.t.Fatalf("%s %s: %d, %q: %v", method, path, answer.StatusCode, text, err)
		}
	}
	for _, cookie := range answer.Cookies() {
		b.cookie = cookie.Name + "=" + cookie.Value
	}
	return answer.StatusCode, answer
}

// setUp makes the admin's password by a set-up link, and logs b in.
func (d daemon) setUp(t *testing.T, b *browser) {
	t.Helper()
	link, err := d.client.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var session Session
	if status, _ := b.ask("POST", "/api/v1/setup", Credential{Code: link.Code, Password: testPassword}, &session); status != 200 || session.CSRF == "" {
		t.Fatalf("setup: %d, %+v", status, session)
	}
	b.csrf = session.CSRF
}

// The first user makes the password by a link, once; a session then does what the
// admin may, until it is ended.
func TestSession(t *testing.T) {
	d := startClosed(t)
	b := d.browser(t)
	var no NoSession
	if status, _ := b.ask("GET", "/api/v1/session", nil, &no); status != 401 || !no.Setup || !no.Login || no.Error == "" {
		t.Errorf("before the set-up: %d, %+v; want it to be possible", status, no)
	}
	link, err := d.client.SetupLink(t.Context())
	if err != nil || !strings.HasPrefix(link.URL, "http://10.9.0.1:8080/setup#") || !strings.HasSuffix(link.URL, link.Code) {
		t.Fatalf("SetupLink = %+v, %v", link, err)
	}
	if status, _ := b.ask("POST", "/api/v1/setup", Credential{Code: "wrong", Password: testPassword}, nil); status != 400 {
		t.Errorf("a wrong code: %d; want 400", status)
	}
	var session Session
	status, answer := b.ask("POST", "/api/v1/setup", Credential{Code: link.Code, Password: testPassword}, &session)
	if status != 200 || session.User != "admin" || session.Scope != access.Admin || session.CSRF == "" {
		t.Fatalf("setup: %d, %+v", status, session)
	}
	cookie := answer.Cookies()[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Secure || cookie.Expires.IsZero() {
		t.Errorf("the cookie is %s", cookie)
	}
	if status, _ := d.browser(t).ask("POST", "/api/v1/setup", Credential{Code: link.Code, Password: "another password"}, nil); status != 400 {
		t.Errorf("the code again: %d; want 400", status)
	}
	if status, _ := b.ask("PUT", "/api/v1/pis/hlspi1/drain", nil, nil); status != 403 {
		t.Errorf("a change without the CSRF token: %d; want 403", status)
	}
	b.csrf = session.CSRF
	if status, _ := b.ask("PUT", "/api/v1/pis/hlspi1/drain", nil, nil); status != 200 {
		t.Errorf("a change: %d; want 200", status)
	}
	var again Session
	if status, _ := b.ask("GET", "/api/v1/session", nil, &again); status != 200 || again != session {
		t.Errorf("the session: %d, %+v; want %+v", status, again, session)
	}

	other := d.browser(t)
	if status, _ := other.ask("POST", "/api/v1/session", Credential{Password: "not the password"}, nil); status != 401 || other.cookie != "" {
		t.Errorf("a wrong password: %d, %q; want 401", status, other.cookie)
	}
	if status, _ := other.ask("POST", "/api/v1/session", Credential{Password: testPassword}, &again); status != 200 || again.CSRF == session.CSRF {
		t.Errorf("a second login: %d, %+v; want a CSRF token of its own", status, again)
	}
	old := b.cookie
	if status, answer := b.ask("DELETE", "/api/v1/session", nil, nil); status != 204 || answer.Cookies()[0].Value != "" {
		t.Errorf("logout: %d, %v", status, answer.Cookies())
	}
	b.cookie = old
	if status, _ := b.ask("GET", "/api/v1/jobs", nil, nil); status != 401 {
		t.Errorf("jobs after the logout: %d; want 401", status)
	}
	if status, _ := other.ask("GET", "/api/v1/jobs", nil, nil); status != 200 {
		t.Errorf("jobs of the other session: %d; want 200", status)
	}
}

// A stream ends soon after the login that it was opened by.
func TestStreamsEndWithTheirLogin(t *testing.T) {
	d := startWith(t, func(s *Server, _ *Listeners) { s.Public.Read, s.loginEvery = false, 10*time.Millisecond })
	b := d.browser(t)
	d.setUp(t, b)
	for _, path := range []string{"/api/v1/live", "/api/v1/events?follow=true"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", b.cookie)
		stream, err := b.client.Do(r)
		if err != nil || stream.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v, %v", path, stream, err)
		}
		defer stream.Body.Close()
		if status, _ := b.ask("DELETE", "/api/v1/session", nil, nil); status != http.StatusNoContent {
			t.Fatalf("logout: %d", status)
		}
		if _, err := io.Copy(io.Discard, stream.Body); err != nil {
			t.Errorf("%s ends with %v; want it ended as streams are", path, err)
		}
		b.csrf = ""
		d.setUp(t, b)
	}
}

// No page of another site uses a login: not by a cookie that a browser sends along,
// and not by logging its victim in.
func TestOtherOriginsHaveNoSession(t *testing.T) {
	d := startClosed(t)
	b := d.browser(t)
	d.setUp(t, b)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"} {
		b.header = http.Header{name: {value}}
		for _, tt := range [][2]string{{"GET", "/api/v1/jobs"}, {"PUT", "/api/v1/pis/hlspi1/drain"}, {"DELETE", "/api/v1/session"}, {"POST", "/api/v1/session"}, {"POST", "/api/v1/setup"}} {
			if status, answer := b.ask(tt[0], tt[1], Credential{Password: testPassword}, nil); status != 403 || len(answer.Cookies()) != 0 {
				t.Errorf("%s %s with %s: %s is answered %d; want 403", tt[0], tt[1], name, value, status)
			}
		}
	}
	for name, value := range map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": b.base} {
		b.header = http.Header{name: {value}}
		if status, _ := b.ask("GET", "/api/v1/jobs", nil, nil); status != 200 {
			t.Errorf("with %s: %s: %d; want 200", name, value, status)
		}
	}
}

// A password goes over plain HTTP only on this machine, unless the configuration
// says otherwise.
func TestPasswordsArePrivate(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		d := startWith(t, func(s *Server, l *Listeners) {
			s.Public, s.Info.TLSPort = Public{Media: true, InsecureLogin: insecure}, 8443
			l.Public = elsewhere{l.Public}
		})
		b := d.browser(t)
		var no NoSession
		if status, _ := b.ask("GET", "/api/v1/session", nil, &no); status != 401 || no.Login != insecure || (no.HTTPS == "https://10.9.0.1:8443/") == insecure {
			t.Errorf("insecure_login = %v: %d, %+v", insecure, status, no)
		}
		link, err := d.client.SetupLink(t.Context())
		if err != nil || !strings.HasPrefix(link.URL, "https://10.9.0.1:8443/setup#") {
			t.Fatalf("SetupLink = %+v, %v", link, err)
		}
		want := map[bool]int{false: 403, true: 200}[insecure]
		if status, _ := b.ask("POST", "/api/v1/setup", Credential{Code: link.Code, Password: testPassword}, nil); status != want {
			t.Errorf("insecure_login = %v: set-up is answered %d; want %d", insecure, status, want)
		}
		if status, _ := b.ask("POST", "/api/v1/session", Credential{Password: testPassword}, nil); status != want {
			t.Errorf("insecure_login = %v: a login is answered %d; want %d", insecure, status, want)
		}
		for _, scope := range []access.Scope{access.Read, access.Submit, access.Admin} {
			added, err := d.client.AddToken(t.Context(), NewToken{Name: "t-" + string(scope), Scope: scope})
			if err != nil {
				t.Fatal(err)
			}
			want := map[bool]int{false: 200, true: 403}[scope == access.Admin && !insecure]
			if status, _, _ := d.ask(t, "GET", "/api/v1/jobs", added.Secret, ""); status != want {
				t.Errorf("insecure_login = %v: a token of scope %s is answered %d; want %d", insecure, scope, status, want)
			}
		}
	}
}

// The TLS port is the same as the other, with a cookie that stays on it.
func TestTLS(t *testing.T) {
	d := startClosed(t)
	b := &browser{t: t, base: "https://" + d.secure, header: http.Header{}}
	b.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer b.client.CloseIdleConnections()
	link, err := d.client.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	status, answer := b.ask("POST", "/api/v1/setup", Credential{Code: link.Code, Password: testPassword}, nil)
	if status != 200 || answer.ProtoMajor != 2 {
		t.Fatalf("setup: %d over HTTP/%d", status, answer.ProtoMajor)
	}
	if cookie := answer.Cookies()[0]; !cookie.Secure || cookie.Name != "__Host-pibootd" || !cookie.HttpOnly {
		t.Errorf("the cookie is %s", cookie)
	}
	if status, _ := b.ask("GET", "/api/v1/jobs", nil, nil); status != 200 {
		t.Errorf("jobs: %d; want 200", status)
	}
	plain := d.browser(t)
	plain.cookie = b.cookie
	if status, _ := plain.ask("GET", "/api/v1/jobs", nil, nil); status != 401 {
		t.Errorf("jobs by the secure cookie over plain HTTP: %d; want 401", status)
	}
}

// Whoever guesses is answered 429 soon.
func TestGuessing(t *testing.T) {
	d := startClosed(t)
	d.setUp(t, d.browser(t))
	b, last := d.browser(t), 0
	for range 7 {
		last, _ = b.ask("POST", "/api/v1/setup", Credential{Code: "a guess", Password: testPassword}, nil)
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the seventh guess is answered %d; want 429", last)
	}
}

// Each change is in the audit log: who did what, from where, and with what result.
// No secret is.
func TestAudit(t *testing.T) {
	d := startClosed(t)
	b := d.browser(t)
	d.setUp(t, b)
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	added, err := d.client.AddToken(t.Context(), NewToken{Name: "cms", Scope: access.Submit})
	if err != nil {
		t.Fatal(err)
	}
	if status, _, text := d.ask(t, "POST", "/api/v1/jobs?force=true", added.Secret, `{"source":"a.mp4"}`); status != 200 {
		t.Fatalf("POST: %d, %s", status, text)
	}
	if status, _ := b.ask("PATCH", "/api/v1/jobs/1", map[string]bool{"paused": true}, nil); status != 200 {
		t.Fatalf("PATCH: %d", status)
	}
	if status, _, _ := d.ask(t, "DELETE", "/api/v1/jobs/1", added.Secret, ""); status != 403 {
		t.Fatalf("DELETE by a token of scope submit: %d; want 403", status)
	}
	if status, _, _ := d.ask(t, "DELETE", "/api/v1/jobs/1", "", ""); status != 401 {
		t.Fatalf("DELETE by nobody: %d; want 401", status)
	}
	if status, _ := d.browser(t).ask("POST", "/api/v1/session", Credential{Password: "not the password"}, nil); status != 401 {
		t.Fatalf("a wrong password: %d; want 401", status)
	}
	changes, err := get[[]access.Change](t.Context(), d.client, "/api/v1/audit")
	if err != nil {
		t.Fatal(err)
	}
	want := []access.Change{ // the newest first
		{Who: "", Addr: "127.0.0.1", Method: "POST", Path: "/api/v1/session", Status: 401},
		{Who: "cms", Addr: "127.0.0.1", Method: "DELETE", Path: "/api/v1/jobs/1", Status: 403},
		{Who: "admin", Addr: "127.0.0.1", Method: "PATCH", Path: "/api/v1/jobs/1", Status: 200, Detail: `{"paused":true}`},
		{Who: "cms", Addr: "127.0.0.1", Method: "POST", Path: "/api/v1/jobs?force=true", Status: 200, Detail: `{"source":"a.mp4"}`},
		{Who: "socket", Method: "POST", Path: "/api/v1/tokens", Status: 200, Detail: `{"name":"cms","scope":"submit"}`},
		{Who: "", Addr: "127.0.0.1", Method: "POST", Path: "/api/v1/setup", Status: 200},
		{Who: "socket", Method: "POST", Path: "/api/v1/setup-link", Status: 200},
	}
	for i, c := range changes {
		c.ID, c.At = 0, want[0].At
		if i >= len(want) || c != want[i] {
			t.Errorf("entry %d is %+v", i, c)
		}
	}
	if len(changes) != len(want) {
		t.Errorf("%d entries; want %d", len(changes), len(want))
	}
}

// The admin sees which browsers are logged in, and logs one out.
func TestLogins(t *testing.T) {
	d := start(t)
	b := d.browser(t)
	d.setUp(t, b)
	var all []Login
	if status, _ := b.ask("GET", "/api/v1/sessions", nil, &all); status != 200 || len(all) != 1 || !all[0].Own || all[0].Addr != "127.0.0.1" {
		t.Fatalf("sessions: %d, %+v; want the own one", status, all)
	}
	if status, _ := b.ask("DELETE", "/api/v1/sessions/"+all[0].ID, nil, nil); status != 204 {
		t.Errorf("DELETE of the session: %d; want 204", status)
	}
	if status, _ := b.ask("GET", "/api/v1/sessions", nil, nil); status != 401 {
		t.Errorf("after it was ended: %d; want 401", status)
	}
}
