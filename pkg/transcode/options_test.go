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
		{"-c:v mpeg4 -q:v 5", "-q:v 5", "", "", ""},
		{"-c:v mpeg4 -b:v 1M", "-b:v 1M", "", "", "mpeg4 counts bits from the beginning of the video; with -q:v, all workers share the work"},
		{"-vcodec libx264 -b 1M -crf 20 -preset slow -pix_fmt yuv420p", "-b:v 1M -crf:v 20 -preset:v slow -pix_fmt:v yuv420p", "", "", ""},
		{"-c:v libx264 -x264-params aq-mode=2:me=umh -b:a 128k -ac 1", "-x264-params:v aq-mode=2:me=umh", "-b:a 128k -ac 1", "", ""},
		{"-f mp4 -movflags +faststart -y -sn -an", "", "", "", ""},
		{"-metadata title=A", "", "", "-metadata title=A", ""},
		{"-vf scale='min(320,iw)':-2,hflip -s 64x64", "-s 64x64", "", "", ""},
		{"-c copy", "", "", "", "video by copy is not joined from units"},
		{"-c:v librav1e", "", "", "", "video by librav1e is not joined from units"},
		{"-c:v libvpx-vp9", "", "", "", "libvpx-vp9 needs the whole video for a bitrate; with -crf and without -b:v, all workers share the work"},
		{"-c:v libaom-av1 -crf 30 -b:v 1M", "-crf:v 30 -b:v 1M", "", "", "libaom-av1 needs the whole video for a bitrate; with -crf and without -b:v, all workers share the work"},
		{"-c:v libvpx-vp9 -crf 30 -b:v 0 -deadline good", "-crf:v 30 -b:v 0 -deadline:v good", "", "", ""},
		{"-c:v libsvtav1 -crf 30 -g 50", "-crf:v 30 -g 50", "", "", "libsvtav1 makes key frames only every so many frames; without -g, all workers share the work"},
		{"-c:a libvorbis", "", "", "", ""},
		{"-pass 2 -b:v 1M", "-b:v 1M", "", "", "two passes need the whole video"},
		{"-ss 1 -t 0:10", "", "", "", ""},
		{"-frames:v 10", "", "", "", ""},
		{"-vf minterpolate=fps=60", "", "", "", "filter minterpolate looks at more than one frame"},
		{"-vf tinterlace", "", "", "", "filter tinterlace looks at more than one frame"},
		{"-vf deshake=rx=16", "", "", "", "filter deshake looks at more than one frame"},
		{"-vf crop=64:64:n:0", "", "", "", "filter crop counts frames"},
		// Nothing of this is about more than one unit.
		{"-g 48 -keyint_min 24 -sc_threshold 40", "-g 48 -keyint_min:v 24 -sc_threshold:v 40", "", "", ""},
		{"-r 25", "", "", "", ""},
		{"-ar 44100", "", "", "", ""},
		{"-ar 11025 -c:a ac3", "", "", "", ""},
		{"-af loudnorm=I=-16", "", "", "", ""},
		{"-af atempo=2", "", "", "", ""},
		{"-c:a libmp3lame -b:a 192k", "", "-b:a 192k", "", ""},
		{"-c:a ac3", "", "", "", ""},
		{"-strict -2", "-strict -2", "-strict -2", "", ""},
		{"-x264-params keyint=48:min-keyint=48:scenecut=0", "-x264-params:v keyint=48:min-keyint=48:scenecut=0", "", "", ""},
		{"-force_key_frames expr:gte(t,n_forced*2)", "", "", "", ""},
		{"-force_key_frames 1,2.5", "-force_key_frames 1,2.5", "", "", "-force_key_frames 1,2.5 is about the whole video"},
		// Noise that many command lines have.
		{"-hide_banner -loglevel error -v quiet -nostats -max_muxing_queue_size 1024 -sws_flags bicubic -fflags +genpts", "", "", "", ""},
		{"-map_metadata 0 -map_chapters -1 -c:s mov_text -scodec copy -movflags +faststart+use_metadata_tags -vsync cfr", "", "", "", ""},
		{"-map 0 -map -0:s", "", "", "", ""},
		{"-map 0:v:0 -map 0:a:0?", "", "", "", ""},
		{"-map 0:0", "", "", "", ""},
		{"-metadata:s:a:0 language=ger -disposition:a:0 default", "", "", "-metadata:s:a:0 language=ger -disposition:a:0 default", ""},
		{"-vf drawtext=text=hello:x=10:y=10:fontcolor=white@0.5", "", "", "", ""},
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

// What is copied, or moved by a filter, has its own times; everything else is on the grid.
func TestOptionsFreeTimes(t *testing.T) {
	for args, want := range map[string]bool{
		"-c:v copy": true, "-vf setpts=2*PTS": true, "-vf scale=64:64,trim=end=3": true, "-vsync vfr": true,
		"-t 5": false, "-frames:v 10": false, "-vf hqdn3d": true, "-vf fps=10": true, "-af loudnorm": false, "-c:a copy": false,
	} {
		if o, err := ParseOptions(FormatMP4, strings.Fields(args)); err != nil || o.Free != want {
			t.Errorf("%s: free %v, %v; want %v", args, o.Free, err, want)
		}
	}
}

// -map chooses tracks, and is no reason to do the whole video in one go.
func TestOptionsMaps(t *testing.T) {
	probe := Probe{
		Video: &VideoStream{Map: "0:0", Index: 1},
		Audio: &AudioStream{TrackInfo: TrackInfo{Stream: 0, Index: 2}}, MoreAudio: []AudioStream{{TrackInfo: TrackInfo{Stream: 1, Index: 3}}},
		Subtitles: []SubtitleStream{{TrackInfo: TrackInfo{Index: 4}}},
	}
	for args, want := range map[string]struct {
		tracks          []int
		noAudio, noText bool
		err             string
	}{
		"-map 0:0":                       {noAudio: true},
		"-map 0:0 -map 0:2 -map 0:3":     {tracks: []int{2}},
		"-map 0:v:0 -map 0:a:1":          {tracks: []int{2}},
		"-map 0:v -map 0:a:1 -map 0:a:0": {tracks: []int{2, 1}},
		"-map 0 -map -0:a:0 -map -0:s":   {tracks: []int{2}, noText: true},
		"-map 0:V:0 -map 0:a?":           {tracks: []int{1, 2}},
		"-map 0:a:1":                     {err: "none of them is the video"},
		"-map 0:v:1":                     {err: "only one video is encoded"},
		"-map 0:v:0 -map 0:9":            {err: "neither the film nor audio or subtitles"},
	} {
		o, err := ParseOptions(FormatMP4, strings.Fields(args))
		if err == nil {
			err = o.choose(probe)
		}
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%s: %v; want %q", args, err, want.err)
			}
			continue
		}
		if err != nil || o.Whole != "" || !slices.Equal(o.AudioTracks, want.tracks) || o.NoAudio != want.noAudio || o.NoSubtitles != want.noText {
			t.Errorf("%s: tracks %v, no audio %v, no text %v, whole %q, %v; want %+v", args, o.AudioTracks, o.NoAudio, o.NoSubtitles, o.Whole, err, want)
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
		{"-attach /etc/shadow", "ffmpeg option -attach: it names a file; attachments are not made here"},
		{"-dump_attachment x", "ffmpeg option -dump_attachment: it names a file; attachments are not made here"},
		{"-protocol_whitelist tcp", "ffmpeg option -protocol_whitelist: it is not one that pibootd passes on"},
		{"-filter_script:v /etc/passwd", "ffmpeg option -filter_script:v: it reads a file; want -vf or -af"},
		{"-vstats_file x", "ffmpeg option -vstats_file: it writes a file; see pibootd jobs show"},
		{"-progress http://10.0.0.1", "ffmpeg option -progress: it writes a file; see pibootd jobs show"},
		{"-report", "ffmpeg option -report: it writes a file; see pibootd jobs show"},
		{"-fpre /etc/passwd", "ffmpeg option -fpre: it reads a file; want -preset and -tune"},
		{"-filter_complex movie=x", "ffmpeg option -filter_complex: a complex filter may read other files; want -vf or -af"},
		{"-passlogfile /etc/x", "ffmpeg option -passlogfile: it names a file; -pass alone suffices"},
		{"-f tee", `ffmpeg option -f: "tee" is not what was asked for; want mp4`},
		{"-f mpegts", `ffmpeg option -f: "mpegts" is not what was asked for; want mp4`},
		{"-map 1:v", `ffmpeg option -map: "1:v"; want streams of the source, such as 0:v:0 or 0:a`},
		{"-vf movie=/etc/passwd", `ffmpeg option -vf: filter "movie": it needs another input; join or mix the sources before`},
		{"-vf subtitles=/etc/passwd", `ffmpeg option -vf: filter "subtitles": it reads a file; subtitles beside the video, such as film.de.srt, are kept as tracks`},
		{"-vf scale=64:64,lut3d=x.cube", `ffmpeg option -vf: filter "lut3d": it reads a file; want curves, colorbalance or eq`},
		{"-vf nosuch", `ffmpeg option -vf: filter "nosuch": it is not one that pibootd passes on`},
		{"-vf 'scale'=1:1", `ffmpeg option -vf: filter "'scale'": it is not one that pibootd passes on`},
		{"-vf volume=2", `ffmpeg option -vf: filter "volume": it is not for video`},
		{"-vf scale[a];movie=x[a]", `ffmpeg option -vf: '[' in a filter; want a chain of filters joined by commas`},
		{"-vf vidstabdetect=result=/x", `ffmpeg option -vf: filter "vidstabdetect": it writes a file; want deshake`},
		{"-vf 'movie=x", `ffmpeg option -vf: filter "'movie=x" has a quote without its other`},
		{"-vf sendcmd=f=/x", `ffmpeg option -vf: filter "sendcmd": it takes commands from elsewhere; want enable='between(t,1,2)' of a filter`},
		{"-af amovie=/x", `ffmpeg option -af: filter "amovie": it needs another input; join or mix the sources before`},
		{"-af arnndn=m=/x", `ffmpeg option -af: filter "arnndn": it reads a file; want afftdn or anlmdn`},
		{"-af ladspa=file=x", `ffmpeg option -af: filter "ladspa": it reads a file; want afftdn or anlmdn`},
		{"-af sofalizer=sofa=x", `ffmpeg option -af: filter "sofalizer": it reads a file; want pan or stereotools`},
		{"-map_metadata 1", `ffmpeg option -map_metadata: "1" is no value that it may have`},
		{"-c:v h264_nosuch", `ffmpeg option -c:v: "h264_nosuch" is no encoder that is known here; want one of ` + strings.Join(optionEncoders, ", ")},
		{"-threads 9999", `ffmpeg option -threads: "9999" is out of range; want 0 to 64`},
		{"-s 99999x99999", `ffmpeg option -s: "99999x99999"; want WIDTHxHEIGHT, 16 to 8192 each`},
		{"-r 100000", `ffmpeg option -r: rate "100000"; want 0.1 to 240 frames per second, e.g. 25 or 30000/1001`},
		{"-ar 1000000", `ffmpeg option -ar: "1000000"; want one of [8000 11025 12000 16000 22050 24000 32000 44100 48000 88200 96000]`},
		{"-b:v 100G", `ffmpeg option -b:v: "100G" is out of range; want 0 to 200000000`},
		{"-x264-params threads=9999", `ffmpeg option -x264-params: "threads=9999" is out of range; want 64 at most`},
		{"-vf scale=9999999:9999999", `ffmpeg option -vf: filter scale makes pictures of 9999999x9999999; want 8192 at most on each side`},
		{"-vf scale=iw*100:ih*100", `ffmpeg option -vf: filter scale makes pictures of 100000x100000; want 8192 at most on each side`},
		{"-vf scale=iw*4:-1,scale=iw*4:-1", `ffmpeg option -vf: filter scale makes pictures of 16000x16000; want 8192 at most on each side`},
		{"-vf pad=w=1e9:h=5", `ffmpeg option -vf: filter pad: "1e9" of w; want numbers of at most 1e+07`},
		{"-vf crop=x=while(1,0)", `ffmpeg option -vf: filter crop: "while(1" can run for ever; want an expression without while, print, root and taylor`},
		{"-x264-params stats=/etc/x", `ffmpeg option -x264-params: "stats=/etc/x" is not among the parameters that are passed on`},
		{"-x264-params qpfile=/etc/x", `ffmpeg option -x264-params: "qpfile=/etc/x" is not among the parameters that are passed on`},
		{"-x265-params csv=/x", `ffmpeg option -x265-params: "csv=/x" is not among the parameters that are passed on`},
		{"-movflags frag_keyframe", `ffmpeg option -movflags: "frag_keyframe" is no value that it may have`},
		{"-preset ../x", `ffmpeg option -preset: "../x" is no value that it may have`},
		{"-b:v", "ffmpeg option -b:v: its value is missing"},
		{"-b:v:1 1M", `ffmpeg option -b:v:1: stream "v:1"; want the first video (v) or the first audio (a)`},
		{"-c:v /bin/sh", `ffmpeg option -c:v: "/bin/sh" is no encoder that is known here; want one of ` + strings.Join(optionEncoders, ", ")},
		{strings.Repeat("-an ", 101), "101 words of ffmpeg options; want 100 at most"},
	}
	for _, tt := range tests {
		if _, err := ParseOptions(FormatMP4, strings.Fields(tt.args)); err == nil || err.Error() != tt.want {
			t.Errorf("%.60s: %v\n want %s", tt.args, err, tt.want)
		}
	}
}

func TestFilteredSize(t *testing.T) {
	tests := []struct {
		filter        string
		width, height float64
	}{
		{"null", 320, 180},
		{"scale=640:-2", 640, 360},
		{"scale=w=iw/2:h=-1", 160, 90},
		{"scale='min(200,iw)':'if(gt(iw,ih),100,200)'", 200, 100},
		{"crop=ih*4/3:ih", 240, 180},
		{"pad=ceil(iw/2)*2+10:ow*3/4", 330, 247.5},
		{"transpose=1,scale=2*iw:-1", 360, 640},
		{"rotate=PI/2:ow=ih:oh=iw", 180, 320},
	}
	for _, tt := range tests {
		if w, h, err := filteredSize(tt.filter, 320, 180); err != nil || w != tt.width || h != tt.height {
			t.Errorf("%s: %vx%v, %v; want %vx%v", tt.filter, w, h, err, tt.width, tt.height)
		}
	}
	for _, filter := range []string{"scale=1/0:5", "scale=((1:2", "scale=foo:1", "scale=min(1:2", "scale=1e4:2", "scale=" + strings.Repeat("(", 600) + ":1"} {
		if w, h, err := filteredSize(filter, 320, 180); err == nil {
			t.Errorf("%.40s: %vx%v; want an error", filter, w, h)
		}
	}
}

// An accepted chain has known filters and options only, and makes no large picture.
func FuzzFilters(f *testing.F) {
	f.Add("scale='min(320,iw)':-2,hflip", true)
	f.Add("drawtext=text=a:fontcolor=white@0.5:x=(w-tw)/2", true)
	f.Add("volume=2,pan=stereo|c0=c0|c1=c1", false)
	f.Add("curves=psfile=/etc/passwd", true)
	f.Fuzz(func(t *testing.T, graph string, video bool) {
		kind := videoKind()
		if !video {
			kind = audioKind()
		}
		if _, err := checkFilters(graph, kind); err != nil {
			return
		}
		for _, word := range []string{"textfile", "fontfile", "psfile", "filename", "movie", "sendcmd", "[", ";", "\\"} {
			if strings.Contains(graph, word+"=") || strings.ContainsAny(word, "[;\\") && strings.Contains(graph, word) {
				t.Errorf("%q is passed on", graph)
			}
		}
		if w, h, err := filteredSize(graph, 1000, 1000); err == nil && !(w <= maxFilteredSide && h <= maxFilteredSide) {
			t.Errorf("%q makes %vx%v", graph, w, h)
		}
	})
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
		for _, list := range [][]string{o.Video, o.Audio, o.File} {
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
				if !slices.Contains([]string{"vf", "af", "metadata", "aspect", "s", "r", "x264-params", "x264opts", "x265-params", "filter", "af"}, base) && strings.Contains(list[i], "/") {
					t.Fatalf("%q: %q is passed on", text, list[i])
				}
			}
		}
	})
}
