package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode/queue"
)

// stateText is a job's state, with whether it is paused and its priority.
func stateText(job queue.Job) string {
	text := string(job.State)
	if job.State.Ended() {
		return text
	}
	if job.Paused {
		text += ", paused"
	}
	if job.Priority != queue.Normal {
		text += ", " + job.Priority.String()
	}
	return text
}

func retryJob(c *cli.Context, std streams) error {
	id, err := jobArgument(c)
	if err != nil {
		return err
	}
	submitted, err := client(c).RetryJob(c.Context, id)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, submitted)
	}
	_, err = fmt.Fprintf(std.out, "job %d submitted, a retry of job %d\n", submitted.Job.ID, id)
	return err
}

func setPriority(c *cli.Context, std streams) error {
	args, err := arguments(c, "JOB", "hi|normal|low")
	if err != nil {
		return err
	}
	id, err := parseJob(args[0])
	if err != nil {
		return err
	}
	var priority queue.Priority
	if err := priority.UnmarshalText([]byte(args[1])); err != nil {
		return usageError{hintedError{err, helpHint(c)}}
	}
	return changeJob(c, std, id, queue.Change{Priority: &priority})
}

func pauseJob(c *cli.Context, std streams, paused bool) error {
	id, err := jobArgument(c)
	if err != nil {
		return err
	}
	return changeJob(c, std, id, queue.Change{Paused: &paused})
}

func changeJob(c *cli.Context, std streams, id int64, change queue.Change) error {
	job, err := client(c).ChangeJob(c.Context, id, change)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, job)
	}
	_, err = fmt.Fprintf(std.out, "job %d is %s\n", job.ID, stateText(job))
	return err
}

func removeJob(c *cli.Context, std streams) error {
	id, err := jobArgument(c)
	if err != nil {
		return err
	}
	job, err := client(c).RemoveJob(c.Context, id)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, job)
	}
	_, err = fmt.Fprintf(std.out, "job %d, which was %s, removed\n", job.ID, job.State)
	return err
}
