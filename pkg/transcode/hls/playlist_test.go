package hls

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"

	"github.com/Eyevinn/hls-m3u8/m3u8"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestPlaylists(t *testing.T) {
	p := testPlan(t)
	results := goodResults(p)
	results["v-180p-0001"].Segments[3].SizeBytes = 200_000
	got, err := Playlists(p, results, Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"180p/index.m3u8", "90p/index.m3u8", "audio/index.m3u8", "master.m3u8"}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, want) {
		t.Errorf("Playlists = %v; want %v", names, want)
	}
	for name, text := range got {
		golden(t, strings.ReplaceAll(name, "/", "-"), text)
	}
}

// golden compares text to a file of testdata.
func golden(t *testing.T, name string, text []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(text)); diff != "" {
		t.Errorf("%s is not as in %s (-want +got; -update writes it):\n%s", name, path, diff)
	}
}

// Where several codecs stand side by side, players learn which rendition looks best.
func TestScores(t *testing.T) {
	of := func(codec transcode.Codec, width, kbps int, videoRange string) transcode.Rendition {
		return transcode.Rendition{Codec: codec, Width: width, Height: 9 * width / 16, BitrateBPS: 1000 * kbps, VideoRange: videoRange}
	}
	for _, tt := range []struct {
		all  []transcode.Rendition
		want []int
	}{
		{[]transcode.Rendition{of("", 1280, 3000, ""), of("", 640, 800, "")}, []int{0, 0}},
		{[]transcode.Rendition{of(transcode.CodecH264, 1280, 3000, ""), of(transcode.CodecH264, 640, 800, ""), of(transcode.CodecAV1, 1280, 1800, ""), of(transcode.CodecAV1, 640, 500, "")}, []int{3, 1, 4, 2}},
		{[]transcode.Rendition{of(transcode.CodecH265, 1280, 1000, "PQ"), of(transcode.CodecH264, 1280, 3000, "")}, []int{2, 1}},
	} {
		var got []int
		for _, r := range tt.all {
			got = append(got, score(tt.all, r))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("scores of %+v are %v; want %v", tt.all, got, tt.want)
		}
	}
}

// What an independent parser reads must be what was meant.
func TestPlaylistsParse(t *testing.T) {
	p := testPlan(t)
	texts, err := Playlists(p, goodResults(p), Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	master := parsePlaylist[*m3u8.MasterPlaylist](t, texts[transcode.MasterName])
	if len(master.Variants) != 2 {
		t.Fatalf("%d variant streams; want 2", len(master.Variants))
	}
	for i, v := range master.Variants {
		r := p.Renditions[i]
		if v.URI != r.Name+"/index.m3u8" || v.Codecs != "avc1.4d400d,mp4a.40.2" || v.Audio != "audio" || v.FrameRate != 23.976 ||
			v.Bandwidth < v.AverageBandwidth || len(v.Alternatives) != 1 {
			t.Errorf("variant stream %d is %+v", i, v.VariantParams)
		}
		media := parsePlaylist[*m3u8.MediaPlaylist](t, texts[v.URI])
		var seconds float64
		for _, s := range media.GetAllSegments() {
			seconds += s.Duration
			if math.Round(s.Duration) > float64(media.TargetDuration) {
				t.Errorf("%s lasts %v s, more than the target of %d", s.URI, s.Duration, media.TargetDuration)
			}
		}
		if want := p.Grid.Seconds(p.Grid.Frames); math.Abs(seconds-want) > 0.001 || !media.Closed || media.MediaType != m3u8.VOD {
			t.Errorf("%s: %v s, closed %v, type %v; want %v s, closed, VOD", v.URI, seconds, media.Closed, media.MediaType, want)
		}
	}
}

func parsePlaylist[P m3u8.Playlist](t *testing.T, text []byte) P {
	t.Helper()
	parsed, _, err := m3u8.Decode(*bytes.NewBuffer(text), true)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, ok := parsed.(P)
	if !ok {
		t.Fatalf("it is a %T\n%s", parsed, text)
	}
	return p
}

func TestPlaylistsWithoutAudio(t *testing.T) {
	probe := film(160, 90, transcode.Rational{Num: 30, Den: 1}, 9.5)
	probe.Audio = nil
	p, err := transcode.NewPlan(transcode.Request{SegmentSeconds: 2}, probe, 0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Playlists(p, goodResults(p), Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "mute-master.m3u8", got[transcode.MasterName])
	golden(t, "mute-90p-index.m3u8", got["90p/index.m3u8"])
}

func TestBitrates(t *testing.T) {
	segments := func(pairs ...float64) []transcode.Segment {
		var s []transcode.Segment
		for i := 0; i < len(pairs); i += 2 {
			s = append(s, transcode.Segment{Seconds: pairs[i], SizeBytes: int64(pairs[i+1])})
		}
		return s
	}
	tests := []struct {
		name          string
		segments      []transcode.Segment
		peak, average int
	}{
		{"even", segments(4, 1000, 4, 1000), 2000, 2000},
		{"one high", segments(4, 1000, 4, 3000, 4, 1000), 6000, 3334},
		{"short tail counts with its neighbour", segments(4, 1000, 1, 1000), 3200, 3200},
		{"only a tail", segments(0.5, 100), 1600, 1600},
	}
	for _, tt := range tests {
		if peak, average := bitrates(tt.segments, 4); peak != tt.peak || average != tt.average {
			t.Errorf("%s: bitrates = %d, %d; want %d, %d", tt.name, peak, average, tt.peak, tt.average)
		}
	}
}

// Bitrates are the same whether they are computed from a segment or from its
// line in a playlist, which has six decimals.
func TestBitratesAsWritten(t *testing.T) {
	for size := range int64(20_000) {
		exact := transcode.Segment{Seconds: transcode.AudioSeconds(94), SizeBytes: 20_000 + size}
		written := exact
		if _, err := fmt.Sscanf(fmt.Sprintf("%.6f", extinf(exact.Seconds)), "%g", &written.Seconds); err != nil {
			t.Fatal(err)
		}
		peak, average := bitrates([]transcode.Segment{exact}, 2)
		wantPeak, wantAverage := bitrates([]transcode.Segment{written}, 2)
		if peak != wantPeak || average != wantAverage {
			t.Fatalf("%d bytes: bitrates = %d, %d; by the playlist %d, %d", exact.SizeBytes, peak, average, wantPeak, wantAverage)
		}
	}
}
