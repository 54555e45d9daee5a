package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
)

// formatFlags choose the output of a video.
func formatFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "hls", Usage: "make an HLS stream, which is the default"},
		&cli.BoolFlag{Name: "mp4", Usage: "make an MP4 file"},
		&cli.BoolFlag{Name: "mkv", Usage: "make a Matroska file"},
		&cli.StringFlag{Name: "segments", Usage: "make HLS segments of this `KIND`: ts or cmaf", DefaultText: "ts; cmaf for h265 and av1"},
		&cli.StringFlag{Name: "codec", Usage: "encode video with the `CODEC` h264, h265 or av1; a stream may have several, e.g. av1,h264", DefaultText: "h264"},
		&cli.StringFlag{Name: "encoder", Usage: "encode every rendition with ffmpeg's `ENCODER`, e.g. h264_v4l2m2m, only on workers that have it", DefaultText: "a software encoder"},
		&cli.StringFlag{Name: "ladder", Usage: "choose renditions by this `RULE`: apple, or author for the source's bitrate, half of it and 200 kb/s", DefaultText: "apple"},
		&cli.StringSliceFlag{Name: "rung", Usage: "make the rendition `SIZE[:BITRATE]`, e.g. 720:2500k, 600x400:128k or source:2M, instead of those of the rule"},
		&cli.BoolFlag{Name: "stretch", Usage: "stretch the picture to a rung of another shape, instead of adding black bars"},
		&cli.BoolFlag{Name: "constant", Usage: "keep every rendition at its bitrate all the time"},
		&cli.IntFlag{Name: "crf", Usage: "encode at this `QUALITY` of libx264 or libx265, e.g. 23, with the rung's bitrate as the limit"},
		&cli.IntFlag{Name: "quality", Usage: "choose renditions and bitrates that this `QUALITY` needs, 1 to 100, as short trials of the video show; 80 is good, 90 hard to tell from the source", DefaultText: "the usual bitrates"},
		&cli.BoolFlag{Name: "two-pass", Usage: "encode twice: the first time to find out where the film needs its bits (h264, h265)"},
		&cli.Float64Flag{Name: "max-fps", Usage: "keep at most `N` frames per second: every second of a source that has more, every third and so on", DefaultText: "60"},
		&cli.StringFlag{Name: "hdr", Usage: "do `WHAT` with HDR: auto, keep (with h265), or sdr", DefaultText: "auto: kept by h265, tone-mapped for h264"},
		&cli.StringFlag{Name: "deinterlace", Usage: "make frames of an interlaced source: auto, off to leave it as it is, or field for a frame of each field", DefaultText: "auto"},
		&cli.StringFlag{Name: "audio", Usage: "encode audio as `[CODEC][:BITRATE]`, e.g. 128k, mp3:192k, ac3, or none", DefaultText: "aac, 48k for each channel"},
		&cli.StringFlag{Name: "audio-tracks", Usage: "keep only the audio tracks with these `NUMBERS`, e.g. 2,1, the default one first", DefaultText: "all"},
		&cli.StringFlag{Name: "audio-lang", Usage: "keep only audio in these `LANGUAGES`, e.g. de,en, the default one first", DefaultText: "all"},
		&cli.StringFlag{Name: "burn-subtitles", Usage: "draw the subtitles in this `LANGUAGE` into the picture, e.g. de; und if it is unknown", DefaultText: "none"},
		&cli.StringFlag{Name: "omit-subtitles", Usage: "leave out the subtitles with these `NUMBERS`, e.g. 1,3", DefaultText: "none"},
		&cli.StringFlag{Name: "input-options", Usage: "read the video with ffmpeg's input `OPTIONS`, in one word, e.g. -ss 60 -t 90", DefaultText: "none"},
		&cli.BoolFlag{Name: "progressive", Usage: "publish an HLS stream while it is made, so that it can be played from its first segments on"},
		&cli.BoolFlag{Name: "no-pictures", Usage: "make no poster, storyboard and playlists of key frames for a stream"},
		&cli.BoolFlag{Name: "encrypt", Usage: "encrypt the segments with AES-128"},
		&cli.BoolFlag{Name: "sample-aes", Usage: "encrypt the samples of CMAF segments (SAMPLE-AES, cbcs) instead of whole segments"},
		&cli.StringFlag{Name: "key-uri", Usage: "players fetch the key from `URI`; with --key-every, it is what the keys' names are appended to", DefaultText: "the published stream"},
		&cli.StringFlag{Name: "key-name", Usage: "call the key's file `NAME`", DefaultText: "stream.key"},
		&cli.IntFlag{Name: "key-every", Usage: "use another key after every `N` segments"},
		&cli.StringFlag{Name: "output-dir", Usage: "publish in this `DIRECTORY` of the media share", DefaultText: "hls, mp4 or mkv"},
		&cli.StringFlag{Name: "playlist-name", Usage: "call the master playlist `NAME`.m3u8", DefaultText: "master"},
		&cli.StringFlag{Name: "segment-name", Usage: "begin the names of segments with `PREFIX`"},
		&cli.StringFlag{Name: "segment-dir", Usage: "put renditions and their segments below this `DIRECTORY` of the stream"},
		&cli.StringFlag{Name: "url-prefix", Usage: "begin all paths in playlists with this `URL`, e.g. https://cdn.example/films/a/"},
	}
}

// outputOf reads formatFlags, and ffmpeg's options, which follow the videos.
func outputOf(c *cli.Context, options []string) (transcode.Output, error) {
	o := transcode.Output{
		Container:   transcode.Container(c.String("segments")),
		Encoder:     c.String("encoder"),
		Ladder:      transcode.Preset(c.String("ladder")),
		Encrypted:   c.Bool("encrypt") || c.Bool("sample-aes"),
		SampleAES:   c.Bool("sample-aes"),
		KeyURI:      c.String("key-uri"),
		MaxFPS:      c.Float64("max-fps"),
		HDR:         transcode.HDR(c.String("hdr")),
		Deinterlace: transcode.Deinterlace(c.String("deinterlace")),
		Options:     options,
		Stretch:     c.Bool("stretch"),
		Constant:    c.Bool("constant"),
		CRF:         c.Int("crf"),
		TwoPass:     c.Bool("two-pass"),
		Quality:     c.Int("quality"),
		Naming: transcode.Naming{
			Dir: c.String("output-dir"), PlaylistName: c.String("playlist-name"), SegmentName: c.String("segment-name"),
			SegmentDir: c.String("segment-dir"), URLPrefix: c.String("url-prefix"), KeyName: c.String("key-name"), KeyEvery: c.Int("key-every"),
		},
		NoPictures:    c.Bool("no-pictures"),
		Progressive:   c.Bool("progressive"),
		BurnSubtitles: c.String("burn-subtitles"),
		InputOptions:  strings.Fields(c.String("input-options")),
	}
	// As in ffmpeg's own order: what stands before -i is about the source. A name after it is refused with the options.
	if i := slices.Index(options, "-i"); i >= 0 && (i+1 == len(options) || strings.HasPrefix(options[i+1], "-")) {
		o.InputOptions, o.Options = append(o.InputOptions, options[:i]...), options[i+1:]
	}
	for i, codec := range strings.Split(c.String("codec"), ",") {
		if i == 0 {
			o.Codec = transcode.Codec(codec)
		} else {
			o.MoreCodecs = append(o.MoreCodecs, transcode.Codec(codec))
		}
	}
	var err error
	if o.Format, err = formatOf(c); err != nil {
		return o, err
	}
	for _, text := range c.StringSlice("rung") {
		rung, err := transcode.ParseRung(text)
		if err != nil {
			return o, fmt.Errorf("--rung: %w", err)
		}
		o.Rungs = append(o.Rungs, rung)
	}
	if o.AudioTracks, err = numbers(c.String("audio-tracks")); err != nil {
		return o, fmt.Errorf("--audio-tracks: %w", err)
	}
	if o.OmitSubtitles, err = numbers(c.String("omit-subtitles")); err != nil {
		return o, fmt.Errorf("--omit-subtitles: %w", err)
	}
	if text := c.String("audio-lang"); text != "" {
		o.AudioLangs = strings.Split(text, ",")
	}
	if text := c.String("audio"); text != "" {
		if o.Audio, o.AudioBPS, err = transcode.ParseAudio(text); err != nil {
			return o, fmt.Errorf("--audio: %w", err)
		}
	}
	return o, nil
}

// numbers parses numbers with commas between them. Neither "" nor a default is one.
func numbers(text string) ([]int, error) {
	if text == "" || text == "all" || text == "none" {
		return nil, nil
	}
	var list []int
	for word := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return nil, fmt.Errorf("%.50q is no number; want numbers with commas between them, e.g. 2,1", word)
		}
		list = append(list, n)
	}
	return list, nil
}

func formatOf(c *cli.Context) (transcode.Format, error) {
	var got []string
	for _, name := range []string{"hls", "mp4", "mkv"} {
		if c.Bool(name) {
			got = append(got, "--"+name)
		}
	}
	switch {
	case len(got) > 1:
		return "", fmt.Errorf("%s; want one of them", strings.Join(got, " and "))
	case c.Bool("mp4"):
		return transcode.FormatMP4, nil
	case c.Bool("mkv"):
		return transcode.FormatMKV, nil
	}
	return transcode.FormatHLS, nil
}
