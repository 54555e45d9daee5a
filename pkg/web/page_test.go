package web

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ask makes a request over TCP, with the token if it is not "".
func (d daemon) ask(t *testing.T, method, path, token, body string) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), method, "http://"+d.public+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(got)
}

// Whether it was built with the dashboard or not, each view is a page that needs
// nothing from elsewhere, may do nothing but speak to where it comes from, and has no
// script or style that its own rules refuse.
func TestPageKeepsItsRules(t *testing.T) {
	d := start(t)
	for _, view := range []string{"/", "/boards", "/boards/hlspi1", "/jobs/7", "/videos/hls/a/master.m3u8", "/submit", "/setup"} {
		status, header, text := d.ask(t, http.MethodGet, view, "", "")
		if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d, %q; want a page", view, status, header.Get("Content-Type"))
		}
		wantPageRules(t, view, header)
		if found := regexp.MustCompile(`(src|href)="(http|//)| style=|<script>| on[a-z]+="`).FindString(text); found != "" {
			t.Errorf("%s has %q in it", view, found)
		}
	}
	for _, none := range []string{"/assets/none.js", "/docs/none.html", "/docs/../../../web.go", "/docs/%2e%2e/index.html"} {
		if status, _, _ := d.ask(t, http.MethodGet, none, "", ""); status != 404 {
			t.Errorf("%s, which is not there: %d; want 404", none, status)
		}
	}
}

func wantPageRules(t *testing.T, path string, header http.Header) {
	t.Helper()
	if rules := header.Get("Content-Security-Policy"); !strings.HasPrefix(rules, "default-src 'none'; script-src 'self';") || strings.Contains(rules, "unsafe") {
		t.Errorf("%s has the rules %q", path, rules)
	}
	if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Set-Cookie") != "" {
		t.Errorf("%s has the header %v; want nosniff and no cookie", path, header)
	}
}

// Who has the token of uploads can have them transcoded.
func TestJobsWithToken(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "uploads/a.mp4"), "a video")
	for _, tt := range []struct {
		token, body string
		want        int
	}{
		{"", `{"source":"uploads/a.mp4"}`, 401},
		{"x" + uploadTestToken, `{"source":"uploads/a.mp4"}`, 401},
		{uploadTestToken, `{"source":"../pibootd.db"}`, 400},
		{uploadTestToken, `{`, 400},
		{uploadTestToken, `{"source":"uploads/a.mp4","format":"mp4"}`, 200},
	} {
		if status, _, text := d.ask(t, http.MethodPost, "/api/v1/jobs", tt.token, tt.body); status != tt.want {
			t.Errorf("token %q, %s: %d, %s; want %d", tt.token, tt.body, status, text, tt.want)
		}
	}
}

// A client can ask whether an upload would be taken before it sends it.
func TestUploadIsAskedFor(t *testing.T) {
	d := start(t)
	write(t, filepath.Join(d.media, "uploads/a.mp4"), "a video")
	for _, tt := range []struct {
		name, check string
		want        int
	}{
		{"uploads/b.mp4", "1000", 200}, {"uploads/a.mp4", "1000", 409}, {"uploads/b.mp4", "1048577", 413}, {"hls/b.mp4", "1000", 400},
		{"uploads/b.mp4", "0", 400}, {"uploads/b.mp4", "-1", 400}, {"uploads/b.mp4", "9223372036854775807", 413}, {"uploads/b.mp4", "many", 400},
	} {
		if status, _, text := d.ask(t, http.MethodPut, "/api/v1/media/"+tt.name+"?check="+tt.check, uploadTestToken, ""); status != tt.want {
			t.Errorf("%s of %s bytes: %d, %s; want %d", tt.name, tt.check, status, text, tt.want)
		}
	}
	if found, err := filepath.Glob(filepath.Join(d.media, "uploads", "*")); err != nil || len(found) != 1 {
		t.Errorf("after asking there are %q, %v; want nothing new", found, err)
	}
	d.wantNoTemps(t)
}

// A list with nothing in it is a list.
func TestEmptyLists(t *testing.T) {
	d := start(t)
	for _, path := range []string{"/api/v1/jobs", "/api/v1/discovered", "/api/v1/events?after=1000000"} {
		if status, _, text := d.ask(t, http.MethodGet, path, "", ""); status != 200 || text != "[]\n" {
			t.Errorf("%s: %d, %q; want []", path, status, text)
		}
	}
}
