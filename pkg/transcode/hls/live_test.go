package hls

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// liveList is a playlist of this many parts of a second, four a segment, from a part on.
// Another session begins with each seventh segment.
func liveList(from, parts int) LivePlaylist {
	p := LivePlaylist{Target: 4, PartTarget: 1}
	for n := from; n < parts; n++ {
		number := n / 4
		if len(p.Segments) == 0 || p.Segments[len(p.Segments)-1].Number != number {
			p.Segments = append(p.Segments, LiveSegment{
				Number: number, Session: number / 7, Map: fmt.Sprintf("init-%d.mp4", number/7), URI: fmt.Sprintf("%d.m4s", number), Time: time.Unix(int64(n), 0).UTC(), Open: true,
			})
		}
		s := &p.Segments[len(p.Segments)-1]
		s.Parts = append(s.Parts, LivePart{URI: fmt.Sprintf("%d.%d.m4s", number, n%4), Seconds: 1})
		s.Open = n%4 < 3
		p.Hint = fmt.Sprintf("%d.%d.m4s", (n+1)/4, (n+1)%4)
	}
	p.Discontinuities = p.Segments[0].Session
	return p
}

// What a playlist is made of is what a strict player reads of it, apart from the parts of
// old segments, which are not listed.
func TestLivePlaylistIsRead(t *testing.T) {
	for parts := 1; parts < 40; parts++ {
		want := liveList(0, parts)
		got, err := CheckLive(want.Text())
		if err != nil {
			t.Fatalf("%d parts: %v\n%s", parts, err, want.Text())
		}
		for i := range got.Segments {
			if s := &got.Segments[i]; len(s.Parts) == 1 && s.Parts[0].URI == "" {
				s.Parts = want.Segments[i].Parts
			}
			if got.Segments[i].Open {
				got.Segments[i].URI = want.Segments[i].URI
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%d parts are read as\n%+v; want\n%+v", parts, got, want)
		}
	}
}

// While parts are added and segments leave the window, no player sees anything change: the
// discontinuity sequence counts what has left (RFC 8216bis §4.4.3.3).
func TestLivePlaylistGoesOn(t *testing.T) {
	var before LivePlaylist
	for parts := 1; parts < 120; parts++ {
		list := liveList(0, parts)
		list.Trim(time.Unix(int64(parts)-30, 0))
		got, err := CheckLive(list.Text())
		if err != nil {
			t.Fatalf("%d parts: %v\n%s", parts, err, list.Text())
		}
		if parts > 1 {
			if err := CheckLiveUpdate(before, got); err != nil {
				t.Fatalf("%d parts: %v\n%s", parts, err, list.Text())
			}
		}
		if seconds := window(got); parts > 40 && (seconds < 30 || seconds > 30+2*4) {
			t.Errorf("%d parts: %v s are listed; want 30 and up to two segments more", parts, seconds)
		}
		before = got
	}
	if before.Discontinuities == 0 || before.Segments[0].Number == 0 {
		t.Errorf("the playlist still begins with segment %d behind %d discontinuities; want some to have left", before.Segments[0].Number, before.Discontinuities)
	}
}

func window(p LivePlaylist) float64 {
	sum := 0.0
	for _, s := range p.Segments {
		sum += s.Seconds()
	}
	return sum
}

// A player that waits is not misled.
func TestLivePlaylistThatIsWrong(t *testing.T) {
	good := string(liveList(0, 31).Text())
	ended := liveList(0, 31)
	ended.Ended, ended.Hint = true, ""
	ended.Segments[len(ended.Segments)-1].Open = false
	if _, err := CheckLive(ended.Text()); err != nil {
		t.Errorf("a playlist that has ended: %v", err)
	}
	for name, change := range map[string][2]string{
		"long part":       {"DURATION=1.000000", "DURATION=1.100000"},
		"short part":      {"#EXT-X-PART:DURATION=1.000000,URI=\"5.1", "#EXT-X-PART:DURATION=0.500000,URI=\"5.1"},
		"no map":          {"#EXT-X-MAP:URI=\"init-0.mp4\"\n", ""},
		"long segment":    {"#EXTINF:4.000000", "#EXTINF:4.600000"},
		"other sum":       {"#EXTINF:4.000000,\n5.m4s", "#EXTINF:3.900000,\n5.m4s"},
		"no time":         {"#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:00.000Z\n", ""},
		"no hint":         {"#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"7.3.m4s\"\n", ""},
		"no blocking":     {"CAN-BLOCK-RELOAD=YES", "CAN-BLOCK-RELOAD=NO"},
		"small hold back": {"PART-HOLD-BACK=3.000", "PART-HOLD-BACK=1.500"},
		"another version": {"VERSION:9", "VERSION:3"},
		"no first line":   {"#EXTM3U\n", ""},
		"unknown tag":     {"#EXTINF", "#EXT-X-GUP\n#EXTINF"},
		"no sequence":     {"#EXT-X-MEDIA-SEQUENCE:0\n", ""},
		"goes on":         {"#EXT-X-PRELOAD-HINT", "#EXT-X-ENDLIST\n#EXT-X-PRELOAD-HINT"},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if text == good {
			t.Fatalf("%s: the playlist has no %q\n%s", name, change[0], good)
		}
		if _, err := CheckLive([]byte(text)); err == nil {
			t.Errorf("%s: it is accepted\n%s", name, text)
		}
	}
}

// What was announced stays: a segment that changes, disappears or comes back is noticed.
func TestLivePlaylistThatChanges(t *testing.T) {
	for name, change := range map[string]func(*LivePlaylist){
		"another duration":  func(p *LivePlaylist) { p.Segments[2].Parts[0].Seconds = 0.9 },
		"another name":      func(p *LivePlaylist) { p.Segments[2].URI = "x.m4s" },
		"a discontinuity":   func(p *LivePlaylist) { p.Segments[2].Session++ },
		"fewer parts":       func(p *LivePlaylist) { s := &p.Segments[len(p.Segments)-1]; s.Parts = s.Parts[:1] },
		"fewer segments":    func(p *LivePlaylist) { p.Segments = p.Segments[:len(p.Segments)-1] },
		"an earlier one":    func(p *LivePlaylist) { p.Segments = slices.Insert(p.Segments, 0, LiveSegment{Number: 0}) },
		"another target":    func(p *LivePlaylist) { p.Target++ },
		"another beginning": func(p *LivePlaylist) { p.Segments[2].Time = p.Segments[2].Time.Add(time.Second) },
	} {
		before, after := liveList(4, 31), liveList(4, 31)
		if err := CheckLiveUpdate(before, after); err != nil {
			t.Fatalf("the same: %v", err)
		}
		if change(&after); CheckLiveUpdate(before, after) == nil {
			t.Errorf("%s is not noticed", name)
		}
	}
}

func FuzzCheckLive(f *testing.F) {
	f.Add(string(liveList(0, 31).Text()))
	f.Add(string(liveList(24, 60).Text()))
	f.Add("#EXTM3U\n#EXT-X-PART:DURATION=1,URI=\"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := CheckLive([]byte(text))
		if err != nil {
			return
		}
		if err := CheckLiveUpdate(list, list); err != nil {
			t.Errorf("it cannot follow itself: %v", err)
		}
	})
}
