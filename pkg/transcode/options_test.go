package transcode

import (
	"slices"
	"strings"
	"testing"
)

func TestParseOptions(t *testing.T) {
	tests := []struct {
		args  string
		video string
		audio string
		file  string
		whole string
	}{
		{"-c:v mpeg4 -b:v 1M", "-b:v 1M", "", "", ""},
		{"-vcodec libx264 -b 1M -crf 20 -preset slow -pix_fmt yuv420p", "-b:v 1M -crf:v 20 -preset:v slow -pix_fmt:v yuv420p", "", "", ""},
		{"-c:v libx264 -x264-params aq-mode=2:me=umh -b:a 128k -ac 1", "-x264-params:v aq-mode=2:me=umh", "-b:a 128k -ac 1", "", ""},
		{"-f mp4 -movflags +faststart -y -sn -an", "", "", "", ""},
		{"-metadata title=A", "", "", "-metadata title=A", ""},
		{"-vf scale='min(320,iw)':-2,hflip -s 64x64", "-s 64x64", "", "", ""},
		{"-c copy", "", "", "", "-c copy is not joined from units"},
		{"-c:v libvpx-vp9", "", "", "", "video by libvpx-vp9 is not joined from units"},
		{"-c:a libmp3lame", "", "", "", "audio by libmp3lame is not joined from units"},
		{"-pass 2 -b:v 1M", "-b:v 1M", "", "", "two passes need the whole video"},
		{"-ss 1 -t 0:10", "", "", "", "-ss is about the whole video"},
		{"-frames:v 10", "", "", "", "-frames is about the whole video"},
		{"-r 25", "", "", "", "-r is about the whole video"},
		{"-vf minterpolate=fps=60", "", "", "", "filter minterpolate looks at more than one frame"},
		{"-vf tinterlace", "", "", "", "filter tinterlace looks at more than one frame"},
		{"-vf deshake=rx=16", "", "", "", "filter deshake looks at more than one frame"},
		{"-vf crop=64:64:n:0", "", "", "", "filter crop counts frames"},
		{"-af loudnorm=I=-16", "", "", "", "audio filters see the whole of it"},
	}
	for _, tt := range tests {
		o, err := ParseOptions(FormatMP4, strings.Fields(tt.args))
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if got := strings.Join(o.Video, " "); got != tt.video {
			t.Errorf("%s: for video %q; want %q", tt.args, got, tt.video)
		}
		if got := strings.Join(o.Audio, " "); got != tt.audio {
			t.Errorf("%s: for audio %q; want %q", tt.args, got, tt.audio)
		}
		if got := strings.Join(o.File, " "); got != tt.file {
			t.Errorf("%s: for the file %q; want %q", tt.args, got, tt.file)
		}
		if o.Whole != tt.whole {
			t.Errorf("%s: whole %q; want %q", tt.args, o.Whole, tt.whole)
		}
	}
}

// Of an output that may be of another length its length is not checked.
func TestOptionsChangeTheLength(t *testing.T) {
	for args, want := range map[string]bool{
		"-t 5": true, "-frames:v 10": true, "-vf setpts=2*PTS": true, "-vf scale=64:64,trim=end=3": true,
		"-vf hqdn3d": false, "-vf fps=10": false, "-af loudnorm": false, "-vf drawbox=t=2": false,
	} {
		if o, err := ParseOptions(FormatMP4, strings.Fields(args)); err != nil || o.Trimmed != want {
			t.Errorf("%s: trimmed %v, %v; want %v", args, o.Trimmed, err, want)
		}
	}
}

// What could write elsewhere, read other files or reach out is refused.
func TestParseOptionsRefuses(t *testing.T) {
	tests := []struct{ args, want string }{
		{"out.mp4", `ffmpeg options: "out.mp4" stands where an option is expected; want options only, no file names`},
		{"-c:v mpeg4 /etc/passwd", `ffmpeg options: "/etc/passwd" stands where an option is expected; want options only, no file names`},
		{"-i /etc/passwd", "ffmpeg option -i: a source is given once, before the options"},
		{"-i http://10.0.0.1/", "ffmpeg option -i: a source is given once, before the options"},
		{"-/filter:v x", "ffmpeg option -/filter:v: it is not one that pibootd passes on"},
		{"-attach /etc/shadow", "ffmpeg option -attach: it is not one that pibootd passes on"},
		{"-dump_attachment x", "ffmpeg option -dump_attachment: it is not one that pibootd passes on"},
		{"-protocol_whitelist tcp", "ffmpeg option -protocol_whitelist: it is not one that pibootd passes on"},
		{"-filter_script:v /etc/passwd", "ffmpeg option -filter_script:v: it is not one that pibootd passes on"},
		{"-vstats_file x", "ffmpeg option -vstats_file: it is not one that pibootd passes on"},
		{"-progress http://10.0.0.1", "ffmpeg option -progress: it is not one that pibootd passes on"},
		{"-report", "ffmpeg option -report: it is not one that pibootd passes on"},
		{"-fpre /etc/passwd", "ffmpeg option -fpre: it is not one that pibootd passes on"},
		{"-filter_complex movie=x", "ffmpeg option -filter_complex: a complex filter may read other files; want -vf or -af"},
		{"-passlogfile /etc/x", "ffmpeg option -passlogfile: it names a file; -pass alone suffices"},
		{"-f tee", `ffmpeg option -f: "tee" is not what was asked for; want mp4`},
		{"-f mpegts", `ffmpeg option -f: "mpegts" is not what was asked for; want mp4`},
		{"-map 1:v", `ffmpeg option -map: "1:v" is no value that it may have`},
		{"-vf movie=/etc/passwd", `ffmpeg option -vf: filter "movie" is not one that pibootd passes on`},
		{"-vf subtitles=/etc/passwd", `ffmpeg option -vf: filter "subtitles" is not one that pibootd passes on`},
		{"-vf scale=64:64,lut3d=x.cube", `ffmpeg option -vf: filter "lut3d" is not one that pibootd passes on`},
		{"-vf drawtext=textfile=/etc/passwd", `ffmpeg option -vf: filter "drawtext" is not one that pibootd passes on`},
		{"-vf scale[a];movie=x[a]", `ffmpeg option -vf: '[' in a filter; want a chain of filters joined by commas`},
		{"-vf vidstabdetect=result=/x", `ffmpeg option -vf: filter "vidstabdetect" is not one that pibootd passes on`},
		{"-vf deshake=filename=/x", `ffmpeg option -vf: filter deshake: "filename=/x" may name a file`},
		{"-vf deshake=1:1", `ffmpeg option -vf: filter deshake: "1"; want parameters with their names`},
		{"-vf 'movie=x", `ffmpeg option -vf: filter "'movie=x" has a quote without its other`},
		{"-vf sendcmd=f=/x", `ffmpeg option -vf: filter "sendcmd" is not one that pibootd passes on`},
		{"-af amovie=/x", `ffmpeg option -af: filter "amovie" is not one that pibootd passes on`},
		{"-x264-params stats=/etc/x", `ffmpeg option -x264-params: "stats=/etc/x" is not among the parameters that are passed on`},
		{"-x264-params qpfile=/etc/x", `ffmpeg option -x264-params: "qpfile=/etc/x" is not among the parameters that are passed on`},
		{"-x265-params csv=/x", `ffmpeg option -x265-params: "csv=/x" is not among the parameters that are passed on`},
		{"-movflags frag_keyframe", `ffmpeg option -movflags: "frag_keyframe" is no value that it may have`},
		{"-preset ../x", `ffmpeg option -preset: "../x" is no value that it may have`},
		{"-b:v", "ffmpeg option -b:v: its value is missing"},
		{"-b:v:1 1M", `ffmpeg option -b:v:1: stream "v:1"; want the first video (v) or the first audio (a)`},
		{"-c:v /bin/sh", `ffmpeg option -c:v: "/bin/sh" is no encoder's name`},
		{strings.Repeat("-an ", 101), "101 words of ffmpeg options; want 100 at most"},
	}
	for _, tt := range tests {
		if _, err := ParseOptions(FormatMP4, strings.Fields(tt.args)); err == nil || err.Error() != tt.want {
			t.Errorf("%.60s: %v\n want %s", tt.args, err, tt.want)
		}
	}
}

// Whatever is passed on consists of known options, and names no file.
func FuzzParseOptions(f *testing.F) {
	f.Add("-c:v mpeg4 -b:v 1M")
	f.Add("-vf scale='min(1,2)':3,eq=1 -an out.mp4")
	f.Add("-x264-params a=b:c=d -/x y")
	known := knownOptions()
	f.Fuzz(func(t *testing.T, text string) {
		o, err := ParseOptions(FormatMKV, strings.Fields(text))
		if err != nil {
			return
		}
		for _, list := range [][]string{o.Video, o.Audio, o.File, o.All} {
			for i := 0; i < len(list); i++ {
				base, _, _ := strings.Cut(strings.TrimPrefix(list[i], "-"), ":")
				option, ok := known[base]
				if !ok || !strings.HasPrefix(list[i], "-") {
					t.Fatalf("%q: %q is passed on at %d", text, list, i)
				}
				if option.value == nil {
					continue
				}
				i++
				if !slices.Contains([]string{"vf", "af", "metadata", "aspect", "s", "r", "x264-params", "x264opts", "x265-params", "filter"}, base) && strings.Contains(list[i], "/") {
					t.Fatalf("%q: %q is passed on", text, list[i])
				}
			}
		}
	})
}
