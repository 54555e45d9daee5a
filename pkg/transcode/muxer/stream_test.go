package muxer

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	goodMedia  = "#EXTM3U\n#EXTINF:5.0,\na.ts\n#EXTINF:2.5,\nb.ts\n#EXT-X-ENDLIST\n"
	goodMaster = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nm.m3u8\n"
)

func stream(files map[string]string) fstest.MapFS {
	ts := "G" + strings.Repeat("x", tsPacket-1)
	dir := fstest.MapFS{}
	for name, text := range map[string]string{"m.m3u8": goodMedia, "a.ts": ts, "b.ts": ts} {
		dir[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, text := range files {
		if dir[name] = (&fstest.MapFile{Data: []byte(text)}); text == "-" {
			delete(dir, name)
		}
	}
	return dir
}

func TestCheckStream(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		entry string
		wrong string
	}{
		"media alone":       {nil, "m.m3u8", ""},
		"master":            {map[string]string{"x.m3u8": goodMaster}, "x.m3u8", ""},
		"carriage returns":  {map[string]string{"m.m3u8": strings.ReplaceAll(goodMedia, "\n", "\r\n")}, "m.m3u8", ""},
		"escaped name":      {map[string]string{"m.m3u8": strings.ReplaceAll(goodMedia, "a.ts", "%61.ts")}, "m.m3u8", ""},
		"two masters":       {map[string]string{"x.m3u8": goodMaster, "y.m3u8": goodMaster}, "", "2 master"},
		"two media":         {map[string]string{"n.m3u8": goodMedia}, "", "2 media"},
		"nothing":           {map[string]string{"m.m3u8": "-"}, "", "0 media"},
		"not ended":         {map[string]string{"m.m3u8": strings.ReplaceAll(goodMedia, "#EXT-X-ENDLIST\n", "")}, "", "EXT-X-ENDLIST"},
		"no segments":       {map[string]string{"m.m3u8": "#EXTM3U\n#EXT-X-ENDLIST\n"}, "", "no segments"},
		"no header":         {map[string]string{"m.m3u8": "hello"}, "", "does not begin"},
		"segment missing":   {map[string]string{"b.ts": "-"}, "", "b.ts"},
		"segment empty":     {map[string]string{"b.ts": ""}, "", "b.ts"},
		"segment cut":       {map[string]string{"b.ts": "Gxx"}, "", "packets"},
		"segment elsewhere": {map[string]string{"m.m3u8": "#EXTM3U\n../../b.ts\n#EXT-X-ENDLIST\n"}, "", "files beside it"},
		"segment by URL":    {map[string]string{"m.m3u8": "#EXTM3U\nhttp://x/b.ts\n#EXT-X-ENDLIST\n"}, "", "files beside it"},
		"escaped slash":     {map[string]string{"m.m3u8": "#EXTM3U\n%2e%2e%2fb.ts\n#EXT-X-ENDLIST\n"}, "", "files beside it"},
		"odd duration":      {map[string]string{"m.m3u8": "#EXTM3U\n#EXTINF:NaN,\na.ts\n#EXT-X-ENDLIST\n"}, "", "EXTINF"},
		"variant missing":   {map[string]string{"x.m3u8": goodMaster + "n.m3u8\n"}, "", "n.m3u8"},
		"master in itself":  {map[string]string{"x.m3u8": goodMaster + "x.m3u8\n"}, "", "a master playlist itself"},
		"unequal lengths":   {map[string]string{"x.m3u8": goodMaster + "n.m3u8\n", "n.m3u8": "#EXTM3U\n#EXTINF:5.0,\na.ts\n#EXT-X-ENDLIST\n"}, "", "long"},
		"endless line":      {map[string]string{"m.m3u8": "#EXTM3U\n" + strings.Repeat("x", maxLine)}, "", "token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			entry, err := checkStream(stream(test.files))
			if entry != test.entry || (err == nil) != (test.wrong == "") {
				t.Fatalf("entry %q, %v; want %q, an error with %q", entry, err, test.entry, test.wrong)
			}
			if err != nil && (!errors.Is(err, errBadStream) || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("error %v; want %v with %q", err, errBadStream, test.wrong)
			}
		})
	}
	pipe := stream(map[string]string{"b.ts": "x"})
	pipe["b.ts"].Mode = fs.ModeNamedPipe
	if _, err := checkStream(pipe); err == nil {
		t.Error("a named pipe passes for a segment")
	}
}

func FuzzPlaylist(f *testing.F) {
	f.Add(goodMedia)
	f.Add(goodMaster)
	f.Fuzz(func(t *testing.T, text string) {
		dir := stream(map[string]string{"m.m3u8": text, "a.ts": "-", "b.ts": "-"})
		if _, err := checkStream(dir); err == nil {
			t.Errorf("%q passes without a segment", text)
		}
	})
}
