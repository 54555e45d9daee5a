package hls

import (
	"bytes"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"pibootd/pkg/transcode"
)

// tsSegment returns what could be a segment of this size whose first access
// unit is shown at pts.
func tsSegment(pts, sizeBytes int64) []byte {
	segment := make([]byte, sizeBytes)
	copy(segment, []byte{0x47, 0x41, 0x00, 0x10, 0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5,
		0x21 | byte(pts>>30)<<1, byte(pts >> 22), byte(pts>>14) | 1, byte(pts >> 7), byte(pts<<1) | 1})
	return segment
}

// testStream is what the queue would publish of testPlan.
func testStream(t testing.TB, change func(*transcode.Plan)) fstest.MapFS {
	t.Helper()
	p := testPlan(t)
	if change != nil {
		change(&p)
	}
	results := goodResults(p)
	playlists, err := Playlists(p, results, Sealed{})
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for name, text := range playlists {
		files[name] = &fstest.MapFile{Data: text}
	}
	for _, u := range p.Units {
		for _, s := range results[u.ID].Segments {
			size := s.SizeBytes
			if p.Output.Encrypted {
				size = EncryptedSize(size)
			}
			files[path.Join(u.Dir(), s.Name)] = &fstest.MapFile{Data: tsSegment(s.FirstPTS, size)}
		}
	}
	if p.Output.Encrypted {
		files[transcode.KeyName] = &fstest.MapFile{Data: make([]byte, KeyBytes)}
	}
	return files
}

func TestCheck(t *testing.T) {
	if err := Check(testStream(t, nil)); err != nil {
		t.Error(err)
	}
	if err := Check(testStream(t, func(p *transcode.Plan) { p.Output.Encrypted = true })); err != nil {
		t.Errorf("encrypted: %v", err)
	}
	elsewhere := testStream(t, func(p *transcode.Plan) { p.Output.Encrypted, p.Output.KeyURI = true, "https://keys.example/?a=1,2" })
	delete(elsewhere, transcode.KeyName)
	if err := Check(elsewhere); err != nil {
		t.Errorf("key elsewhere: %v", err)
	}
}

func TestCheckRefuses(t *testing.T) {
	replace := func(name, old, text string) func(fstest.MapFS) {
		return func(files fstest.MapFS) {
			data := bytes.Replace(files[name].Data, []byte(old), []byte(text), 1)
			if bytes.Equal(data, files[name].Data) {
				t.Fatalf("%s has no %q", name, old)
			}
			files[name] = &fstest.MapFile{Data: data}
		}
	}
	tests := []struct {
		name  string
		spoil func(fstest.MapFS)
		want  string
	}{
		{"no master", func(f fstest.MapFS) { delete(f, transcode.MasterName) }, "master.m3u8: open master.m3u8: file does not exist"},
		{"not a playlist", replace(transcode.MasterName, "#EXTM3U", "#EXT"), `it begins with "#EXT"; want #EXTM3U`},
		{"no variants", func(f fstest.MapFS) { f[transcode.MasterName].Data = []byte("#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n") }, "0 variant streams"},
		{"bandwidth too low", replace(transcode.MasterName, "BANDWIDTH=", "BANDWIDTH=1,X="), "BANDWIDTH=1; measured are"},
		{"bandwidth too high", replace(transcode.MasterName, "BANDWIDTH=", "BANDWIDTH=9"), "measured are"},
		{"no codecs", replace(transcode.MasterName, "CODECS", "CODEX"), "has no CODECS"},
		{"codecs of video only", replace(transcode.MasterName, ",mp4a.40.2", ""), `CODECS=["avc1.4d400d"]; want avc1, hvc1 or av01, and mp4a with audio`},
		{"H.265 in MPEG-TS", func(f fstest.MapFS) {
			f[transcode.MasterName].Data = bytes.ReplaceAll(f[transcode.MasterName].Data, []byte("avc1."), []byte("hvc1."))
		}, "H.265 or AV1 in MPEG-TS; want CMAF"},
		{"frame rate", replace(transcode.MasterName, "FRAME-RATE=23.976", "FRAME-RATE=300"), "at most 240 frames per second"},
		{"resolution", replace(transcode.MasterName, "RESOLUTION=320x180", "RESOLUTION=big"), "want numbers"},
		{"a score of one", replace(transcode.MasterName, "RESOLUTION=320x180", "SCORE=1.0,RESOLUTION=320x180"), "want it of all or of none"},
		{"no number as a score", replace(transcode.MasterName, "RESOLUTION=320x180", "SCORE=best,RESOLUTION=320x180"), "SCORE=best; want a positive number"},
		{"two codecs without scores", replace(transcode.MasterName, "avc1.4d400d", "av01.0.00M.08"), "want a SCORE of each"},
		{"no group", replace(transcode.MasterName, `AUDIO="audio"`, `AUDIO="other"`), `no EXT-X-MEDIA before it has TYPE=AUDIO and the group "other"`},
		{"a way out", replace(transcode.MasterName, "\n180p/index.m3u8", "\n../180p/index.m3u8"), "want the path of a playlist"},
		{"strange tag", replace(transcode.MasterName, "#EXT-X-INDEPENDENT", "#EXT-X-MAGIC\n#EXT-X-INDEPENDENT"), `"#EXT-X-MAGIC" is not expected there`},
		{"missing playlist", func(f fstest.MapFS) { delete(f, "90p/index.m3u8") }, "90p/index.m3u8: open 90p/index.m3u8"},
		{"missing segment", func(f fstest.MapFS) { delete(f, "90p/00003.ts") }, "open 90p/00003.ts: file does not exist"},
		{"empty segment", func(f fstest.MapFS) { f["90p/00003.ts"] = &fstest.MapFile{} }, "90p/00003.ts is ---------- with 0 bytes"},
		{"no end", replace("90p/index.m3u8", "#EXT-X-ENDLIST\n", ""), "no EXT-X-ENDLIST"},
		{"something behind the end", replace("90p/index.m3u8", "#EXT-X-ENDLIST", "#EXT-X-ENDLIST\n#EXT-X-VERSION:4"), "something follows it"},
		{"live", replace("90p/index.m3u8", "VOD", "LIVE"), `"LIVE"; want VOD`},
		{"numbered from 1", replace("90p/index.m3u8", "SEQUENCE:0", "SEQUENCE:1"), `"1"; want 0`},
		{"old version", replace("90p/index.m3u8", "VERSION:4", "VERSION:3"), "version 3; want at least 4"},
		{"another target", replace("90p/index.m3u8", "TARGETDURATION:5", "TARGETDURATION:6"), "want one for all"},
		{"longer than the target", replace("90p/index.m3u8", "TARGETDURATION:5", "TARGETDURATION:3"), "EXTINF 4.004; want no more than the target duration 3"},
		{"wrong EXTINF", replace("90p/index.m3u8", "4.004000", "3.904000"), "00000.ts: EXTINF 3.904; 00001.ts begins 4.004 s after it"},
		{"no EXTINF", replace("90p/index.m3u8", "#EXTINF:4.004000,\n", ""), `"00000.ts": no EXTINF`},
		{"twice", replace("90p/index.m3u8", "00001.ts", "00000.ts"), `"00000.ts" follows "00000.ts"; want rising names`},
		{"no time stamp", func(f fstest.MapFS) { clear(f["90p/00001.ts"].Data[:8]) }, "00001.ts: no time stamp at its beginning"},
		{"an IV", replace("90p/index.m3u8", "#EXTINF", "#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x1\n#EXTINF"), "no IV"},
		{"a map of nothing", replace("90p/index.m3u8", "#EXTINF", "#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF"), "90p/init.mp4: file does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := testStream(t, nil)
			tt.spoil(files)
			if err := Check(files); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Check = %v\n want %s", err, tt.want)
			}
		})
	}
	uneven := testStream(t, func(p *transcode.Plan) { p.Output.Encrypted = true })
	uneven["90p/index.m3u8"].Data = bytes.Replace(uneven["90p/index.m3u8"].Data, []byte("4.004000"), []byte("4.005000"), 1)
	if err := Check(uneven); err == nil || !strings.Contains(err.Error(), "its segments do not begin when those of") {
		t.Errorf("uneven: Check = %v", err)
	}
	delete(uneven, transcode.KeyName)
	if err := Check(uneven); err == nil || !strings.Contains(err.Error(), transcode.KeyName) {
		t.Errorf("without its key: Check = %v", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, name := range []string{"master.m3u8", "90p-index.m3u8"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), string(text))
	}
	f.Fuzz(func(_ *testing.T, master, media string) {
		files := fstest.MapFS{transcode.MasterName: {Data: []byte(master)}, "audio/index.m3u8": {Data: []byte(media)}, "180p/index.m3u8": {Data: []byte(media)}}
		Check(files) // must come to an end
	})
}
