package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/web"
)

// blockedReason says why none of these boards can run a request; "" if one can.
func blockedReason(r transcode.Request, boards []web.Pi) string {
	if forLegacyMuxer(r) {
		return ""
	}
	labelled := func(b web.Pi) bool { return transcode.Request{Labels: r.Labels}.For(0, b.Settings.Labels) }
	if len(r.Labels) > 0 && !slices.ContainsFunc(boards, labelled) {
		return fmt.Sprintf("no Pi has %s: the video waits for one (pibootd edit-pi PI --label %s)", labelsText(r.Labels), strings.Join(r.Labels, " --label "))
	}
	for _, need := range []struct {
		met    func(web.Pi, queue.Worker) bool
		reason string
	}{
		{func(_ web.Pi, w queue.Worker) bool { return w.Online }, "no Pi is online yet: the video waits for one"},
		{func(_ web.Pi, w queue.Worker) bool { return !w.Drained }, "all Pis that are online are drained: the video waits for pibootd undrain"},
		{func(_ web.Pi, w queue.Worker) bool { return w.Hello.Locked == "" }, lockedText(boards)},
		{func(_ web.Pi, w queue.Worker) bool { return r.MuxID == 0 || w.Hello.MuxID == r.MuxID },
			fmt.Sprintf("no Pi that takes work has muxer id %d: the video waits for one", r.MuxID)},
		{func(b web.Pi, _ queue.Worker) bool { return labelled(b) },
			fmt.Sprintf("no Pi that takes work has %s: the video waits for one", labelsText(r.Labels))},
		{func(_ web.Pi, w queue.Worker) bool {
			return !slices.ContainsFunc(r.NeededEncoders(), func(name string) bool { return !w.Hello.Has(name) })
		},
			fmt.Sprintf("no Pi that may do it has the encoder %s: the video waits for one", strings.Join(r.NeededEncoders(), " and "))},
	} {
		boards = slices.DeleteFunc(slices.Clone(boards), func(b web.Pi) bool { return b.Worker == nil || !need.met(b, *b.Worker) })
		if len(boards) == 0 {
			return need.reason
		}
	}
	return ""
}

// lockedText says why the first board that refuses work does so.
func lockedText(boards []web.Pi) string {
	for _, b := range boards {
		if b.Worker != nil && b.Worker.Online && b.Worker.Hello.Locked != "" {
			return fmt.Sprintf("no Pi takes work right now: the video waits for one; %s: %s", b.Name, printable(b.Worker.Hello.Locked))
		}
	}
	return ""
}

// labelsText names the labels that a Pi must have.
func labelsText(labels []string) string {
	if len(labels) == 1 {
		return "the label " + labels[0]
	}
	return "the labels " + strings.Join(labels, ", ")
}

// forLegacyMuxer reports whether a muxer of the older pool can run a request.
// pibootd learns of those only when they ask for work.
func forLegacyMuxer(r transcode.Request) bool {
	return strings.HasPrefix(r.Source, transcode.MuxerDir+"/") && len(r.Labels) == 0 && (r.MuxID != 0 || r.Ladder == transcode.PresetAuthor)
}

// A shownJob is a job with the reason why it waits, for scripts.
type shownJob struct {
	queue.Job
	Waits string `json:"waits,omitempty"`
}

func printJobsJSON(c *cli.Context, std streams, jobs []queue.Job) error {
	boards, err := everyone(c)
	if err != nil {
		return err
	}
	all := make([]shownJob, len(jobs))
	for i, job := range jobs {
		all[i] = shownJob{job, jobBlockedReason(job, boards)}
	}
	return printJSON(std.out, all)
}

// jobBlockedReason says why a job waits although it could run; "" if one of these
// boards runs it, or could.
func jobBlockedReason(job queue.Job, boards []web.Pi) string {
	runs := func(b web.Pi) bool { return b.Worker != nil && b.Worker.Job == job.ID }
	if !idle(job) || slices.ContainsFunc(boards, runs) {
		return ""
	}
	if why := blockedReason(job.Request, boards); why != "" {
		return why
	}
	lifts := slices.ContainsFunc(job.Units, func(u queue.UnitState) bool { return u.Kind == transcode.KindLift && u.State == "pending" })
	draws := func(b web.Pi) bool { return b.Worker != nil && b.Worker.Online && b.Worker.Hello.Has(transcode.Libass) }
	if lifts && !slices.ContainsFunc(boards, draws) {
		return "the ffmpeg of no Pi that is online has libass, which burns in text: the video waits for one"
	}
	return ""
}

// idle reports whether no worker runs any unit of a job that has not ended.
func idle(job queue.Job) bool {
	running := func(u queue.UnitState) bool { return u.State == "running" }
	return (job.State == queue.Queued || job.State == queue.Running) && !job.Paused && !slices.ContainsFunc(job.Units, running)
}
