package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/transcode"
)

// A Preview is what a request would make of its source.
type Preview struct {
	Seconds    float64                    `json:"seconds"`    // length of the source
	SizeBytes  int64                      `json:"size_bytes"` // of the source
	Video      *transcode.VideoStream     `json:"video,omitempty"`
	Renditions []transcode.Rendition      `json:"renditions"` // the ladder, highest first
	Audio      []transcode.AudioRendition `json:"audio"`      // the default one first
	Subtitles  []transcode.TextRendition  `json:"subtitles"`
	Tracks     []Track                    `json:"tracks"`             // of the source: what a request can choose from
	Note       string                     `json:"note,omitempty"`     // what the user should know about how the job would be done: sentences, a line each
	Bytes      int64                      `json:"bytes"`              // expected size of the output, by the bitrates asked for; 0: unknown
	Existing   int64                      `json:"existing,omitempty"` // the job that does or has done the same; 0: none
}

// A Track is audio or subtitles of a source, and whether the output has it.
type Track struct {
	Kind     string `json:"kind"`               // audio or subtitles
	Number   int    `json:"number"`             // among those of its kind, from 1, as audio_tracks and omit_subtitles have it
	Language string `json:"language,omitempty"` // BCP 47, e.g. de; "" if unknown
	Title    string `json:"title,omitempty"`
	Codec    string `json:"codec"` // ffmpeg's name
	Channels int    `json:"channels,omitempty"`
	File     string `json:"file,omitempty"` // beside the source, which has the subtitles
	Kept     bool   `json:"kept"`
}

// tracksOf returns what a source has, and which of it the plan keeps.
func tracksOf(r transcode.Request, plan transcode.Plan, probe transcode.Probe) []Track {
	tracks := []Track{}
	for _, a := range probe.AudioStreams() {
		kept := plan.Audio != nil && plan.Audio.Stream == a.Stream || slices.ContainsFunc(plan.MoreAudio, func(k transcode.AudioRendition) bool { return k.Stream == a.Stream })
		tracks = append(tracks, Track{Kind: "audio", Number: a.Stream + 1, Language: a.Language, Title: a.Title, Codec: a.Codec, Channels: a.Channels, Kept: kept})
	}
	for i, s := range r.SubtitleStreams(probe) {
		kept := slices.ContainsFunc(plan.Subtitles, func(k transcode.TextRendition) bool { return k.Source == s.File && k.Stream == s.Stream })
		tracks = append(tracks, Track{Kind: "subtitles", Number: i + 1, Language: s.Language, Title: s.Title, Codec: s.Codec, File: s.File, Kept: kept})
	}
	return tracks
}

// ErrNotProbed reports that no worker has read the source in time. It will be
// known later, so it is worth to ask again.
var ErrNotProbed = errors.New("no worker has read the source yet")

// Limits of jobs that only probe.
const (
	maxPreviews   = 16 // that have not ended
	previewsStay  = 24 * time.Hour
	previewReason = "its source was only probed"
)

// Preview returns what a request would make, and submits nothing. If the source is
// not known yet, a worker probes it first; if ctx ends before that, the error
// matches ErrNotProbed.
func (q *Queue) Preview(ctx context.Context, r transcode.Request) (Preview, error) {
	r, err := q.checkRequest(r)
	if err != nil {
		return Preview{}, fmt.Errorf("queue: %w", err)
	}
	identity, stamp, err := q.identityOf(r)
	if err != nil {
		return Preview{}, fmt.Errorf("queue: previewing %q: %w", r.Source, err)
	}
	probe, err := q.probeOf(ctx, r.Source, stamp)
	if err != nil {
		return Preview{}, fmt.Errorf("queue: previewing %q: %w", r.Source, err)
	}
	// As if subtitles that are burnt in had been lifted already, and without trials.
	plan, err := transcode.Division{Lifted: transcode.LiftedName, Untried: true}.Plan(r, probe)
	if err != nil {
		return Preview{}, pi.InvalidField("", fmt.Errorf("queue: %w", err))
	}
	preview := previewOf(r, plan, probe)
	preview.Existing, err = q.sameJob(ctx, identity)
	return preview, err
}

func previewOf(r transcode.Request, plan transcode.Plan, probe transcode.Probe) Preview {
	p := Preview{
		Seconds: probe.Seconds, SizeBytes: probe.SizeBytes, Video: probe.Video, Note: plan.Note, Tracks: tracksOf(r, plan, probe),
		Renditions: append([]transcode.Rendition{}, plan.Renditions...), Audio: []transcode.AudioRendition{}, Subtitles: append([]transcode.TextRendition{}, plan.Subtitles...),
	}
	if plan.Audio != nil {
		p.Audio = append(p.Audio, *plan.Audio)
	}
	p.Audio = append(p.Audio, plan.MoreAudio...)
	if r.Quality > 0 { // bitrates follow from trials
		return p
	}
	bits := 0
	for _, r := range p.Renditions {
		bits += r.BitrateBPS
	}
	for _, a := range p.Audio {
		bits += a.BitrateBPS
	}
	p.Bytes = int64(float64(bits) / 8 * probe.Seconds)
	return p
}

// sameJob returns the job that Submit would return instead of a new one, 0 if there
// is none.
func (q *Queue) sameJob(ctx context.Context, identity string) (id int64, err error) {
	job, existing, err := q.finished(ctx, identity)
	if err != nil || existing {
		return job.ID, err
	}
	err = q.store.QueryRow(ctx, `SELECT id FROM jobs WHERE identity = ? AND ended = 0 ORDER BY id LIMIT 1`, identity).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// probeOf returns what a worker has found in a source, or has one look.
func (q *Queue) probeOf(ctx context.Context, source string, stamp sourceStamp) (transcode.Probe, error) {
	probe, known, err := q.knownProbe(ctx, stamp)
	if err != nil || known {
		return probe, err
	}
	id, err := q.submitPreview(ctx, source, stamp)
	if err != nil {
		return transcode.Probe{}, err
	}
	if err := q.waitPreview(ctx, id); err != nil {
		return transcode.Probe{}, err
	}
	if ctx.Err() == nil {
		if probe, known, err = q.knownProbe(ctx, stamp); err != nil || known {
			return probe, err
		}
	}
	return transcode.Probe{}, ErrNotProbed
}

// waitPreview waits until a job that only probes has ended, or ctx has. The error is
// the source's.
func (q *Queue) waitPreview(ctx context.Context, id int64) error {
	changed, stop := q.watches.add(id)
	defer stop()
	for {
		var state State
		var reason string
		err := q.store.QueryRow(ctx, `SELECT state, reason FROM jobs WHERE id = ?`, id).Scan(&state, &reason)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case state == Failed:
			return pi.InvalidField("source", errors.New(reason))
		case state.Ended() || !received(ctx, changed):
			return nil
		}
	}
}

// knownProbe returns the newest probe of a file, by whatever name it was submitted.
func (q *Queue) knownProbe(ctx context.Context, stamp sourceStamp) (transcode.Probe, bool, error) {
	var probe column[transcode.Probe]
	err := q.store.QueryRow(ctx, `SELECT probe FROM jobs WHERE source = ? AND probe <> '' ORDER BY id DESC LIMIT 1`, column[sourceStamp]{stamp}).Scan(&probe)
	if errors.Is(err, sql.ErrNoRows) {
		return transcode.Probe{}, false, nil
	}
	return probe.V, err == nil, err
}

// submitPreview adds a job that probes a source before all others, unless there is
// one.
func (q *Queue) submitPreview(ctx context.Context, source string, stamp sourceStamp) (id int64, err error) {
	text, err := json.Marshal(stamp)
	if err != nil {
		return 0, err
	}
	identity := "preview " + string(text) // no hash, so nobody else's
	err = q.write(ctx, func(t *transaction) error {
		id, err = t.unfinished(ctx, identity)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var open int
		if err := t.tx.QueryRowContext(ctx, `SELECT count(*) FROM jobs WHERE preview = 1 AND ended = 0`).Scan(&open); err != nil {
			return err
		}
		if open >= maxPreviews {
			return fmt.Errorf("%d sources wait to be read: %w", open, ErrNotProbed)
		}
		if id, err = t.addJob(ctx, transcode.Request{Source: source, Name: transcode.NameOf(source)}, identity, stamp); err != nil {
			return err
		}
		return t.exec(ctx, `UPDATE jobs SET preview = 1, priority = ? WHERE id = ?`, int(High), id)
	})
	return id, err
}

// keepProbe ends a job that only probes its source. It reports whether this job is
// one.
func (t *transaction) keepProbe(ctx context.Context, job int64, p transcode.Probe) (bool, error) {
	var preview bool
	if err := t.tx.QueryRowContext(ctx, `SELECT preview FROM jobs WHERE id = ?`, job).Scan(&preview); err != nil || !preview {
		return false, err
	}
	if err := t.exec(ctx, `UPDATE jobs SET probe = ? WHERE id = ?`, column[transcode.Probe]{p}, job); err != nil {
		return true, err
	}
	return true, t.endJob(ctx, job, Cancelled, previewReason, nil)
}
