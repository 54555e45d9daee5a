package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"pibootd/pkg/transcode"
)

const (
	publicDir   = "hls"     // of the media share
	publishName = "publish" // directory in a job's, where its stream is put together

	dirMode  = 0o755
	fileMode = 0o644

	// maxSameName bounds the search for a free name.
	maxSameName = 10_000
)

// errUnpublishable reports that a job's results do not make a stream. Trying
// again does not help.
var errUnpublishable = errors.New("the results do not make a stream")

// publishReady publishes every job whose units are all done. The error tells of
// those that have to wait.
func (q *Queue) publishReady(ctx context.Context) error {
	ids, err := q.jobsIn(ctx, Publishing)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		if err := q.publishJob(ctx, id); err != nil {
			errs = append(errs, q.notPublished(ctx, id, err))
		}
	}
	return errors.Join(errs...)
}

func (q *Queue) jobsIn(ctx context.Context, state State) ([]int64, error) {
	rows, err := q.store.Query(ctx, `SELECT id FROM jobs WHERE state = ? ORDER BY id`, state)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// notPublished fails a job that cannot be published. If it only has to wait,
// that is noted and the error returned.
func (q *Queue) notPublished(ctx context.Context, id int64, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	reason := clip("publishing: "+cause.Error(), maxReason)
	if errors.Is(cause, errUnpublishable) {
		return q.write(ctx, func(s *step) error { return s.endJob(ctx, id, Failed, reason, nil) })
	}
	err := q.write(ctx, func(s *step) error {
		s.changed = append(s.changed, id)
		return s.exec(ctx, `UPDATE jobs SET reason = ? WHERE id = ?`, reason, id)
	})
	return errors.Join(fmt.Errorf("job %d: %w", id, cause), err)
}

// publishJob makes a job's stream appear, whole and at once. It can be stopped
// anywhere, by kill -9 too, and goes on from there when called again: each
// segment is either still where its worker put it or already in the stream's
// directory, and that directory has either its temporary name or the final one,
// which was stored before.
func (q *Queue) publishJob(ctx context.Context, id int64) error {
	st, err := q.readStream(ctx, id)
	if err != nil {
		return err
	}
	if st.output == "" {
		if err := q.chooseOutput(ctx, st); err != nil {
			return err
		}
	}
	there, err := q.published(ctx, st)
	if err != nil {
		return err
	}
	if !there {
		if err := q.assemble(ctx, st); err != nil {
			return err
		}
		if err := q.reveal(ctx, st); err != nil {
			return err
		}
	}
	return q.write(ctx, func(s *step) error { return s.endJob(ctx, id, Done, "", nil) })
}

// A stream is what a job publishes.
type stream struct {
	job       int64
	name      string // asked for
	output    string // directory in the media share; "" until it is chosen
	playlists map[string][]byte
	segments  []segment
	dirs      []string // in the stream, beside itself
}

// A segment of a stream.
type segment struct {
	from      string // where its worker put it, in the media share
	to        string // where it belongs, in the stream
	sizeBytes int64
}

// work returns where the stream is put together.
func (st stream) work() string { return transcode.JobDir(st.job) + "/" + publishName }

// readStream reads what a job's units have made and checks that it fits together.
func (q *Queue) readStream(ctx context.Context, id int64) (*stream, error) {
	var request column[transcode.Request]
	var plan column[transcode.Plan]
	st := &stream{job: id}
	err := q.store.QueryRow(ctx, `SELECT request, plan, output FROM jobs WHERE id = ?`, id).Scan(&request, &plan, &st.output)
	if err != nil {
		return nil, err
	}
	st.name = request.V.Name
	results, err := q.readResults(ctx, &plan.V, st)
	if err != nil {
		return nil, err
	}
	st.playlists, err = transcode.Playlists(plan.V, results)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	dirs := map[string]bool{}
	for name := range st.playlists {
		if dir := path.Dir(name); dir != "." {
			dirs[dir] = true
		}
	}
	st.dirs = slices.Sorted(maps.Keys(dirs))
	return st, nil
}

// readResults reads the units of a plan and their results, and notes the
// segments of st.
func (q *Queue) readResults(ctx context.Context, plan *transcode.Plan, st *stream) (map[string]transcode.Result, error) {
	rows, err := q.store.Query(ctx, `SELECT spec, result, attempt FROM units WHERE job = ? AND kind <> ? ORDER BY seq`,
		st.job, transcode.KindProbe)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	results := map[string]transcode.Result{}
	for rows.Next() {
		var unit column[transcode.Unit]
		var result column[transcode.Result]
		var attempt int
		if err := rows.Scan(&unit, &result, &attempt); err != nil {
			return nil, err
		}
		plan.Units = append(plan.Units, unit.V)
		results[unit.V.ID] = result.V
		from := transcode.AttemptDir(st.job, unit.V.ID, attempt)
		for _, s := range result.V.Segments {
			st.segments = append(st.segments, segment{
				from: path.Join(from, s.Name), to: path.Join(unit.V.Dir(), s.Name), sizeBytes: s.SizeBytes,
			})
		}
	}
	return results, rows.Err()
}

// chooseOutput stores a name that nothing has yet.
func (q *Queue) chooseOutput(ctx context.Context, st *stream) error {
	output, err := q.freeOutput(st.name)
	if err != nil {
		return err
	}
	err = q.write(ctx, func(s *step) error {
		s.changed = append(s.changed, st.job)
		return s.exec(ctx, `UPDATE jobs SET output = ? WHERE id = ?`, output, st.job)
	})
	if err == nil {
		st.output = output
	}
	return err
}

func (q *Queue) freeOutput(name string) (string, error) {
	output := path.Join(publicDir, name)
	for n := 2; n <= maxSameName; n++ {
		taken, err := exists(q.media, output)
		if err != nil || !taken {
			return output, err
		}
		output = fmt.Sprintf("%s-%d", path.Join(publicDir, name), n)
	}
	return "", fmt.Errorf("%s and %d numbered after it exist already; choose another name", path.Join(publicDir, name), maxSameName)
}

// published reports whether the stream is already in its place: the directory
// where it is put together is gone, and everything is at the output.
func (q *Queue) published(ctx context.Context, st *stream) (bool, error) {
	assembling, err := exists(q.media, st.work())
	if err != nil || assembling {
		return false, err
	}
	for _, s := range st.segments {
		err := q.verifySize(path.Join(st.output, s.to), s.sizeBytes)
		if err != nil {
			return false, ctx.Err()
		}
	}
	return true, ctx.Err()
}

// assemble puts the stream together where nobody looks, playlists last.
func (q *Queue) assemble(ctx context.Context, st *stream) error {
	for _, dir := range append([]string{""}, st.dirs...) {
		if err := q.makePublicDir(path.Join(st.work(), dir)); err != nil {
			return err
		}
	}
	for _, s := range st.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.takeSegment(s, path.Join(st.work(), s.to)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(st.playlists)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := q.writePlaylist(path.Join(st.work(), name), st.playlists[name]); err != nil {
			return err
		}
	}
	for _, dir := range append(slices.Clone(st.dirs), "") {
		if err := syncPath(q.media, path.Join(st.work(), dir)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// takeSegment moves an accepted segment to where it belongs, unless that was
// done before.
func (q *Queue) takeSegment(s segment, to string) error {
	err := q.media.Rename(s.from, to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = q.verifySize(to, s.sizeBytes)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errOtherFile) {
		return fmt.Errorf("%w: after it was accepted a segment has changed: %w", errUnpublishable, err)
	}
	if err != nil {
		return err
	}
	if err := q.makePublic(to, fileMode); err != nil {
		return err
	}
	return syncPath(q.media, to)
}

func (q *Queue) writePlaylist(name string, text []byte) error {
	if err := q.media.WriteFile(name, text, fileMode); err != nil {
		return err
	}
	if err := q.makePublic(name, fileMode); err != nil {
		return err
	}
	return syncPath(q.media, name)
}

// reveal renames the assembled stream to its output. If something has taken
// that name since it was chosen, another is.
func (q *Queue) reveal(ctx context.Context, st *stream) error {
	if there, err := exists(q.media, publicDir); err != nil {
		return err
	} else if !there {
		if err := q.makePublicDir(publicDir); err != nil {
			return err
		}
	}
	for {
		taken, err := exists(q.media, st.output)
		if err != nil {
			return err
		}
		if !taken {
			break
		}
		if err := q.chooseOutput(ctx, st); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := q.media.Rename(st.work(), st.output); err != nil {
		return err
	}
	return errors.Join(ctx.Err(), syncPath(q.media, publicDir), syncPath(q.media, transcode.JobDir(st.job)), syncPath(q.media, "."))
}
