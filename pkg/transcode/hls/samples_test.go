package hls

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"pibootd/pkg/transcode/mediafile"
)

// samplesStream is a stream of one segment with encrypted samples.
func samplesStream(t *testing.T) fstest.MapFS {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile("../mediafile/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	key, err := mediafile.NewSampleKey([]byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	init, p, err := mediafile.ProtectInit(read("video-init.mp4"), key)
	if err != nil {
		t.Fatal(err)
	}
	var segment bytes.Buffer
	if err := p.Protect(&segment, bytes.NewReader(read("video.m4s")), key); err != nil {
		t.Fatal(err)
	}
	bits := segment.Len() * 8
	master := fmt.Sprintf("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,"+
		"CODECS=\"avc1.4d400a\",RESOLUTION=32x32,FRAME-RATE=30.000\nv/index.m3u8\n", bits, bits)
	media := fmt.Sprintf("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n"+
		"#EXT-X-MAP:URI=\"init.mp4\"\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"../stream.key\",IV=0x%X,KEYFORMAT=\"identity\"\n#EXTINF:1.000000,\n00000.m4s\n#EXT-X-ENDLIST\n", key.IV)
	return fstest.MapFS{
		"master.m3u8": {Data: []byte(master)}, "v/index.m3u8": {Data: []byte(media)}, "stream.key": {Data: key.Key[:]},
		"v/init.mp4": {Data: init}, "v/00000.m4s": {Data: segment.Bytes()}, "v/plain.mp4": {Data: read("video-init.mp4")},
	}
}

func TestCheckSamples(t *testing.T) {
	if err := Check(samplesStream(t)); err != nil {
		t.Error(err)
	}
	const list = "v/index.m3u8"
	for _, tt := range []struct{ old, text, want string }{
		{`,KEYFORMAT="identity"`, "", "want AES-128 with a URI and no IV, or SAMPLE-AES"},
		{`IV=0x`, `IV=0x1`, "in the playlist 0x1"},
		{`METHOD=SAMPLE-AES`, `METHOD=AES-128`, "want AES-128 with a URI and no IV"},
		{"#EXT-X-MAP:URI=\"init.mp4\"\n", "", "or SAMPLE-AES with a URI, an IV and"},
		{"init.mp4", "plain.mp4", "samples are encrypted: false, in the playlist: true; want the same"},
		{"../stream.key", "../other.key", ""},
		{"#EXT-X-KEY", "#EXT-X-MAGIC", "EXT-X-MAGIC: it is not expected there"},
	} {
		files := samplesStream(t)
		text := strings.Replace(string(files[list].Data), tt.old, tt.text, 1)
		files[list] = &fstest.MapFile{Data: []byte(text)}
		if err := Check(files); (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s for %s: Check = %v; want %s", tt.text, tt.old, err, tt.want)
		}
	}
	files := samplesStream(t)
	bare := bytes.ReplaceAll(files[list].Data, []byte("#EXT-X-KEY"), []byte("#EXT-X-VERSION:7\n#EXT-X-KEY"))
	lines := strings.Split(string(bare), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#EXT-X-KEY") {
			lines[i] = ""
		}
	}
	files[list] = &fstest.MapFile{Data: []byte(strings.Join(lines, "\n"))}
	if err := Check(files); err == nil || !strings.Contains(err.Error(), "samples are encrypted: true, in the playlist: false") {
		t.Errorf("without a key: Check = %v", err)
	}
}
