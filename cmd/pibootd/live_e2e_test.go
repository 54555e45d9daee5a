//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

// An encoder sends a live stream with its key, and hls.js in a browser plays that meanwhile,
// part by part, to its end. Who comes late, and plays whole segments, reaches the same end.
func TestLiveStreamInABrowser(t *testing.T) {
	const seconds = 14
	l := newLab(t)
	config := filepath.Join(t.TempDir(), "pibootd.toml")
	putText(t, config, "[http]\npublic = \"read\"\n[live]\nrtmp_port = 1935\n")
	l.serve(t, "--config", config)
	l.startWorker(t)
	film := filepath.Join(t.TempDir(), "film.mp4")
	makeTracks(t, film, filepath.Join(t.TempDir(), "sound.mp3"), fmt.Sprint(seconds))
	page := l.openPage(t, l.servePage(t, playerPage(t)))
	page.WaitFor("window.Hls")
	live := decode[queue.Live](t, l, "live", "add", "show", "--listen", "--rung", "180", "--rung", "90")
	key := decode[web.StreamKey](t, l, "live", "key", "show")
	encoder := l.startProgram(t, "ffmpeg", "-v", "error", "-nostdin", "-re", "-i", film, "-map", "0:v:0", "-map", "0:a:0", "-c", "copy", "-f", "flv", key.RTMP+"/"+key.Key)
	start := "startLive(" + fmt.Sprintf("%q", "http://10.77.0.1:8080"+live.URL) + ", %v)"
	wantStarted(t, page, fmt.Sprintf(start, true))
	<-encoder.ended
	waitUntil(t, "not all that was received is encoded", func() bool {
		streams, err := l.client.Streams(t.Context())
		return err == nil && len(streams) == 1 && streams[0].Encoder == "" && streams[0].BehindSeconds == 0
	})
	l.pibootd(t, "live", "stop", "show")
	wantPlayedLive(t, page.Text("endLive()"), true)
	wantStarted(t, page, fmt.Sprintf(start, false))
	wantPlayedLive(t, page.Text("endLive()"), false)
}

// wantPlayedLive makes sure that a live stream was played to its end, by its parts or not.
func wantPlayedLive(t *testing.T, result string, parts bool) {
	t.Helper()
	var played struct {
		playedLevel
		Parts int `json:"parts"`
	}
	if err := json.Unmarshal([]byte(result), &played); err != nil {
		t.Fatal(err)
	}
	if played.Error != "" || !played.Ended || math.Abs(played.At-played.Duration) > 0.2 || played.Frames == 0 || played.AudioBytes == 0 {
		t.Errorf("parts %v: %+v; want it played to its end", parts, played)
	}
	if got := played.Parts > 0; got != parts {
		t.Errorf("%d parts were loaded; want some: %v", played.Parts, parts)
	}
}
