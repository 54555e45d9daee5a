package worker

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/transcode"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	source := makeSource(t, "a.mkv", video+sound+"-vf select='not(between(t,1,2.5))' -fps_mode vfr "+openGOP+"-c:a aac")
	p, stderr, err := (&Worker{}).probe(t.Context(), source, newPulse(time.Now()))
	if err != nil {
		t.Fatalf("%v, %q", err, stderr)
	}
	v := p.Video
	if p.Format != "matroska,webm" || v == nil || p.Audio == nil || v.Codec != "h264" || v.PixelFormat != "yuv420p" || !p.HWDecodable {
		t.Fatalf("probe = %+v, video %+v, audio %+v", p, v, p.Audio)
	}
	// Frames 30 to 75 are left out.
	if v.Frames != 104 || math.Abs(v.MaxGapSeconds-47./30) > 0.01 || math.Abs(v.EndSeconds-5) > 0.05 {
		t.Errorf("%d frames, gap %v s, end %v s; want 104, 1.567, 5", v.Frames, v.MaxGapSeconds, v.EndSeconds)
	}
	if v.MaxGOPSeconds < 50./30 || v.MaxGOPSeconds > 2*50./30+1.6 {
		t.Errorf("the longest GOP lasts %v s; want 50 frames and what is left out", v.MaxGOPSeconds)
	}
	if a := p.Audio; a.Codec != "aac" || a.Channels != 1 || a.SampleRate != 44100 || math.Abs(a.EndSeconds-5) > 0.05 {
		t.Errorf("audio %+v; want 5 s of mono AAC at 44100 Hz", a)
	}
}

// A cover picture is no video, and an album with one is not to be transcoded.
func TestProbeCoverArt(t *testing.T) {
	t.Parallel()
	picture := makeSource(t, "cover.png", "-f lavfi -i testsrc2=s=64x64 -frames:v 1")
	album := makeSource(t, "a.m4a", sound+"-i "+picture+" -map 0 -map 1 -c:v png -disposition:v attached_pic -c:a aac")
	if p, _, err := (&Worker{}).probe(t.Context(), album, newPulse(time.Now())); err != nil || p.Video != nil || p.Audio == nil || p.Cover != 1 {
		t.Errorf("probe = %+v, %v; want sound only, with a cover", p, err)
	}
}

// spoiled copies what makeSource made, cut to a part of its length.
func spoiled(t *testing.T, part float64, name, args string) string {
	t.Helper()
	source := makeSource(t, name, args)
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(source, int64(float64(info.Size())*part)); err != nil {
		t.Fatal(err)
	}
	return source
}

func written(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProbeRefuses(t *testing.T) {
	t.Parallel()
	long := "-f lavfi -i testsrc2=s=64x64:r=10:d=30 " + x264
	segment := makeSource(t, "00000.ts", "-f lavfi -i testsrc2=s=64x64:d=1 "+x264)
	playlist := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + segment + "\n#EXT-X-ENDLIST\n"
	tests := []struct {
		name, source, want string
	}{
		{"index missing", spoiled(t, 0.5, "a.mp4", long), "not a video that ffmpeg can read: Invalid data found when processing input (it has no index, as an MP4 file that was cut short"},
		{"index at the front", spoiled(t, 0.5, "a.mp4", long+"-movflags +faststart"), "it is truncated"},
		{"cut matroska", spoiled(t, 0.5, "a.mkv", long), "it is truncated"},
		{"text", written(t, "a.mp4", strings.Repeat("this is not a video\n", 1000)), "not a video that ffmpeg can read: Invalid data found when processing input"},
		{"empty", written(t, "a.mp4", ""), "it is empty"},
		{"directory", t.TempDir(), "want a regular file"},
		{"subtitles only", written(t, "a.srt", someCues), "it has neither video nor sound"},
		{"playlist", written(t, "a.m3u8", playlist), "it is a playlist (hls); want the video itself"},
		{"no frames", makeSource(t, "a.mkv", "-f lavfi -i testsrc2=s=64x64:d=1 "+x264+"-frames:v 0"), "not a video that ffmpeg can read"},
		{"encrypted", makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:d=1 "+x264+
			"-encryption_scheme cenc-aes-ctr -encryption_key 00112233445566778899aabbccddeeff -encryption_kid 00112233445566778899aabbccddeeff"),
			"it is encrypted; want it without copy protection"},
		{"huge", makeSource(t, "a.mkv", "-f lavfi -i color=s=8300x64:d=0.1 -c:v ffv1"), "its picture is 8300x64; want 16 to 8192 on each side"},
		{"too small", makeSource(t, "a.avi", "-f lavfi -i testsrc2=s=8x8:d=1 -c:v rawvideo"), "its picture is 8x8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, stderr, err := (&Worker{}).probe(t.Context(), tt.source, newPulse(time.Now()))
			if !errors.Is(err, errSource) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("probe = %v, %q; want a bad source, %s", err, stderr, tt.want)
			}
		})
	}
}

// A file that is not there may be there for another worker, or soon.
func TestProbeMissing(t *testing.T) {
	_, _, err := (&Worker{}).probe(t.Context(), filepath.Join(t.TempDir(), "a.mp4"), newPulse(time.Now()))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errSource) {
		t.Errorf("probe = %v; want that it does not exist, which is not its own fault", err)
	}
}

func TestShownSize(t *testing.T) {
	turned := func(degrees float64) *stream {
		s := &stream{Width: 720, Height: 576, SampleAspectRatio: "16:15"}
		s.SideData = append(s.SideData, sideData{Rotation: degrees})
		return s
	}
	tests := []struct {
		stream        *stream
		width, height int
	}{
		{turned(0), 768, 576},
		{turned(-90), 576, 768},
		{turned(180), 768, 576},
		{turned(270), 576, 768},
		{&stream{Width: 320, Height: 180, SampleAspectRatio: "0:1"}, 320, 180},
		{&stream{Width: 320, Height: 180}, 320, 180},
	}
	for _, tt := range tests {
		if w, h := tt.stream.shownSize(); w != tt.width || h != tt.height {
			t.Errorf("%+v is shown as %dx%d; want %dx%d", tt.stream, w, h, tt.width, tt.height)
		}
	}
}

func TestTrackRate(t *testing.T) {
	rate := func(said transcode.Rational, frames int, every float64) transcode.Rational {
		tr := &track{}
		for range frames - 1 {
			tr.gaps.add(every)
		}
		return tr.rate(said)
	}
	tests := []struct {
		name      string
		got, want transcode.Rational
	}{
		{"as said", rate(transcode.Rational{Num: 30000, Den: 1001}, 100, 1001./30000), transcode.Rational{Num: 30000, Den: 1001}},
		{"fields", rate(transcode.Rational{Num: 50, Den: 1}, 100, 1./25), transcode.Rational{Num: 25000, Den: 1000}},
		{"not said", rate(transcode.Rational{}, 100, 1./25), transcode.Rational{Num: 25000, Den: 1000}},
		{"one frame", rate(transcode.Rational{Num: 25, Den: 1}, 1, 1), transcode.Rational{Num: 25, Den: 1}},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("%s: rate = %v; want %v", tt.name, tt.got, tt.want)
		}
	}
}

// Whatever ffprobe may say, what the queue receives passes its own check.
func FuzzReport(f *testing.F) {
	f.Add([]byte(shortReport))
	f.Add([]byte("[PACKET]\nstream_index=0\ndts_time=-5\nflags=_D\n[SIDE_DATA]\nside_data_type=Encryption info\n[/PACKET]\n[STREAM]\nindex=0\n" +
		"codec_type=audio\nchannels=-1\n[SIDE_DATA]\nside_data_type=\nrotation=90\n[FORMAT]\n[/FORMAT]\n"))
	f.Add([]byte("[PACKET]\nstream_index=0\n[/PACKET]\n[STREAM]\ncodec_type=video\nTAG:a=b\nc\n[CHAPTER]\nstart_time=1\nTAG:title=x\n[FORMAT]\n[/FORMAT]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := readReport(strings.NewReader(string(text)), func(int) {})
		if err != nil {
			return
		}
		p, err := r.probe()
		if err != nil {
			return
		}
		if err := transcode.Check(transcode.Unit{Kind: transcode.KindProbe}, transcode.Result{Probe: &p}); err != nil {
			t.Errorf("%v: %+v, video %+v, audio %+v", err, p, p.Video, p.Audio)
		}
	})
}

// The reason of a failure says more than that ffmpeg has failed.
func TestExplained(t *testing.T) {
	source := makeSource(t, "a.mp4", "-f lavfi -i testsrc2=s=64x64:r=10:d=1 "+x264)
	u := transcode.Unit{ID: "whole", Kind: transcode.KindWhole, Whole: &transcode.WholeUnit{Format: transcode.FormatMP4, Options: strings.Fields("-c:v nosuch")}}
	stderr, err := (&Worker{}).encode(t.Context(), u, source, t.TempDir(), newPulse(time.Now()))
	if got := explained(err, stderr).Error(); !strings.HasSuffix(got, ": Unknown encoder 'nosuch'") {
		t.Errorf("explained = %q", got)
	}
	err = (&exec.Cmd{Path: "/bin/false", Args: []string{"false"}}).Run()
	said := []string{"[libx264 @ 0x555627d4c280] ratecontrol_init: can't open stats file", "[aac @ 0x555627d70ac0] 2 frames left in the queue on closing"}
	if got := explained(err, said).Error(); got != "exit status 1: ratecontrol_init: can't open stats file" {
		t.Errorf("explained = %q", got)
	}
	if got := explained(errStalled, said); got != errStalled {
		t.Errorf("explained = %v; want it as it was", got)
	}
}

// Other versions of ffmpeg have more to say after the cause.
func TestCause(t *testing.T) {
	for want, stderr := range map[string]string{
		"Unknown encoder 'nosuch'": `[vost#0:0 @ 0x55dbe0c22d00] Unknown encoder 'nosuch'
[vost#0:0 @ 0x55dbe0c22d00] Error selecting an encoder
Error opening output file out.mp4.
Error opening output files: Encoder not found`,
		"CRF/CQP is incompatible with 2pass.": `[libx264 @ 0x55cdd5974ac0] CRF/CQP is incompatible with 2pass.
[vost#0:0/libx264 @ 0x55cdd5979d00] Error while opening encoder - maybe incorrect parameters such as bit_rate, rate, width or height.
[vf#0:0 @ 0x55cdd597a840] Error sending frames to consumers: Generic error in an external library
[vost#0:0/libx264 @ 0x55cdd5979d00] Could not open encoder before EOF
[vost#0:0/libx264 @ 0x55cdd5979d00] Terminating thread with return code -22 (Invalid argument)`,
		"No such filter: 'nosuchfilter'": `[AVFilterGraph @ 0x5569c8c3f580] No such filter: 'nosuchfilter'
Error reinitializing filters!
Failed to inject frame into filter network: Invalid argument`,
		"No space left on device": `av_interleaved_write_frame(): No space left on device
[aac @ 0x555627d70ac0] 2 frames left in the queue on closing`,
	} {
		if got := cause(strings.Split(stderr, "\n")); !strings.HasSuffix(got, want) {
			t.Errorf("cause = %q; want %q", got, want)
		}
	}
}

// Only what ffprobe says of the source itself is the source's fault: the job
// ends with it, and no other worker has a try.
func TestRefused(t *testing.T) {
	exit := func(code string) error { return exec.Command("sh", "-c", "exit "+code).Run() }
	for _, tt := range []struct {
		err  error
		last string
		want bool
	}{
		{exit("1"), "moov atom not found", true},
		{exit("1"), "a.mp4: Input/output error", false},
		{exit("1"), "a.mp4: Stale file handle", false},
		{exit("1"), "http://source.invalid/a.mp4: Server returned 5XX Server Error reply", false},
		{exit("2"), "moov atom not found", false},
		{errStalled, "moov atom not found", false},
		{nil, "", false},
	} {
		if got := refused(tt.err, []string{tt.last}); got != tt.want {
			t.Errorf("%v, %q: refused = %v; want %v", tt.err, tt.last, got, tt.want)
		}
	}
}
