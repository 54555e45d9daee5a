//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode/queue"
)

// hls.js in a browser plays a live stream while it is sent, part by part, to its end. Who
// comes late, and plays whole segments, reaches the same end.
func TestLiveStreamInABrowser(t *testing.T) {
	const seconds = 14
	l := newLab(t)
	config := filepath.Join(t.TempDir(), "pibootd.toml")
	putText(t, config, "[http]\npublic = \"read\"\n")
	l.serve(t, "--config", config)
	l.startWorker(t)
	film := filepath.Join(t.TempDir(), "film.mp4")
	makeTracks(t, film, filepath.Join(t.TempDir(), "sound.mp3"), fmt.Sprint(seconds))
	page := l.openPage(t, l.servePage(t, playerPage(t)))
	page.WaitFor("window.Hls")
	live := decode[queue.Live](t, l, "live", "add", "show", film, "--rung", "180", "--rung", "90")
	for _, parts := range []bool{true, false} {
		var played struct {
			playedLevel
			Parts int `json:"parts"`
		}
		if err := json.Unmarshal([]byte(page.Text(fmt.Sprintf("playLive(%q, %v)", "http://10.77.0.1:8080"+live.URL, parts))), &played); err != nil {
			t.Fatal(err)
		}
		if played.Error != "" || !played.Ended || math.Abs(played.At-played.Duration) > 0.2 || played.Frames == 0 || played.AudioBytes == 0 {
			t.Errorf("parts %v: %+v; want it played to its end", parts, played)
		}
		if got := played.Parts > 0; got != parts {
			t.Errorf("%d parts were loaded; want some: %v", played.Parts, parts)
		}
	}
}
