package web

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

// Who asks for what is not encoded yet gets an answer in the end, and cannot ask for more
// than a few things at once.
func TestSeekIsBounded(t *testing.T) {
	t.Parallel()
	d := startWith(t, func(s *Server, _ *Listeners) { s.seekWait = 10 * time.Millisecond })
	patient := startWith(t, func(s *Server, _ *Listeners) { s.seekWait = time.Hour })
	for _, d := range []daemon{d, patient} {
		write(t, filepath.Join(d.media, "a.mp4"), "no video")
		for _, name := range []string{"grows", "whole"} {
			r := transcode.Request{Source: "a.mp4", Name: name, Output: transcode.Output{Progressive: name == "grows"}}
			if _, err := d.client.Submit(t.Context(), r, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	jobs, err := d.client.Jobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		path := fmt.Sprintf("/stream/%d/", job.ID)
		status, header, text := d.ask(t, "GET", path+"seek.m3u8", "", "")
		if job.Request.Name == "grows" && (status != http.StatusServiceUnavailable || header.Get("Retry-After") == "") {
			t.Errorf("what is not there yet is answered %d, %v: %s; want 503 with Retry-After", status, header, text)
		}
		if job.Request.Name == "whole" && status != http.StatusNotFound {
			t.Errorf("a job that is not progressive is answered %d; want 404", status)
		}
	}
	for _, path := range []string{"/stream/99/seek.m3u8", "/stream/x/seek.m3u8", "/stream/1", "/stream/"} {
		if status, _, _ := d.ask(t, "GET", path, "", ""); status != http.StatusNotFound {
			t.Errorf("%s is answered %d; want 404", path, status)
		}
	}
	patient.wantSeeksBounded(t)
}

// wantSeeksBounded has one client wait for as much as it may, and then for more.
func (d daemon) wantSeeksBounded(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan int)
	ask := func() {
		status := 0 // none, because the client went away
		r, err := http.NewRequestWithContext(ctx, "GET", "http://"+d.public+"/stream/1/seek.m3u8", nil)
		if err == nil {
			if response, err := http.DefaultClient.Do(r); err == nil {
				status = response.StatusCode
				_ = response.Body.Close()
			}
		}
		answers <- status
	}
	for range maxOwnSeeks + 1 {
		go ask()
	}
	if status := <-answers; status != http.StatusServiceUnavailable {
		t.Errorf("one request too many is answered %d; want 503", status)
	}
	cancel()
	for range maxOwnSeeks {
		if status := <-answers; status != 0 {
			t.Errorf("a request that waits is answered %d; want it to wait", status)
		}
	}
}

// Streams that are being made are for those who may watch what is published.
func TestSeekNeedsALogin(t *testing.T) {
	t.Parallel()
	d := startWith(t, func(s *Server, _ *Listeners) { s.Public.Media, s.Public.Read = false, false })
	if status, _, _ := d.ask(t, "GET", "/stream/1/seek.m3u8", "", ""); status != http.StatusUnauthorized {
		t.Errorf("without a login: %d; want 401", status)
	}
}
