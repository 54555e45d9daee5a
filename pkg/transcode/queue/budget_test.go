package queue

import (
	"os"
	"slices"
	"testing"

	"pibootd/pkg/transcode"
)

// Units of video wait until all surveys are done, and have bitrates of their own then. A
// job that is cancelled leaves none of them waiting.
func TestSurveys(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	first := b.surveyed("one")
	for range b.states(first.ID, transcode.KindSurvey) {
		if u := b.survey(first.ID); u.Kind != transcode.KindSurvey {
			t.Errorf("%s is claimed; want surveys first", u.ID)
		}
	}
	if got := b.states(first.ID, transcode.KindVideo); slices.Max(got) != pending || slices.Min(got) != pending {
		t.Errorf("units of video are %q; want all of them pending", got)
	}
	budgets := map[int]bool{}
	rows, err := b.store.Query(t.Context(), `SELECT spec FROM units WHERE job = ? AND kind = ?`, first.ID, transcode.KindVideo)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var spec column[transcode.Unit]
		if err := rows.Scan(&spec); err != nil {
			t.Fatal(err)
		}
		budgets[spec.V.Video.Rendition.BudgetBPS] = true
	}
	if budgets[0] || len(budgets) < 2 {
		t.Errorf("budgets %v; want different ones", budgets)
	}
	if err := b.Cancel(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	second := b.surveyed("two")
	if err := b.Cancel(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	if got := b.states(second.ID, transcode.KindVideo); slices.Max(got) != cancelled || slices.Min(got) != cancelled {
		t.Errorf("units of video are %q; want all of them cancelled", got)
	}
}

// surveyed submits a job in two passes, and probes it as a longer film than it is.
func (b *bench) surveyed(name string) Job {
	b.t.Helper()
	request := fixtureRequest
	request.TwoPass, request.Name = true, name
	job := b.submit(request)
	probe := theFixture(b.t).probe
	video := *probe.Video
	video.EndSeconds, probe.Seconds = 60, 60
	probe.Video, probe.Audio = &video, nil
	b.hand(job.ID, func(transcode.Unit) transcode.Result { return transcode.Result{Probe: &probe} })
	if got := b.states(job.ID, transcode.KindVideo); len(got) < 2 || slices.Max(got) != waiting || slices.Min(got) != waiting {
		b.t.Fatalf("units of video are %q; want several that wait", got)
	}
	return job
}

// survey claims a unit, and reports a survey of it.
func (b *bench) survey(job int64) transcode.Unit {
	b.t.Helper()
	return b.hand(job, func(u transcode.Unit) transcode.Result {
		r := transcode.Result{Survey: &transcode.Survey{Texture: float64(1+u.Video.FirstFrame) * 1e5, Rest: 1000}}
		for range u.Video.Others {
			r.Others = append(r.Others, transcode.Result{Survey: r.Survey})
		}
		return r
	})
}

// hand claims a unit, and hands in a result without files.
func (b *bench) hand(job int64, result func(transcode.Unit) transcode.Result) transcode.Unit {
	b.t.Helper()
	reply, err := b.claim(b.t.Context(), "pi1", "")
	if err != nil || reply.Refused != "" {
		b.t.Fatalf("claim: %+v, %v", reply, err)
	}
	if err := os.MkdirAll(scratchDir(b.media(""), "pi1", job, reply.Unit.ID, reply.Attempt), 0o755); err != nil {
		b.t.Fatal(err)
	}
	verdict, err := b.accept(b.t.Context(), "pi1", transcode.Done{Job: job, Unit: reply.Unit.ID, Attempt: reply.Attempt, Result: result(reply.Unit)})
	if err != nil || !verdict.Accepted {
		b.t.Fatalf("result of %s: %+v, %v", reply.Unit.ID, verdict, err)
	}
	return reply.Unit
}

// states returns the states of the units of a kind.
func (b *bench) states(id int64, kind transcode.Kind) []string {
	b.t.Helper()
	job, err := b.Job(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	var states []string
	for _, u := range job.Units {
		if u.Kind == kind {
			states = append(states, u.State)
		}
	}
	return states
}
