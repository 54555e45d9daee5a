package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
	"pibootd/pkg/web"
)

func liveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "live", Usage: "stream live: encode a source while it is sent, for players of HLS",
		Subcommands: []*cli.Command{liveAddCommand(std), liveListCommand(std), liveKeyCommand(std), liveStopCommand(std)},
	}
}

func liveAddCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "add", Usage: "start a live stream", ArgsUsage: "NAME [SOURCE]",
		Description: "With --listen, an encoder such as OBS sends the stream; else SOURCE is the URL of an encoder or a camera (rtmp, rtsp, srt, http, https) at an address that live.allow of the configuration has, a named pipe of the media share, or a file, which is sent as fast as it is played.",
		Flags: daemonFlags(append(liveFormatFlags(),
			&cli.BoolFlag{Name: "listen", Usage: "wait for an encoder that sends the stream to live.rtmp_port of the configuration, and print its stream key"},
			&cli.DurationFlag{Name: "dvr", Usage: "let players go back this `DURATION`, 30s to 12h", DefaultText: "30s"},
			&cli.Float64Flag{Name: "part-length", Usage: "make parts of this length in `SECONDS`, 0.5 to 4: less latency costs more bits", DefaultText: "1"},
			&cli.BoolFlag{Name: "keep", Usage: "publish the whole stream as a video when it has ended"},
			&cli.StringSliceFlag{Name: "label", Usage: "use only workers that have every given `LABEL`"},
		)...),
		Action: func(c *cli.Context) error { return addLive(c, std) },
	}
}

// liveFormatFlags are those of formatFlags that a live stream can have.
func liveFormatFlags() []cli.Flag {
	known := []string{"codec", "encoder", "ladder", "rung", "stretch", "constant", "crf", "max-fps", "hdr", "deinterlace"}
	return slices.DeleteFunc(formatFlags(), func(f cli.Flag) bool { return !slices.Contains(known, f.Names()[0]) })
}

func liveListCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list live streams", Flags: daemonFlags(),
		Action: func(c *cli.Context) error { return listLive(c, std) },
	}
}

func liveStopCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "end a live stream", ArgsUsage: "NAME", Flags: daemonFlags(),
		Action: func(c *cli.Context) error { return stopLive(c, std) },
	}
}

func liveKeyCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "key", Usage: "print where an encoder sends a live stream that was added with --listen, and its stream key", ArgsUsage: "NAME",
		Description: "The key belongs to the name: it is the same when a stream of this name is added again.",
		Flags:       daemonFlags(&cli.BoolFlag{Name: "new", Usage: "make another key, and disconnect the encoder that has the old one"}),
		Action:      func(c *cli.Context) error { return showLiveKey(c, std) },
	}
}

func addLive(c *cli.Context, std streams) error {
	names := []string{"NAME", "SOURCE"}
	if c.Bool("listen") {
		names = names[:1]
	}
	args, err := arguments(c, names...)
	if err != nil {
		return err
	}
	request := transcode.Request{
		Name: args[0], Labels: c.StringSlice("label"),
		Live: &transcode.Live{PartSeconds: c.Float64("part-length"), DVRSeconds: int(c.Duration("dvr") / time.Second), Keep: c.Bool("keep"), Listen: c.Bool("listen")},
	}
	if request.Output, err = outputOf(c, nil); err == nil {
		err = request.Check()
	}
	if err != nil { // before a file is copied
		return usageError{hintedError{err, helpHint(c)}}
	}
	if !request.Live.Listen {
		if request.Source, err = liveSource(c, std, args[1]); err != nil {
			return err
		}
	}
	live, err := client(c).AddStream(c.Context, request)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, live)
	}
	if _, err = fmt.Fprintf(std.out, "live stream %s started\nplayers open %s at pibootd's HTTP port\n", live.Name, live.URL); err != nil || !request.Live.Listen {
		return err
	}
	return printLiveKey(c, std, live.Name, false)
}

// liveSource returns the source of a live stream as the daemon knows it. A file elsewhere
// is copied into the media share.
func liveSource(c *cli.Context, std streams, source string) (string, error) {
	info, err := client(c).Info(c.Context)
	if err != nil || transcode.IsLiveURL(source) || isPipe(info.MediaDir, source) {
		return source, err
	}
	return (&batch{c: c, std: std, share: info.MediaDir}).source(source)
}

func showLiveKey(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	return printLiveKey(c, std, args[0], c.Bool("new"))
}

// printLiveKey prints what an encoder has to be configured with.
func printLiveKey(c *cli.Context, std streams, name string, renew bool) error {
	key, err := client(c).StreamKey(c.Context, name, renew)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, key)
	}
	_, err = fmt.Fprintf(std.out, "encoders send to %s\nstream key: %s\n", key.RTMP, key.Key)
	return err
}

// isPipe reports whether a path is a named pipe of the media share on this machine.
func isPipe(share, name string) bool {
	info, err := os.Lstat(filepath.Join(share, name))
	return err == nil && info.Mode().Type() == os.ModeNamedPipe
}

func listLive(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	list, err := client(c).Streams(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, list)
	}
	return printLive(std.out, list)
}

// printLive shows live streams in lines of at most 100 columns.
func printLive(w io.Writer, list []web.LiveStream) error {
	rows := [][]string{{"NAME", "STATE", "RECEIVED", "BEHIND", "INGEST", "RENDITIONS", "PATH"}}
	for _, l := range list {
		rows = append(rows, []string{
			cut(printable(l.Name), 20), l.State, durationText(l.Seconds), durationText(l.BehindSeconds),
			cut(cmp.Or(l.Ingest, "-"), 12), cut(cmp.Or(strings.Join(l.Renditions, ","), "-"), 20), cut(l.URL, 40),
		})
	}
	return printList(w, rows, "no live stream is running; see pibootd live add --help")
}

func durationText(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

func stopLive(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	live, err := client(c).StopStream(c.Context, args[0])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, live)
	}
	_, err = fmt.Fprintf(std.out, "live stream %s stopped\n", live.Name)
	return err
}
