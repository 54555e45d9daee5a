package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

// A progressive stream is published as soon as all renditions have their first segments,
// and grows with each unit that is done. What was announced stays as it is: the results
// that it was made of are final. So nothing has to be stored about how far it has come;
// it follows from the results, also after a restart. Segments that are done early are at
// their place before a playlist announces them, for players that look elsewhere
// (streamfile.go).

// An extent is how far a progressive stream is published.
type extent struct {
	segments int             // that are announced
	units    map[string]bool // whose segments are at their place
	ended    bool            // it does not grow any more
}

// advanceStreams extends the streams of running jobs. One goroutine publishes, so that a
// stream is extended, completed or ended by one at a time.
func (q *Queue) advanceStreams(ctx context.Context) error {
	ids, err := q.jobIDs(ctx, `state = ? AND `+isProgressive, Running)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := q.advance(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("publishing the beginning of job %d: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// isProgressive is the condition of jobs whose streams are published while they are made.
const isProgressive = `json_extract(request, '$.progressive')`

// advance publishes the segments of a job that were not published before, and announces
// those that all renditions have.
func (q *Queue) advance(ctx context.Context, id int64) error {
	st, err := q.readBegin(ctx, id)
	before := q.announced[id]
	if err != nil || st.begin == 0 || len(st.results) == len(before.units) {
		return err
	}
	if err := q.assembleBegin(ctx, st, before); err != nil {
		return err
	}
	if st.place == "" {
		if err := q.chooseOutput(ctx, st); err != nil {
			return err
		}
		if err := q.reveal(ctx, st); err != nil {
			return err
		}
	}
	now := extent{segments: st.begin, units: map[string]bool{}}
	for unit := range st.results {
		now.units[unit] = true
	}
	q.announced[id] = now
	q.places.begin(id, time.Now())
	defer q.watches.notify(id)
	return q.revealKey(st)
}

// readBegin reads the results that a job has so far, and keeps what can be published.
func (q *Queue) readBegin(ctx context.Context, id int64) (*stream, error) {
	st, err := q.readResultsOf(ctx, id)
	if err != nil {
		return nil, err
	}
	st.playlists, st.begin, err = hls.Begin(st.plan, st.results, hls.Sealed{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	st.segments = slices.DeleteFunc(st.segments, func(s segment) bool { return s.number == unlisted })
	st.addDirs()
	return st, q.locate(st)
}

// locate finds out whether st has been published in part.
func (q *Queue) locate(st *stream) error {
	listed := slices.IndexFunc(st.segments, func(s segment) bool { return s.number == 0 })
	if !st.request.Progressive || st.output == "" || listed < 0 {
		return nil
	}
	assembling, err := exists(q.media, st.work())
	if err != nil || assembling {
		return err
	}
	// The name may be another's by now, if this stream never got it.
	first := st.segments[listed]
	if err := q.verify(path.Join(st.output, first.to), first); err == nil {
		st.place = st.output
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errOtherFile) {
		return err
	}
	return nil
}

// assembleBegin moves the segments of st to where they are published, and then writes
// its playlists, if they announce more than before.
func (q *Queue) assembleBegin(ctx context.Context, st *stream, before extent) error {
	keys, err := q.makePlace(st)
	if err != nil {
		return err
	}
	if err := q.moveSegments(ctx, st, keys, before.units); err != nil || st.begin == before.segments {
		return err
	}
	if st.request.SampleAES {
		sealed, err := q.sealed(st, keys)
		if err != nil {
			return err
		}
		if st.playlists, _, err = hls.Begin(st.plan, st.results, sealed); err != nil {
			return fmt.Errorf("%w: %w", errUnpublishable, err)
		}
	}
	return q.writePlaylists(ctx, st)
}

// endStreams ends the playlists of jobs that have failed or were cancelled, so that
// players do not wait for more.
func (q *Queue) endStreams(ctx context.Context) error {
	ids, err := q.jobIDs(ctx, `state IN (?, ?) AND output <> '' AND `+isProgressive, Failed, Cancelled)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if q.announced[id].ended {
			continue
		}
		if err := q.endStream(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("ending the stream of job %d: %w", id, err))
			continue
		}
		q.announced[id] = extent{ended: true}
	}
	maps.DeleteFunc(q.announced, func(id int64, e extent) bool { return e.ended && !slices.Contains(ids, id) })
	return errors.Join(errs...)
}

// endStream ends the playlists of a job.
func (q *Queue) endStream(ctx context.Context, id int64) error {
	st, err := q.readBegin(ctx, id)
	if err != nil {
		return err
	}
	if st.place == "" { // it had a name, but no player has seen it
		return q.write(ctx, func(t *transaction) error {
			t.changed = append(t.changed, id)
			return t.exec(ctx, `UPDATE jobs SET output = '' WHERE id = ?`, id)
		})
	}
	for name := range st.playlists {
		if path.Base(name) != transcode.MediaName {
			continue
		}
		file := path.Join(st.place, name)
		text, err := q.media.ReadFile(file)
		if err == nil {
			err = q.writePlaylist(file, hls.End(text))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
