package mediafile

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const someText = "WEBVTT - of a test\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\nNOTE nothing\n\nSTYLE\n::cue {}\n\n" +
	"1\n00:01.500 --> 00:03.000 align:left\nfirst <i>line</i>\nsecond\n\n01:00:00.000 --> 01:00:01.250\r\nan hour\r\n"

func TestReadWebVTT(t *testing.T) {
	track, err := ReadWebVTT(strings.NewReader(someText))
	if err != nil {
		t.Fatal(err)
	}
	const want = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n00:00:01.500 --> 00:00:03.000 align:left\nfirst <i>line</i>\nsecond\n\n" +
		"01:00:00.000 --> 01:00:01.250\nan hour\n"
	if got := string(track.WebVTT()); got != want {
		t.Errorf("read and written %q; want %q", got, want)
	}
	for _, tt := range []struct {
		start, end time.Duration
		want       int
	}{{0, 1500 * time.Millisecond, 0}, {0, 2 * time.Second, 1}, {2 * time.Second, time.Minute, 1}, {3 * time.Second, time.Minute, 0}, {0, 2 * time.Hour, 2}} {
		if got := len(track.Between(tt.start, tt.end)); got != tt.want {
			t.Errorf("%d cues from %v to %v; want %d", got, tt.start, tt.end, tt.want)
		}
	}
}

func TestReadWebVTTRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "it is empty",
		"WEBVTTX\n":                           "want WEBVTT",
		"WEBVTT\n\n00:00.000 -->\nx":          "has no end",
		"WEBVTT\n\n00:00.00 --> 00:01.000\nx": `time "00:00.00"`,
		"WEBVTT\n\n00:00.000 --> 99999999:00:00.000":   `time "99999999:00:00.000"`,
		"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:-1\n":          "want 0 to 2^33",
		"WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:01.000\n": "want 00:00:00.000",
		"WEBVTT\n" + strings.Repeat("x", 100_000):      "token too long",
	} {
		if _, err := ReadWebVTT(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReadWebVTT(%.40q) = %v; want %s", text, err, want)
		}
	}
}

func FuzzReadWebVTT(f *testing.F) {
	f.Add([]byte(someText))
	f.Fuzz(func(t *testing.T, data []byte) {
		track, err := ReadWebVTT(bytes.NewReader(data))
		if err != nil {
			return
		}
		again, err := ReadWebVTT(bytes.NewReader(track.WebVTT()))
		if err != nil || !bytes.Equal(again.WebVTT(), track.WebVTT()) {
			t.Errorf("%q becomes %q, %v", track.WebVTT(), again.WebVTT(), err)
		}
	})
}
