package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

func transcodeCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "transcode",
		Usage:     "have the Pis turn videos into HLS streams, or into MP4 or MKV files",
		ArgsUsage: "VIDEO... [-- FFMPEG OPTIONS] (files; what is not in the media share is copied there)",
		Flags: daemonFlags(append(formatFlags(),
			&cli.BoolFlag{Name: "wait", Usage: "show progress and end when all is published"},
			&cli.StringFlag{Name: "name", Usage: "`NAME` of what is published (default: the video's)"},
			&cli.Float64Flag{Name: "segment", Usage: "segment length in `SECONDS`", Value: 4},
			&cli.BoolFlag{Name: "force", Usage: "do it even if the same was done to the same video before"},
			&cli.IntFlag{Name: "muxid", Usage: "only the worker with this muxer `ID` may do it"},
			&cli.StringSliceFlag{Name: "label", Usage: "only Pis with this `LABEL` may do it; repeat for those that have all"},
		)...),
		Action: func(c *cli.Context) error { return transcodeVideos(c, std) },
	}
}

func transcodeVideos(c *cli.Context, std streams) error {
	videos, options := videosAndOptions(c.Args().Slice())
	if len(videos) == 0 {
		return usageError{hintedError{errors.New("no video given"), helpHint(c)}}
	}
	request, err := requestOf(c, videos, options)
	if err != nil { // before a video is copied
		return usageError{hintedError{err, helpHint(c)}}
	}
	info, err := client(c).Info(c.Context)
	if err != nil {
		return err
	}
	batch := batch{c: c, std: std, share: info.MediaDir}
	for _, video := range videos {
		if err := batch.handIn(request, video); err != nil && !batch.goesOn(err) {
			break
		}
	}
	if c.Bool("wait") {
		batch.wait()
	}
	return errors.Join(batch.failed...)
}

// videosAndOptions parts the videos of a command line from ffmpeg's options,
// of which the first begins with a dash.
func videosAndOptions(args []string) (videos, options []string) {
	end := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if end < 0 {
		return args, nil
	}
	return args[:end], args[end:]
}

// requestOf returns what is to become of each video, checked.
func requestOf(c *cli.Context, videos, options []string) (transcode.Request, error) {
	request := transcode.Request{Name: c.String("name"), SegmentSeconds: c.Float64("segment"), MuxID: c.Int("muxid"), Labels: c.StringSlice("label")}
	if request.Name != "" && len(videos) > 1 {
		return request, fmt.Errorf("--name names what one video becomes; got %d videos %q", len(videos), videos)
	}
	var err error
	request.Output, err = outputOf(c, options)
	if err == nil {
		err = request.Check()
	}
	return request, err
}

// A batch is the videos of one command line. What fails of one does not keep
// the others from being transcoded.
type batch struct {
	c     *cli.Context
	std   streams
	share string // the media share's directory

	jobs   []queue.Job // handed in
	warned bool
	failed []error
}

// handIn submits what is to become of one video and, where nobody waits for
// its end, says so.
func (b *batch) handIn(request transcode.Request, video string) error {
	source, err := intoShare(b.c.Context, b.std, b.share, video)
	if err != nil {
		return err
	}
	request.Source = source
	submitted, err := client(b.c).Submit(b.c.Context, request, b.c.Bool("force"))
	if err != nil {
		return err
	}
	b.jobs = append(b.jobs, submitted.Job)
	if !b.warned {
		b.warned, err = warnWaiting(b.c, b.std, submitted.Job)
	}
	switch {
	case err == nil && !b.c.Bool("wait"):
		err = printSubmitted(b.c, b.std, submitted)
	case err == nil && submitted.Existed && !b.c.Bool("json"):
		fmt.Fprintf(b.std.err, "job %d%s\n", submitted.Job.ID, existed(submitted.Job))
	}
	return err
}

// goesOn notes what failed of a video and reports whether the next may be
// tried.
func (b *batch) goesOn(err error) bool {
	b.failed = append(b.failed, err)
	return b.c.Context.Err() == nil && !isNotRunning(err)
}

// wait shows the jobs' progress until the last has ended, or the user stops
// waiting.
func (b *batch) wait() {
	for i, job := range b.jobs {
		prefix := ""
		if len(b.jobs) > 1 {
			prefix = fmt.Sprintf("%d of %d: ", i+1, len(b.jobs))
		}
		ended, err := waitForJob(b.c, b.std, job.ID, prefix)
		if err == nil {
			err = b.printEnded(ended)
		}
		if err != nil && !b.goesOn(err) {
			return
		}
	}
}

// printEnded prints where the output of a job is. A job that has none is an
// error.
func (b *batch) printEnded(job queue.Job) error {
	var err error
	if b.c.Bool("json") {
		err = printJSON(b.std.out, job)
	} else if job.State == queue.Done {
		_, err = fmt.Fprintf(b.std.out, "%s\n", filepath.Join(b.share, filepath.FromSlash(job.Output)))
	}
	if err == nil && job.State != queue.Done {
		why := ""
		if job.Reason != "" {
			why = ": " + job.Reason
		}
		err = hintedError{fmt.Errorf("job %d %s%s", job.ID, job.State, why), fmt.Sprintf("pibootd jobs show %d", job.ID)}
	}
	return err
}

// warnWaiting says so where nobody is there to do the work, and whether it did.
func warnWaiting(c *cli.Context, std streams, job queue.Job) (bool, error) {
	if !idle(job) {
		return false, nil
	}
	boards, err := everyone(c)
	if err != nil {
		return false, err
	}
	why := waitsFor(job.Request, boards)
	if why != "" {
		fmt.Fprintln(std.err, why)
	}
	return why != "", nil
}

func printSubmitted(c *cli.Context, std streams, s web.Submitted) error {
	if c.Bool("json") {
		return printJSON(std.out, s)
	}
	note := ""
	if s.Existed {
		note = existed(s.Job)
	}
	_, err := fmt.Fprintf(std.out, "job %d%s; see pibootd jobs show %d\n", s.Job.ID, note, s.Job.ID)
	return err
}

// existed says of a job that it is one from before.
func existed(job queue.Job) string {
	if job.State == queue.Done {
		return " has done the same before; --force does it again"
	}
	return " (the same was handed in before and has not ended)"
}
