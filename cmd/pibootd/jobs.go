package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

func jobsCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:   "jobs",
		Usage:  "list, control and remove transcoding jobs",
		Action: unknownCommand,
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list all jobs", Flags: daemonFlags(), Action: func(c *cli.Context) error { return listJobs(c, std) }},
			{Name: "show", Usage: "show a job and its units", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return showJob(c, std) }},
			{Name: "cancel", Usage: "cancel a job", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return cancelJob(c, std) }},
			{Name: "retry", Usage: "submit a failed or cancelled job again", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return retryJob(c, std) }},
			{Name: "priority", Usage: "run a job before or after others", ArgsUsage: "JOB hi|normal|low", Flags: daemonFlags(), Action: func(c *cli.Context) error { return setPriority(c, std) }},
			{Name: "pause", Usage: "start no more units of a job", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return pauseJob(c, std, true) }},
			{Name: "resume", Usage: "resume a paused job", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return pauseJob(c, std, false) }},
			{Name: "rm", Usage: "remove a job that has ended, and leave its output", ArgsUsage: "JOB", Flags: daemonFlags(), Action: func(c *cli.Context) error { return removeJob(c, std) }},
		},
	}
}

func listJobs(c *cli.Context, std streams) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	jobs, err := client(c).Jobs(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJobsJSON(c, std, jobs)
	}
	rows := [][]string{{"JOB", "STATE", "DONE", "CREATED", "VIDEO", "OUTPUT OR REASON"}}
	for _, job := range jobs {
		rows = append(rows, []string{strconv.FormatInt(job.ID, 10), stateText(job), percent(job), since(job.Created), shorten(printable(job.Request.Source), 24), printable(outcome(job, 26))})
	}
	return printList(std.out, rows, "no jobs; see pibootd transcode --help")
}

// outcome is the output of a job, or the beginning of the reason why it failed.
func outcome(job queue.Job, width int) string {
	if job.State != queue.Failed {
		return shorten(job.Output, width)
	}
	return cut(job.Reason, width)
}

func percent(job queue.Job) string {
	if job.TotalFrames == 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%", job.Frames*100/job.TotalFrames)
}

// shorten keeps the end of a long path, which says more than its beginning.
func shorten(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return "…" + string(runes[len(runes)-width+1:])
}

func showJob(c *cli.Context, std streams) error {
	id, err := jobArgument(c)
	if err != nil {
		return err
	}
	job, err := client(c).Job(c.Context, id)
	if err != nil {
		return err
	}
	boards, err := everyone(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, shownJob{job, jobBlockedReason(job, boards)})
	}
	return printJob(std.out, job, boards)
}

// printJob shows a job, with its workers by their boards' names.
func printJob(w io.Writer, job queue.Job, boards []web.Pi) error {
	var out strings.Builder
	fmt.Fprintf(&out, "job %d  %s\n", job.ID, stateText(job))
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&out, "  %-7s %s\n", name, printable(text))
		}
	}
	line("video", job.Request.Source)
	line("output", job.Output)
	line("labels", strings.Join(job.Request.Labels, " "))
	line("done", progressText(job))
	for sentence := range strings.Lines(job.Note) {
		line("note", strings.TrimSpace(sentence))
	}
	names := map[string]string{}
	for _, b := range boards {
		names[b.Serial.String()] = b.Name
	}
	line("reason", withNames(job.Reason, names))
	for _, text := range job.Stderr {
		line("", text)
	}
	line("waits", jobBlockedReason(job, boards))
	for _, text := range failures(job, names) {
		line("failed", text)
	}
	if !job.Ended.IsZero() {
		line("took", job.Ended.Sub(job.Created).Round(time.Second).String())
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return err
	}
	rows := [][]string{{"  UNIT", "STATE", "ATTEMPT", "WORKER", "FRAMES"}}
	for _, unit := range job.Units {
		worker := cmp.Or(names[unit.Worker], unit.Worker)
		rows = append(rows, []string{"  " + unit.ID, unit.State, strconv.Itoa(unit.Attempt), worker, fmt.Sprintf("%d/%d", unit.Frames, unit.TotalFrames)})
	}
	return printTable(w, rows)
}

// withNames replaces the serial number of the worker in a reason by its board's
// name.
func withNames(reason string, names map[string]string) string {
	for serial, name := range names {
		reason = strings.Replace(reason, "the last time by "+serial+":", "the last time by "+name+":", 1)
	}
	return reason
}

// maxFailures bounds the failures shown of a running job.
const maxFailures = 5

// failures returns the last failure of each unit of a job that has not ended.
func failures(job queue.Job, names map[string]string) []string {
	var list []string
	for _, unit := range job.Units {
		if unit.FailedOn != "" && !job.State.Ended() && len(list) < maxFailures {
			what := unit.ID
			if transcode.IsLegacyMuxer(unit.FailedOn) {
				what = "the whole video"
			}
			list = append(list, fmt.Sprintf("%s on %s: %s", what, cmp.Or(names[unit.FailedOn], unit.FailedOn), unit.FailedWhy))
		}
	}
	return list
}

// printable returns an untrusted text, quoted if it has characters that a terminal could
// interpret.
func printable(text string) string {
	unfit := func(r rune) bool { return !unicode.IsPrint(r) }
	if strings.ContainsFunc(text, unfit) || !utf8.ValidString(text) {
		return strconv.Quote(text)
	}
	return text
}

// progressText describes the progress of a job that has not ended.
func progressText(job queue.Job) string {
	if job.State.Ended() || job.TotalFrames == 0 {
		return ""
	}
	text := percent(job)
	if job.FPS > 0 {
		text += fmt.Sprintf(", %.0f fps", job.FPS)
	}
	if job.ETA > 0 {
		text += ", ETA " + job.ETA.Round(time.Second).String()
	}
	return text
}

func cancelJob(c *cli.Context, std streams) error {
	id, err := jobArgument(c)
	if err != nil {
		return err
	}
	job, err := client(c).CancelJob(c.Context, id)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, job)
	}
	_, err = fmt.Fprintf(std.out, "job %d is %s\n", job.ID, job.State)
	return err
}

func jobArgument(c *cli.Context) (int64, error) {
	args, err := arguments(c, "JOB")
	if err != nil {
		return 0, err
	}
	return parseJob(args[0])
}

func parseJob(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("got job %q; want its number, as pibootd jobs list shows it", text)}
	}
	return id, nil
}

// waitForJob shows a job's progress, after prefix, until it has ended and returns
// it. It waits for a daemon that has ended to return, because jobs survive it.
func waitForJob(c *cli.Context, std streams, id int64, prefix string) (queue.Job, error) {
	p := jobProgress{meter: newMeter(std), prefix: prefix}
	defer p.clear()
	var last queue.Job
	for {
		for job, err := range client(c).WatchJob(c.Context, id) {
			if err != nil {
				if c.Context.Err() == nil && isNotRunning(err) {
					break
				}
				return last, stoppedWaiting(c, id, err)
			}
			last = job
			if !c.Bool("json") {
				p.follow(job)
			}
			if job.State.Ended() {
				return job, nil
			}
		}
		if !pause.For(c.Context, reconnectEvery) {
			return last, stoppedWaiting(c, id, nil)
		}
	}
}

// stoppedWaiting returns err, or if the command was interrupted what that means for the job.
func stoppedWaiting(c *cli.Context, id int64, err error) error {
	if by, ok := interruptionOf(c.Context); ok {
		return hintedError{fmt.Errorf("stopped waiting for job %d, which goes on: %w", id, by), fmt.Sprintf("pibootd jobs show %d, or pibootd jobs cancel %d", id, id)}
	}
	return err
}

// reconnectEvery is the time between two attempts to reach a daemon that ended.
const reconnectEvery = time.Second

// A jobProgress shows how far a job is.
type jobProgress struct {
	*meter
	prefix string
	noted  bool // the job's note was printed
}

// follow shows how far the job is, and once the note about it.
func (p *jobProgress) follow(job queue.Job) {
	if job.Note != "" && !p.noted {
		for sentence := range strings.Lines(job.Note) {
			p.note(p.prefix + strings.TrimSpace(sentence))
		}
		p.noted = true
	}
	p.show(progress{
		label: p.prefix + activity(job), done: int64(job.Frames), total: int64(job.TotalFrames), unit: framesUnit,
		rate: job.FPS, left: job.ETA,
	})
}

// activity says what the workers are doing for a job.
func activity(job queue.Job) string {
	workers := map[string]bool{}
	kinds := map[transcode.Kind]bool{}
	for _, unit := range job.Units {
		if unit.State == "running" {
			workers[unit.Worker], kinds[unit.Kind] = true, true
		}
	}
	switch {
	case len(workers) == 0:
		return string(job.State)
	case len(kinds) == 1 && kinds[transcode.KindProbe]:
		return "probing"
	case len(kinds) == 1 && kinds[transcode.KindJoin]:
		return "joining"
	case kinds[transcode.KindSurvey] && len(workers) == 1:
		return "first pass on 1 worker"
	case kinds[transcode.KindSurvey]:
		return fmt.Sprintf("first pass on %d workers", len(workers))
	case len(workers) == 1:
		return "transcoding on 1 worker"
	}
	return fmt.Sprintf("transcoding on %d workers", len(workers))
}
