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
		Name:        "transcode",
		Usage:       "transcode videos to HLS streams, MP4 or Matroska files",
		ArgsUsage:   "VIDEO... [-- FFMPEG OPTIONS]",
		Description: "VIDEO is a file, or a path in the media share. A file outside the media share is copied into it.",
		Flags: daemonFlags(append(formatFlags(),
			&cli.BoolFlag{Name: "wait", Usage: "show progress, and end when everything is published"},
			&cli.StringFlag{Name: "name", Usage: "publish the output as `NAME`", DefaultText: "the video's name"},
			&cli.Float64Flag{Name: "segment-length", Usage: "make HLS segments of this length in `SECONDS`", Value: 4},
			// The old spelling, to be removed after the first release with segment-length.
			&cli.Float64Flag{Name: "segment", Hidden: true},
			&cli.BoolFlag{Name: "force", Usage: "transcode even if a job with the same video and options exists"},
			&cli.IntFlag{Name: "muxid", Usage: "use only the worker with the muxer `ID`"},
			&cli.StringSliceFlag{Name: "label", Usage: "use only workers that have every given `LABEL`"},
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
		if err := batch.submit(request, video); err != nil && !batch.fail(err) {
			break
		}
	}
	if c.Bool("wait") {
		batch.wait()
	}
	return errors.Join(batch.errs...)
}

// videosAndOptions splits a command line into videos and ffmpeg's options, the
// first of which begins with a dash.
func videosAndOptions(args []string) (videos, options []string) {
	end := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if end < 0 {
		return args, nil
	}
	return args[:end], args[end:]
}

// segmentLength reads --segment-length, or its old spelling.
func segmentLength(c *cli.Context) float64 {
	if c.IsSet("segment") && !c.IsSet("segment-length") {
		return c.Float64("segment")
	}
	return c.Float64("segment-length")
}

// requestOf returns the request for each video, checked.
func requestOf(c *cli.Context, videos, options []string) (transcode.Request, error) {
	request := transcode.Request{Name: c.String("name"), SegmentSeconds: segmentLength(c), MuxID: c.Int("muxid"), Labels: c.StringSlice("label")}
	if request.Name != "" && len(videos) > 1 {
		return request, fmt.Errorf("--name names the output of one video; got %d videos %q", len(videos), videos)
	}
	var err error
	request.Output, err = outputOf(c, options)
	if err == nil {
		err = request.Check()
	}
	return request, err
}

// A batch is the videos of one command line. A failure of one does not stop the
// others.
type batch struct {
	c     *cli.Context
	std   streams
	share string // the media share's directory

	jobs   []queue.Job // submitted
	warned bool
	errs   []error
}

// source returns the path of a video in the media share, into which it is copied or
// uploaded if it is elsewhere.
func (b *batch) source(video string) (string, error) {
	if isRemote(b.c) {
		return upload(b.c, b.std, video)
	}
	return intoShare(b.c.Context, b.std, b.share, video)
}

// submit submits a job for one video and prints its number unless the command
// waits for its end.
func (b *batch) submit(request transcode.Request, video string) error {
	source, err := b.source(video)
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

// fail records the failure of a video and reports whether the others can be
// tried.
func (b *batch) fail(err error) bool {
	b.errs = append(b.errs, err)
	return b.c.Context.Err() == nil && !isNotRunning(err)
}

// wait shows the jobs' progress until the last has ended, or the user interrupts
// it.
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
		if err != nil && !b.fail(err) {
			return
		}
	}
}

// printEnded prints the path of a job's output. A job without output is an error.
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

// warnWaiting warns if no worker can run the job, and reports whether it warned.
func warnWaiting(c *cli.Context, std streams, job queue.Job) (bool, error) {
	if !idle(job) {
		return false, nil
	}
	boards, err := everyone(c)
	if err != nil {
		return false, err
	}
	why := blockedReason(job.Request, boards)
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

// existed says that a job was submitted before.
func existed(job queue.Job) string {
	if job.State == queue.Done {
		return " did the same before; --force transcodes again"
	}
	return " (the same was submitted before and has not ended)"
}
