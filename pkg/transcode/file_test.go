package transcode

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// filePlan is of 65 s of film that become an MP4 file.
func filePlan(t testing.TB, o Output) Plan {
	t.Helper()
	return halved(t, Request{Source: "in/film.mkv", Output: o}, source(320, 180, Rational{24000, 1001}, 65))
}

// withInit gives a result the initialization section that CMAF has.
func withInit(r Result) Result {
	r.Init = &Segment{Name: InitName, SizeBytes: 800, SHA256: testSum}
	return r
}

func TestJoin(t *testing.T) {
	p := filePlan(t, Output{Format: FormatMP4, Options: []string{"-metadata", "title=A film"}})
	results, dirs := map[string]Result{}, map[string]string{}
	for _, u := range p.Units {
		results[u.ID], dirs[u.ID] = withInit(goodResult(u, 1000)), ".work/1/"+u.ID+".1"
	}
	u, err := Join(p, results, dirs)
	if err != nil {
		t.Fatal(err)
	}
	wantVideo := []Part{{Dir: ".work/1/v-180p-0000.1", End: 8}, {Dir: ".work/1/v-180p-0001.1", First: 8, End: 16}}
	wantAudio := []Part{{Dir: ".work/1/audio.1", End: 17}}
	if j := u.Join; u.Kind != KindJoin || !slices.Equal(j.Video, wantVideo) || !slices.Equal(j.Audio, wantAudio) ||
		!slices.Equal(j.Options, []string{"-metadata", "title=A film"}) || j.Seconds != 65 {
		t.Errorf("Join = %+v; want %v and %v", j, wantVideo, wantAudio)
	}
	// What the source says of itself is kept unless the options do not want it.
	p.Tags, p.Chapters = map[string]string{"title": "Film"}, []Chapter{{Title: "One"}}
	if u, err := Join(p, results, dirs); err != nil || len(u.Join.Tags) != 1 || len(u.Join.Chapters) != 1 {
		t.Errorf("Join = %+v, %v; want title and chapter", u.Join, err)
	}
	p.Output.Options = []string{"-map_metadata", "-1", "-map_chapters", "-1"}
	if u, err := Join(p, results, dirs); err != nil || len(u.Join.Tags) != 0 || len(u.Join.Chapters) != 0 {
		t.Errorf("Join = %+v, %v; want neither title nor chapter", u.Join, err)
	}
	// Another encoder's units do not fit.
	other := results["v-180p-0001"]
	other.Init = &Segment{Name: InitName, SizeBytes: 800, SHA256: "cd" + testSum[2:]}
	results["v-180p-0001"] = other
	want := "joining units: v-180p-0001 has another initialization section than other units of the rendition; want one encoder, of one version, for a rendition"
	if _, err := Join(p, results, dirs); err == nil || err.Error() != want {
		t.Errorf("Join = %v; want %s", err, want)
	}
	delete(results, "audio")
	if _, err := Join(p, results, dirs); err == nil {
		t.Error("Join does without the audio")
	}
}

func TestCheckFile(t *testing.T) {
	join := Unit{ID: "join", Kind: KindJoin, Join: &JoinUnit{
		Format: FormatMP4, Grid: Grid{Rate: Rational{30, 1}, SegmentFrames: 120, Frames: 300}, Seconds: 10,
	}}
	whole := Unit{ID: "whole", Kind: KindWhole, Whole: &WholeUnit{Format: FormatMP4, Seconds: 10}}
	tests := []struct {
		name        string
		spoil       func(*File)
		join, whole string
	}{
		{"good", func(*File) {}, "", ""},
		{"primed Matroska", func(f *File) { f.Video.StartSeconds, f.Video.EndSeconds, f.Audio.EndSeconds = 0.021, 10.021, 10.02 }, "", ""},
		{"name", func(f *File) { f.Name = "../out.mp4" }, `segment named "../out.mp4"; want out.mp4`, `segment named "../out.mp4"; want out.mp4`},
		{"frame lost", func(f *File) { f.Video.Frames-- }, "out.mp4: 299 frames; want 300", ""},
		{"late video", func(f *File) { f.Video.StartSeconds = 0.1 }, "out.mp4: video begins at 0.100 s; want 0", ""},
		{"short video", func(f *File) { f.Video.EndSeconds = 9.9 }, "out.mp4: 9.900 s of video; want 10.000", ""},
		{"half a video", func(f *File) { f.Video.EndSeconds = 5 }, "out.mp4: 5.000 s of video; want 10.000", "out.mp4: video ends at 5.000 s; want about 10.000"},
		{"gap", func(f *File) { f.Video.MaxGapSeconds = 0.07 }, "out.mp4: 0.070 s between two frames; want 0.033", ""},
		{"no audio", func(f *File) { f.Audio = nil }, "out.mp4: 0 audio tracks; want 1", ""},
		{"audio late", func(f *File) { f.Audio.StartSeconds = 0.1 }, "out.mp4: audio from 0.100 to 10.000 s after the video's begin; want 0 to 10.000", ""},
		{"audio short", func(f *File) { f.Audio.EndSeconds = 9.9 }, "out.mp4: audio from 0.000 to 9.900 s after the video's begin; want 0 to 10.000", ""},
		{"nonsense", func(f *File) { f.Video.EndSeconds = math.NaN() }, "out.mp4: 300 frames from 0 to NaN s are out of range", "out.mp4: 300 frames from 0 to NaN s are out of range"},
	}
	for _, tt := range tests {
		f := &File{
			Name: "out.mp4", SizeBytes: 1000, SHA256: testSum,
			Video: Track{Codec: "h264", Frames: 300, EndSeconds: 10, MaxGapSeconds: 1. / 30},
			Audio: &Track{Codec: "aac", Frames: 470, EndSeconds: 10},
		}
		tt.spoil(f)
		for u, want := range map[*Unit]string{&join: tt.join, &whole: tt.whole} {
			if want != "" {
				want = "result of " + u.ID + ": " + want
			}
			if got := errorText(Check(*u, Result{File: f})); got != want {
				t.Errorf("%s: Check of %s = %q\n want %q", tt.name, u.ID, got, want)
			}
		}
	}
	if err := Check(join, Result{}); err == nil {
		t.Error("no file is accepted")
	}
}

func TestCheckCMAF(t *testing.T) {
	p := filePlan(t, Output{Container: ContainerCMAF, Codec: CodecH265})
	u := unit(t, p, "v-180p-0000")
	good := withInit(goodResult(u, 1000))
	good.Codecs = "hvc1.1.6.L60.90"
	if err := Check(u, good); err != nil {
		t.Error(err)
	}
	tests := []struct {
		name  string
		spoil func(*Result)
		want  string
	}{
		{"no header", func(r *Result) { r.Init = nil }, "no initialization section"},
		{"huge header", func(r *Result) { r.Init.SizeBytes = 1 << 30 }, "init.mp4: 1073741824 bytes; want 1 to 1048576"},
		{"other header", func(r *Result) { r.Init.Name = "x.mp4" }, `segment named "x.mp4"; want init.mp4`},
		{"other codec", func(r *Result) { r.Codecs = "avc1.4d400d" }, `codec "avc1.4d400d"; want hvc1 with profile and level`},
		{"other segments", func(r *Result) { r.Segments[0].Name = "00000.ts" }, `segment named "00000.ts"; want 00000.m4s`},
	}
	for _, tt := range tests {
		r := withInit(goodResult(u, 1000))
		r.Codecs = good.Codecs
		tt.spoil(&r)
		if got, want := errorText(Check(u, r)), "result of v-180p-0000: "+tt.want; got != want {
			t.Errorf("%s: Check = %q\n want %q", tt.name, got, want)
		}
	}
	ts := unit(t, testPlan(t), "v-180p-0000")
	if got := errorText(Check(ts, withInit(goodResult(ts, 1000)))); got != "result of v-180p-0000: an initialization section; want none with MPEG-TS" {
		t.Errorf("MPEG-TS: Check = %q", got)
	}
}

// What one worker does of a video is the video alone: everything else is made, and joined, as
// if many did it.
func TestPlanWhole(t *testing.T) {
	spread := filePlan(t, Output{Format: FormatMKV, Options: []string{"-c:v", "libx264", "-t", "5"}})
	p := filePlan(t, Output{Format: FormatMKV, Options: []string{"-c:v", "libx264", "-pass", "1", "-t", "5"}})
	if p.Note != "one worker does the whole video: two passes need the whole video" || len(p.Units) != 2 {
		t.Fatalf("plan = %+v; want one unit of video, and why", p)
	}
	v := unit(t, p, "v-180p-0000").Video
	if v == nil || !v.Rendition.TwoPass || v.Container != ContainerNUT || v.Free || v.EndFrame != 120 {
		t.Errorf("unit = %+v; want two passes over 5 s, in one file", v)
	}
	if a, b := unit(t, p, "audio"), unit(t, spread, "audio"); !reflect.DeepEqual(a, b) || !reflect.DeepEqual(p.Grid, spread.Grid) {
		t.Errorf("audio %+v; want %+v", a, b)
	}
}

// Audio that CMAF cannot carry does not take the video off the cluster.
func TestPlanAudioOfAnyKind(t *testing.T) {
	for _, options := range []string{"-c:a copy", "-c:a libvorbis", "-c:a flac -ar 44100", "-c:a libmp3lame -ar 22050", "-map 0:v:0 -map 0:a:0 -c:a copy"} {
		p := filePlan(t, Output{Format: FormatMKV, Options: strings.Fields(options)})
		a := unit(t, p, "audio").Audio
		if a == nil || a.Container != ContainerNUT || p.Note != "" || len(p.Units) < 3 {
			t.Errorf("%s: %d units, note %q, audio %+v; want the video in units and the audio in one file", options, len(p.Units), p.Note, a)
		}
	}
}
