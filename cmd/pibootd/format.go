package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
)

// formatFlags say what a video is to become.
func formatFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "hls", Usage: "make an HLS stream, as without --mp4 and --mkv"},
		&cli.BoolFlag{Name: "mp4", Usage: "make one MP4 file; ffmpeg options may follow after --"},
		&cli.BoolFlag{Name: "mkv", Usage: "make one Matroska file; ffmpeg options may follow after --"},
		&cli.StringFlag{Name: "segments", Usage: "`KIND` of HLS segments: ts or cmaf (default: ts; cmaf for h265)"},
		&cli.StringFlag{Name: "codec", Usage: "`CODEC` of the video: h264 or h265 (default: h264)"},
		&cli.StringFlag{Name: "encoder", Usage: "ffmpeg `ENCODER` that makes all of it, e.g. h264_v4l2m2m (default: software)"},
		&cli.StringFlag{Name: "ladder", Usage: "`RULE` of the renditions: apple, or author: the source's bitrate, half of it, 200 kb/s (default: apple)"},
		&cli.StringSliceFlag{Name: "rung", Usage: "a rendition, `LINES[:BITRATE]` such as 720:2500k; repeat for more"},
		&cli.StringFlag{Name: "audio", Usage: "`BITRATE` of the audio, e.g. 128k (default: 48k for each channel)"},
		&cli.BoolFlag{Name: "encrypt", Usage: "encrypt the segments (AES-128)"},
		&cli.StringFlag{Name: "key-uri", Usage: "`URI` that players get the key from (default: the published stream)"},
	}
}

// outputOf reads formatFlags and ffmpeg's options, which are what follows the
// videos.
func outputOf(c *cli.Context, options []string) (transcode.Output, error) {
	o := transcode.Output{
		Container: transcode.Container(c.String("segments")),
		Codec:     transcode.Codec(c.String("codec")),
		Encoder:   c.String("encoder"),
		Ladder:    transcode.Preset(c.String("ladder")),
		Encrypted: c.Bool("encrypt"),
		KeyURI:    c.String("key-uri"),
		Options:   options,
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
	if text := c.String("audio"); text != "" {
		if o.AudioBPS, err = transcode.ParseBitrate(text); err != nil {
			return o, fmt.Errorf("--audio: %w", err)
		}
	}
	return o, nil
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
