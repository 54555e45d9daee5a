package worker

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// AV1 is cut where the other codecs are, also at the end, whose segment is longer: by
// itself, and beside them in one master playlist.
func TestAV1(t *testing.T) {
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=192x128:r=30:d=3.1 "+sound+x264+"-c:a aac")
	for _, tt := range []struct {
		codec  transcode.Codec
		more   []transcode.Codec
		chunk  int
		codecs []string
	}{
		{transcode.CodecAV1, nil, 0, []string{`av01\.0\.\d\dM\.08`}},
		{transcode.CodecH264, []transcode.Codec{transcode.CodecAV1, transcode.CodecH265}, 0, []string{`avc1\.4d400b`, `av01\.0\.\d\dM\.08`, `hvc1\.1\.6\.L\d+\.\S+`}},
	} {
		t.Run(fmt.Sprint(tt.codec, tt.more), func(t *testing.T) {
			t.Parallel()
			output := transcode.Output{Codec: tt.codec, MoreCodecs: tt.more, Rungs: []transcode.Rung{{Lines: 128}}}
			j := transcodeAll(t, source, transcode.Request{SegmentSeconds: 1, Output: output}, tt.chunk)
			j.verify()
			var codecs []string
			for _, u := range j.plan.Units {
				if u.Video != nil && !slices.Contains(codecs, j.results[u.ID].Codecs) {
					codecs = append(codecs, j.results[u.ID].Codecs)
				}
			}
			if len(codecs) != len(tt.codecs) {
				t.Fatalf("codecs %q; want %q", codecs, tt.codecs)
			}
			for i, pattern := range tt.codecs {
				if !regexp.MustCompile("^" + pattern + "$").MatchString(codecs[i]) {
					t.Errorf("codec %s; want %s", codecs[i], pattern)
				}
			}
		})
	}
}

// Units of AV1 together have the bitrate that was asked for: each begins with more than its
// share.
func TestAV1Bitrate(t *testing.T) {
	t.Parallel()
	const seconds, asked = 24, 200_000
	source := makeSource(t, "a.mkv", fmt.Sprintf("-f lavfi -i testsrc2=s=160x90:r=25:d=%d,noise=alls=12:allf=t -pix_fmt yuv420p ", seconds)+x264+"-crf 14")
	output := transcode.Output{Codec: transcode.CodecAV1, Rungs: []transcode.Rung{{Lines: 90, BitrateBPS: asked}}, NoPictures: true}
	j := transcodeAll(t, source, transcode.Request{Output: output}, 2)
	var bytes int64
	for _, r := range j.results {
		for _, s := range r.Segments {
			bytes += s.SizeBytes
		}
	}
	if got := float64(bytes) * 8 / seconds; got < 0.95*asked || got > 1.05*asked {
		t.Errorf("%.0f b/s in %d units; want %d within a twentieth", got, len(j.plan.Units), asked)
	}
}
