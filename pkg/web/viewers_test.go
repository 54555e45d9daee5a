package web

import (
	"fmt"
	"net/http/httptest"
	"testing"
	"time"
)

// Players count while they wait for an answer and for some time after it, each once.
func TestViewers(t *testing.T) {
	var v viewers
	request := func(stream, addr, agent string) (end func()) {
		r := httptest.NewRequest("GET", "/live/x/180p/index.m3u8", nil)
		r.RemoteAddr = addr + ":1000"
		r.Header.Set("User-Agent", agent)
		return v.begin(stream, r)
	}
	want := func(stream string, later time.Duration, want int) {
		t.Helper()
		if got := v.count(stream, time.Now().Add(later)); got != want {
			t.Errorf("%d watch %s after %v; want %d", got, stream, later, want)
		}
	}
	want("show", 0, 0)
	waits := request("show", "192.0.2.1", "vlc")
	request("show", "192.0.2.1", "vlc")()
	request("show", "192.0.2.1", "firefox")()
	request("show", "192.0.2.2", "vlc")()
	request("yard", "192.0.2.2", "vlc")()
	want("show", 0, 3)
	want("yard", 0, 1)
	want("show", 2*viewerStays, 1) // it waits still
	waits()
	want("show", 0, 1)
	want("show", 2*viewerStays, 0)
	for i := range maxViewers + 10 {
		request("yard", "192.0.2.3", fmt.Sprint(i))()
	}
	want("yard", 0, maxViewers)
	want("yard", 2*viewerStays, 0)
	if len(v.stream) > 0 {
		t.Errorf("%d streams are remembered; want none", len(v.stream))
	}
}
