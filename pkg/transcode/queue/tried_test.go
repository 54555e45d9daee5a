package queue

import (
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// A job with a quality is planned when all of its trials are done, also if the queue restarts
// between them; its note says what was chosen. A preview makes no trials.
func TestTrials(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	request := fixtureRequest
	request.Quality, request.Name = 80, "one"
	job := b.submit(request)
	probe := theFixture(t).probe
	video := *probe.Video
	video.EndSeconds, probe.Seconds = 300, 300
	probe.Video, probe.Audio = &video, nil
	b.hand(job.ID, func(transcode.Unit) transcode.Result { return transcode.Result{Probe: &probe} })
	trials := b.states(job.ID, transcode.KindTrial)
	if len(trials) < 2 || len(b.states(job.ID, transcode.KindVideo)) > 0 {
		t.Fatalf("%d trials, and units of video %q; want several trials first", len(trials), b.states(job.ID, transcode.KindVideo))
	}
	b.tries(job.ID)
	b = b.restart(nil)
	b.known("pi1")
	for range trials[1:] {
		if got := b.states(job.ID, transcode.KindVideo); len(got) > 0 {
			t.Errorf("units of video are %q; want none before the last trial", got)
		}
		b.tries(job.ID)
	}
	if got := b.states(job.ID, transcode.KindVideo); len(got) == 0 || slices.Max(got) != pending {
		t.Errorf("units of video are %q; want them pending", got)
	}
	if got, err := b.Job(t.Context(), job.ID); err != nil || !strings.Contains(got.Note, "rung of quality 80: ") {
		t.Errorf("the note is %q, %v; want what was chosen", got.Note, err)
	}
	request.Name = "two"
	preview, err := b.Preview(t.Context(), request)
	if err != nil || preview.Bytes != 0 || len(preview.Renditions) == 0 || !strings.Contains(preview.Note, "follow from trials") {
		t.Errorf("preview: %+v, %v; want what there is to choose from, of no known size", preview, err)
	}
}

// tries claims a trial, and reports that more bits are a better picture.
func (b *bench) tries(job int64) {
	b.t.Helper()
	b.hand(job, func(u transcode.Unit) transcode.Result {
		if u.Kind != transcode.KindTrial {
			b.t.Fatalf("%s is claimed; want a trial", u.ID)
		}
		trial := func(i int, r transcode.Rendition) *transcode.Trial {
			loss, pieces := float64(r.CRF-20)/500, u.TriedPieces(i)
			return &transcode.Trial{Frames: pieces * (u.Video.EndFrame - u.Video.FirstFrame), Keys: pieces, KeyBytes: int64(pieces*(90-r.CRF)) * 100, RestBytes: int64(pieces*(90-r.CRF)) * 1000, SSIM: 0.98 - loss}
		}
		r := transcode.Result{Trial: trial(0, u.Video.Rendition)}
		for i, other := range u.Video.Others {
			r.Others = append(r.Others, transcode.Result{Trial: trial(i+1, other)})
		}
		return r
	})
}
