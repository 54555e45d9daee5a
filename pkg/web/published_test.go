package web

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"testing"

	"pibootd/pkg/transcode"
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

// A deleted video is in the trash, players do not get it, and it can be put back. What
// a job reads, or has another video in it, stays.
func TestDeleteMedia(t *testing.T) {
	d := start(t)
	for _, name := range []string{"hls/film/master.m3u8", "hls/film/1.ts", "mp4/a b.mp4", "mp4/c.mp4", "hls/none.txt"} {
		write(t, filepath.Join(d.media, name), "#EXTM3U\n")
	}
	if _, err := d.client.Submit(t.Context(), transcode.Request{Source: "mp4/c.mp4"}, false); err != nil {
		t.Fatal(err)
	}
	_, err := d.client.DeleteMedia(t.Context(), "mp4/c.mp4")
	wantRefused(t, err, 409, "name")
	for _, name := range []string{"hls/none.txt", "hls/film", "hls/film/1.ts"} {
		_, err := d.client.DeleteMedia(t.Context(), name)
		wantRefused(t, err, 404, "name")
	}
	for name, moved := range map[string]string{"hls/film/master.m3u8": "hls/film", "mp4/a b.mp4": "mp4/a b.mp4"} {
		item, err := d.client.DeleteMedia(t.Context(), name)
		if err != nil || item.Path != moved || item.By != ownerName || item.Expires.IsZero() {
			t.Fatalf("DeleteMedia of %s = %+v, %v; want it moved", name, item, err)
		}
		inTrash := "/media/trash/" + item.ID + "/content/" + path.Base(name)
		for _, gone := range []string{"/media/" + name, inTrash, inTrash + "/master.m3u8"} {
			if status, _, _ := d.ask(t, "GET", (&url.URL{Path: gone}).EscapedPath(), "", ""); status != 404 {
				t.Errorf("a player gets %d for %s; want 404", status, gone)
			}
		}
		if all, err := d.client.Trash(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("Trash = %+v, %v; want one item", all, err)
		}
		if _, err := d.client.Restore(t.Context(), item.ID); err != nil {
			t.Error(err)
		}
		d.wantFile(t, name, "#EXTM3U\n")
	}
	item, err := d.client.DeleteMedia(t.Context(), "hls/film/master.m3u8")
	if err == nil {
		_, err = d.client.RemoveTrash(t.Context(), item.ID)
	}
	if err != nil {
		t.Error(err)
	}
	_, err = d.client.Restore(t.Context(), item.ID)
	wantRefused(t, err, 404, "id")
	if all, err := d.client.Media(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("Media = %+v, %v; want the two files", all, err)
	}
}
