package worker

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/mediafile"
	"pibootd/pkg/transcode/queue"
)

// Streams with encrypted samples decode to what those without encryption have: by ffmpeg
// with each of their keys, and by its HLS reader where there is one key. They are made by
// one unit and by several, also while they are published, of each codec that can be
// encrypted so.
func TestSampleAES(t *testing.T) {
	t.Parallel()
	c := newShortCluster(t, 2, 4)
	c.provide("a.mp4", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=160x90:r=5:d=9 -f lavfi -i sine=440:d=9 "+x264+"-c:a aac"))
	alike := []string{"-threads", "1"} // else the encoder does not make the same twice
	one := []transcode.Rung{{Lines: 90, BitrateBPS: 400_000}}
	for name, o := range map[string]transcode.Output{
		"one-key": {Rungs: one, Audio: "opus"},
		"rotated": {Progressive: true, Rungs: append(one, transcode.Rung{Lines: 72}), Naming: transcode.Naming{KeyEvery: 2, SegmentDir: "parts", SegmentName: "s"}},
		"hevc":    {Rungs: []transcode.Rung{{Lines: 90, BitrateBPS: 20_000_000}}, CRF: 30, Codec: transcode.CodecH265, Audio: "ac3", Naming: transcode.Naming{KeyEvery: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			o.NoPictures, o.Options = true, alike
			clear := o
			clear.Container, clear.KeyEvery = transcode.ContainerCMAF, 0
			plain := c.publish(t, name+"-plain", clear)
			o.Encrypted, o.SampleAES = true, true
			sealed := c.publish(t, name, o)
			lists, err := filepath.Glob(filepath.Join(sealed, o.SegmentDir, "*", transcode.MediaName))
			if err != nil || len(lists) < 2 {
				t.Fatalf("%q, %v; want playlists of video and audio", lists, err)
			}
			for _, list := range lists {
				rel, err := filepath.Rel(sealed, filepath.Dir(list))
				if err != nil {
					t.Fatal(err)
				}
				c.comparePlain(t, filepath.Join(plain, rel), filepath.Join(sealed, rel), o)
			}
			if o.KeyEvery == 0 {
				master := transcode.MasterName
				if diff := difference(decoded(t, filepath.Join(sealed, master)), decoded(t, filepath.Join(plain, master))); diff != "" {
					t.Errorf("ffmpeg's HLS reader: %s", diff)
				}
			}
		})
	}
}

// publish has a stream made of a.mp4, and returns its directory.
func (c *cluster) publish(t *testing.T, name string, o transcode.Output) string {
	t.Helper()
	job := c.do(transcode.Request{Source: "a.mp4", Name: name, SegmentSeconds: 1, Output: o})
	if job.State != queue.Done {
		t.Fatalf("%s: job is %s: %s %q; want it done", name, job.State, job.Reason, job.Stderr)
	}
	return filepath.Join(c.media, filepath.Dir(job.Output))
}

// comparePlain has ffmpeg decrypt the segments of each key of a rendition.
func (c *cluster) comparePlain(t *testing.T, plain, sealed string, o transcode.Output) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(sealed, "*.m4s"))
	if err != nil || len(segments) < 8 {
		t.Fatalf("%d segments, %v; want more", len(segments), err)
	}
	slices.Sort(segments)
	master := filepath.Dir(filepath.Dir(sealed))
	if o.SegmentDir == "" {
		master = filepath.Dir(sealed)
	}
	for first := 0; first < len(segments); {
		end := first + 1
		for end < len(segments) && o.Key(end) == o.Key(first) {
			end++
		}
		key, err := os.ReadFile(filepath.Join(master, o.Key(first)))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, s := range segments[first:end] {
			names = append(names, filepath.Base(s))
		}
		got := decoded(t, joined(t, sealed, names), "-decryption_key", hex.EncodeToString(key))
		if diff := difference(got, decoded(t, joined(t, plain, names))); diff != "" {
			t.Errorf("%s: from segment %d on: %s", path.Base(sealed), first, diff)
		}
		first = end
	}
	for _, name := range segments {
		clear, err := os.ReadFile(filepath.Join(plain, filepath.Base(name)))
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(name)
		if _, media, _ := bytes.Cut(clear, []byte("mdat")); err != nil || len(media) >= mediafile.AESBytes && bytes.Contains(data, media) {
			t.Errorf("%s: %v; want its samples encrypted", name, err)
		}
	}
}

// difference returns the first line in which two texts differ; "" if there is none.
func difference(got, want string) string {
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i, line := range wantLines {
		if i >= len(gotLines) || gotLines[i] != line {
			return fmt.Sprintf("line %d of %d is %q; want %q of %d", i, len(gotLines), slices.Concat(gotLines, make([]string, len(wantLines)))[i], line, len(wantLines))
		}
	}
	return ""
}

// joined returns a file of the initialization section of a directory and segments of it.
func joined(t *testing.T, dir string, segments []string) string {
	t.Helper()
	var all []byte
	for _, name := range append([]string{transcode.InitName}, segments...) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	file := filepath.Join(t.TempDir(), "joined.mp4")
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// decoded returns the hashes of the frames that ffmpeg decodes, or what it says.
func decoded(t *testing.T, file string, options ...string) string {
	t.Helper()
	args := append([]string{"-v", "error", "-allowed_extensions", "ALL"}, options...)
	if !strings.HasSuffix(file, ".m3u8") {
		// Of a file in which it can seek, ffmpeg 5.1 looks for the keys of the wrong fragment.
		args = append([]string{"-v", "quiet", "-seekable", "0"}, options...)
	}
	return ffmpegRun(t, "", "ffmpeg", append(args, "-i", file, "-f", "framehash", "-hash", "md5", "-")...)
}
