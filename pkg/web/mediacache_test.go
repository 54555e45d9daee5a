package web

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A playlist that grows is read anew each time, also twice within the second that Last-Modified
// has: a player that got the answer that nothing has changed would wait for ever for the end of what
// was written in the same second. Browsers do not guess either how long they may keep it.
func TestGrowingPlaylistIsReadAnew(t *testing.T) {
	t.Parallel()
	d := start(t)
	name, written := filepath.Join(d.media, "hls", "film", "index.m3u8"), time.Now().Add(-time.Hour).Truncate(time.Second)
	put := func(text string, after time.Duration) {
		t.Helper()
		write(t, name+".new", text)
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, written.Add(after), written.Add(after)); err != nil {
			t.Fatal(err)
		}
	}
	put("#EXTM3U\n", 0)
	first := d.reads(t, "/media/hls/film/index.m3u8", nil)
	if got := first.Header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("Cache-Control: %q; want no-cache", got)
	}
	again := http.Header{"If-Modified-Since": first.Header["Last-Modified"], "If-None-Match": first.Header["Etag"]}
	if r := d.reads(t, "/media/hls/film/index.m3u8", again); r.StatusCode != http.StatusNotModified {
		t.Errorf("the same playlist is answered %d; want 304", r.StatusCode)
	}
	const longer = "#EXTM3U\n#EXT-X-ENDLIST\n"
	put(longer, time.Millisecond)
	if r := d.reads(t, "/media/hls/film/index.m3u8", again); r.StatusCode != http.StatusOK || r.ContentLength != int64(len(longer)) {
		t.Errorf("a longer playlist of the same second is answered %d, %d bytes; want 200 and all of it", r.StatusCode, r.ContentLength)
	}
}

// reads requests a file as a browser does that has an earlier answer, and returns the new one.
func (d daemon) reads(t *testing.T, path string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+d.public+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response
}
