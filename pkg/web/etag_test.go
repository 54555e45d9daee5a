package web

import (
	"net/http"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode"
)

// Who changes settings by a version that is no longer there changes nothing.
func TestIfMatch(t *testing.T) {
	d := startClosed(t)
	b := d.browser(t)
	d.setUp(t, b)
	write(t, filepath.Join(d.media, "a.mp4"), "a video")
	if _, err := d.client.Submit(t.Context(), transcode.Request{Source: "a.mp4"}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := d.client.AddMachine(t.Context(), NewMachine{Name: "desk-pc"}); err != nil {
		t.Fatal(err)
	}
	b.header = http.Header{"If-Match": {`"other"`}} // its root is not there for a change that is permitted
	if status, _ := b.ask("PATCH", "/api/v1/pis/hlspi1", map[string]float64{"weight": 0.5}, nil); status != 412 {
		t.Errorf("PATCH of another version of a board: %d; want 412", status)
	}
	for path, changes := range map[string][2]any{
		"/api/v1/jobs/1":          {map[string]bool{"paused": true}, map[string]string{"priority": "hi"}},
		"/api/v1/workers/desk-pc": {map[string]float64{"weight": 0.5}, map[string][]string{"labels": {"fast"}}},
	} {
		b.header = http.Header{}
		_, answer := b.ask("GET", path, nil, nil)
		first := answer.Header.Get("ETag")
		b.header = http.Header{"If-Match": {`"other", ` + first}}
		status, answer := b.ask("PATCH", path, changes[0], nil)
		if status != 200 || first == "" || answer.Header.Get("ETag") == first {
			t.Errorf("PATCH %s of %s: %d, now %s; want a new version", path, first, status, answer.Header.Get("ETag"))
		}
		if status, _ := b.ask("PATCH", path, changes[1], nil); status != 412 {
			t.Errorf("PATCH %s of an earlier version: %d; want 412", path, status)
		}
		b.header = http.Header{"If-Match": {answer.Header.Get("ETag")}}
		if status, _ := b.ask("PATCH", path, changes[1], nil); status != 200 {
			t.Errorf("PATCH %s of the version that PATCH has answered: %d; want 200", path, status)
		}
	}
}
