package worker

import (
	"context"
	"fmt"
	"math"
	"time"

	"pibootd/pkg/transcode"
)

// probeHead describes the beginning of a source, if that was asked for, so that it can be
// encoded while the rest is read. An error of it is one of the whole source, too, which shows
// that again.
func (a *attempt) probeHead(ctx context.Context, source string) {
	if a.unit.HeadSeconds <= 0 {
		return
	}
	head, err := a.describeHead(ctx, source, a.unit.HeadSeconds)
	if err != nil {
		a.log().Debug("the beginning of a source is not described", "file", a.unit.Source, "err", err)
		return
	}
	a.head.Store(&head)
}

// describeHead is probe for the first seconds of a source.
func (a *attempt) describeHead(ctx context.Context, source string, seconds float64) (transcode.Probe, error) {
	report := newReport(a.pulse)
	report.head = true
	stderr, err := a.examine(ctx, source, report, a.pulse, "-read_intervals", fmt.Sprintf("%%+%g", seconds))
	if err != nil {
		return transcode.Probe{}, err
	}
	report.finish()
	p, err := a.describe(ctx, source, report, stderr, a.pulse)
	if err == nil {
		p.FFmpeg, p.Unsure = a.hello.Load().FFmpeg, report.unsure(p, seconds)
	}
	a.pulse.restart(time.Now())
	return p, err
}

// unsure returns what the packets of the beginning of a source have that the headers, which are
// about all of it, do not say.
func (r *report) unsure(p transcode.Probe, seconds float64) string {
	film := r.film()
	if film == nil {
		return ""
	}
	rate, average := p.Video.Rate.Float(), rational(film.AvgFrameRate).Float()
	if rate == 0 || math.Abs(average/rate-1) > 0.005 || p.Video.MaxGapSeconds > 1.5/rate {
		return "its frame rate varies"
	}
	for _, t := range r.packets {
		if t.end < p.Start+seconds-headTolerance {
			return "a part of it ends early"
		}
	}
	return ""
}

// headTolerance is how much earlier than asked for ffprobe may stop to read a stream.
const headTolerance = 5
