package queue

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// A preview has one worker read the source once, and says what each request would
// make of it. Nothing else of it is to be seen.
func TestPreview(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := b.Preview(ctx, fixtureRequest); ended <- err }()
	for b.count(t, `SELECT count(*) FROM jobs WHERE preview = 1`) == 0 {
	}
	cancel()
	if err := <-ended; !errors.Is(err, ErrNotProbed) {
		t.Errorf("Preview without a worker = %v; want %v", err, ErrNotProbed)
	}
	b.encode(transcode.Work{Job: 1, Unit: "probe"}) // it was left to do
	p, err := b.Preview(t.Context(), fixtureRequest)
	f := theFixture(t)
	if err != nil || !cmp.Equal(p.Renditions, f.plan.Renditions) || len(p.Audio) != 1 || p.Seconds != sourceSeconds || p.Bytes <= 0 || p.Existing != 0 {
		t.Errorf("Preview = %+v, %v; want the ladder and the sound of the plan", p, err)
	}
	if len(p.Tracks) != 1 || p.Tracks[0].Kind != "audio" || p.Tracks[0].Number != 1 || !p.Tracks[0].Kept {
		t.Errorf("Preview has the tracks %+v; want the sound of the source, kept", p.Tracks)
	}
	mute := fixtureRequest
	mute.Output.Audio = transcode.AudioNone
	if p, err := b.Preview(t.Context(), mute); err != nil || len(p.Tracks) != 1 || p.Tracks[0].Kept || len(p.Audio) != 0 {
		t.Errorf("Preview without sound = %+v, %v; want the sound of the source to choose from, and none kept", p, err)
	}
	low := fixtureRequest
	low.Rungs = []transcode.Rung{{Lines: 90}}
	if p, err := b.Preview(t.Context(), low); err != nil || len(p.Renditions) != 1 {
		t.Errorf("Preview with other options = %+v, %v; want one rendition, at once", p, err)
	}
	if jobs, err := b.Jobs(t.Context()); err != nil || len(jobs) != 0 {
		t.Errorf("Jobs = %+v, %v; want none", jobs, err)
	}
	if hooks, left := b.count(t, `SELECT count(*) FROM hooks`), b.count(t, `SELECT count(*) FROM units WHERE state <> 'done'`); hooks != 0 || left != 0 {
		t.Errorf("%d hooks and %d units to do; want none", hooks, left)
	}
	job := b.submit(fixtureRequest)
	if p, err := b.Preview(t.Context(), fixtureRequest); err != nil || p.Existing != job.ID {
		t.Errorf("Preview of a job that is there = %+v, %v; want job %d", p, err, job.ID)
	}
}

// A source that cannot be read, and options that do not go with it, are the
// request's fault.
func TestPreviewRefuses(t *testing.T) {
	t.Parallel()
	b := open(t, newDirs(t), nil)
	wrong := func(r transcode.Request, field string) {
		t.Helper()
		var refused pi.RequestError
		if _, err := b.Preview(t.Context(), r); !errors.As(err, &refused) || refused.Field != field {
			t.Errorf("Preview of %+v = %v; want %q refused", r, err, field)
		}
	}
	wrong(transcode.Request{Source: "none.mp4"}, "source")
	wrong(transcode.Request{Source: sourceName, SegmentSeconds: -1}, "segment_seconds")
	_, stamp, err := b.identityOf(fixtureRequest)
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.submitPreview(t.Context(), sourceName, stamp)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.submitPreview(t.Context(), sourceName, stamp); err != nil || again != id {
		t.Errorf("a second probe of the source is job %d, %v; want %d", again, err, id)
	}
	b.takes(LegacyMuxer{MuxID: 1, Host: "10.0.0.9"}, 0) // it would make a stream
}

// count returns what a query counts.
func (b *bench) count(t *testing.T, query string) (n int) {
	t.Helper()
	if err := b.store.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
