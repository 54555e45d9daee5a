package web

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What is published is described by its playlists; what only looks like it is not
// listed.
func TestPublished(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "hls/a film [1]/main.m3u8"), `#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Deutsch, 5.1",URI="de/media.m3u8"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="b",NAME="Deutsch, 5.1",URI="de2/media.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="English",URI="en/media.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2500000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,AUDIO="a"
720p/media.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=800000
360p/media.m3u8
`)
	write(t, filepath.Join(dir, "hls/a film [1]/720p/media.m3u8"), "#EXTM3U\n#EXTINF:4.0,\n0.ts\n#EXTINF:2.5,\n1.ts\n")
	write(t, filepath.Join(dir, "hls/a film [1]/poster.jpg"), "a picture")
	write(t, filepath.Join(dir, "mkv/b.mkv"), "a video")
	write(t, filepath.Join(dir, "own/c/master.m3u8"), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n../../.work/1/secret.m3u8\n")
	write(t, filepath.Join(dir, "hls/.hidden/master.m3u8"), "#EXTM3U\n")
	write(t, filepath.Join(dir, "hls/empty/notes.txt"), "none")
	write(t, filepath.Join(dir, "mp4/.part.mp4"), "not whole")
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "mp4/link.mp4")); err != nil {
		t.Fatal(err)
	}
	p := publisher{dir: dir}
	for range 2 { // the second time it is known
		found, err := p.list([]string{"own/c/master.m3u8", "hls/gone/master.m3u8"})
		if err != nil || len(found) != 3 {
			t.Fatalf("list = %+v, %v; want three", found, err)
		}
		byPath := map[string]Published{}
		for _, one := range found {
			byPath[one.Path] = one
		}
		film := byPath["hls/a film [1]/main.m3u8"]
		if film.Bytes == 0 || film.Modified.IsZero() {
			t.Errorf("%+v has no size or time", film)
		}
		film.Bytes, film.Modified = 0, byPath["none"].Modified
		want := Published{
			Path: "hls/a film [1]/main.m3u8", Name: "a film [1]", Kind: "hls", Seconds: 6.5, Poster: "hls/a film [1]/poster.jpg",
			Renditions: []Rendition{{Width: 1280, Height: 720, BPS: 2500000, Codecs: "avc1.64001f,mp4a.40.2"}, {BPS: 800000}},
			Audio:      []string{"Deutsch, 5.1"}, Subtitles: []string{"English"},
		}
		if !reflect.DeepEqual(film, want) {
			t.Errorf("got %+v\nwant %+v", film, want)
		}
		if file := byPath["mkv/b.mkv"]; file.Kind != "mkv" || file.Name != "b" || file.Bytes != 7 {
			t.Errorf("got %+v; want the file b", file)
		}
		if own := byPath["own/c/master.m3u8"]; own.Seconds != 0 || own.Name != "c" {
			t.Errorf("got %+v; want a stream whose playlist is not looked for outside it", own)
		}
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(`BANDWIDTH=1,CODECS="a,b",RESOLUTION=1x2`)
	f.Add(`A="b`)
	f.Add(`,=,"`)
	f.Fuzz(func(t *testing.T, list string) {
		for name := range attributes(list) {
			if len(name) > len(list) {
				t.Errorf("%q has the attribute %q", list, name)
			}
		}
	})
}
