package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/hls"
)

const (
	// publishName is the name of the directory, in a job's own, in which the output
	// is assembled.
	publishName = "publish"

	dirMode  = 0o755
	fileMode = 0o644
	keyMode  = 0o600 // of a key that players get from elsewhere

	// maxSameName bounds the search for a free name.
	maxSameName = 10_000
)

// errUnpublishable reports that a job's results do not make a stream. A retry does
// not help.
var errUnpublishable = errors.New("the results do not make a stream")

// publishReady publishes what is ready: every job whose units are all done, and the
// segments of progressive streams. The error reports the jobs that must wait.
func (q *Queue) publishReady(ctx context.Context) error {
	return errors.Join(q.publishJobs(ctx), q.advanceStreams(ctx), q.endStreams(ctx))
}

// publishJobs publishes every job whose units are all done.
func (q *Queue) publishJobs(ctx context.Context) error {
	ids, err := q.jobIDs(ctx, `state = ?`, Publishing)
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

// jobIDs returns the jobs for which a condition holds, oldest first.
func (q *Queue) jobIDs(ctx context.Context, where string, args ...any) ([]int64, error) {
	rows, err := q.store.Query(ctx, `SELECT id FROM jobs WHERE `+where+` ORDER BY id`, args...)
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

// notPublished handles the failure of a publication. It fails the job or, if the
// job only has to wait, records the reason and returns the error.
func (q *Queue) notPublished(ctx context.Context, id int64, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	reason := clip("publishing: "+cause.Error(), maxReason)
	if errors.Is(cause, errUnpublishable) {
		return q.write(ctx, func(t *transaction) error { return t.endJob(ctx, id, Failed, reason, nil) })
	}
	err := q.write(ctx, func(t *transaction) error {
		t.changed = append(t.changed, id)
		return t.exec(ctx, `UPDATE jobs SET reason = ? WHERE id = ?`, reason, id)
	})
	return errors.Join(fmt.Errorf("job %d: %w", id, cause), err)
}

// publishJob publishes a job's stream or file, whole and in one step. It can be
// interrupted at any point, also by kill -9, and resumes there when it is called
// again: each segment is either where its worker put it or in the stream's
// directory, and that directory, or the file, has either its temporary name or its
// final name, which was stored before.
func (q *Queue) publishJob(ctx context.Context, id int64) error {
	if q.live.holds(id) {
		return q.keepLive(ctx, id)
	}
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
	}
	if st.place != "" {
		q.places.begin(id, time.Now()) // as before a restart
	} else if !there {
		if err := q.reveal(ctx, st); err != nil {
			return err
		}
	}
	delete(q.announced, id)
	if err := q.revealKey(st); err != nil {
		return err
	}
	return q.write(ctx, func(t *transaction) error { return t.endJob(ctx, id, Done, "", nil) })
}

// A stream is the output of a job: an HLS stream or a file.
type stream struct {
	job       int64
	request   transcode.Request
	output    string // directory or file in the media share; "" until it is chosen
	place     string // where its beginning is published; "" if it is not
	begin     int    // segments of a beginning
	plan      transcode.Plan
	results   map[string]transcode.Result
	playlists map[string][]byte
	segments  []segment
	dirs      []string // in the stream, besides its top directory
}

// A segment is a segment of a stream, its initialization section, or the file.
type segment struct {
	unit      string // that made it
	from      string // path in the media share, as its worker left it
	to        string // path in the stream; "" for the file, which is the whole output
	sizeBytes int64
	number    int  // number in its playlist; unlisted for what is in none
	encrypted bool // whether it is encrypted when it is published
	// init is the path of the initialization section that says how to encrypt samples; ""
	// where whole segments are encrypted, or none.
	init string
}

// unlisted is the number of a file that no playlist of segments has, such as a poster.
const unlisted = math.MaxInt

// verify verifies that a published segment is there. How large it is with encrypted
// samples is not known beforehand.
func (q *Queue) verify(name string, s segment) error {
	if s.init != "" {
		info, err := q.media.Lstat(name)
		if err == nil && (!info.Mode().IsRegular() || info.Size() == 0) {
			err = fmt.Errorf("%w: %s is %v with %d bytes; want a regular file", errOtherFile, name, info.Mode(), info.Size())
		}
		return err
	}
	if s.encrypted {
		return q.verifySize(name, hls.EncryptedSize(s.sizeBytes))
	}
	return q.verifySize(name, s.sizeBytes)
}

// work returns the directory in which the stream is assembled: an unpublished one, unless
// its beginning is published.
func (st stream) work() string {
	if st.place != "" {
		return st.place
	}
	return transcode.JobDir(st.job) + "/" + publishName
}

// readStream reads the results of a job's units and checks that they match.
func (q *Queue) readStream(ctx context.Context, id int64) (*stream, error) {
	st, err := q.readResultsOf(ctx, id)
	if err != nil || st.request.IsFile() {
		return st, err // a file was checked when the probe was accepted
	}
	if st.playlists, err = hls.Playlists(st.plan, st.results, hls.Sealed{}); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnpublishable, err)
	}
	st.addDirs()
	return st, q.locate(st)
}

// readResultsOf reads the results of the units of a job that are done.
func (q *Queue) readResultsOf(ctx context.Context, id int64) (*stream, error) {
	var request column[transcode.Request]
	var plan column[transcode.Plan]
	st := &stream{job: id}
	err := q.store.QueryRow(ctx, `SELECT request, plan, output FROM jobs WHERE id = ?`, id).Scan(&request, &plan, &st.output)
	if err != nil {
		return nil, err
	}
	st.request = request.V
	results, err := readResults(ctx, q.store, &plan.V, id)
	if err != nil {
		return nil, err
	}
	st.addFiles(plan.V, results)
	st.plan, st.results = plan.V, results.ofUnit
	return st, nil
}

// addDirs records the directories in which st has playlists.
func (st *stream) addDirs() {
	dirs := map[string]bool{}
	for name := range st.playlists {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	st.dirs = slices.Sorted(maps.Keys(dirs))
}

// unitResults are the results of a job's units and the directories of their files.
type unitResults struct {
	ofUnit map[string]transcode.Result
	dirs   map[string]string // in the media share
}

// A querier reads the database.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readResults adds the units that are done to plan, and returns their results. Subtitles that
// could not be read are taken out of it.
func readResults(ctx context.Context, db querier, plan *transcode.Plan, job int64) (unitResults, error) {
	r := unitResults{map[string]transcode.Result{}, map[string]string{}}
	rows, err := db.Query(ctx, `SELECT spec, result, attempt FROM units WHERE job = ? AND state = ? AND kind NOT IN (?, ?, ?, ?) ORDER BY seq`,
		job, done, transcode.KindProbe, transcode.KindLift, transcode.KindSurvey, transcode.KindTrial)
	if err != nil {
		return r, err
	}
	defer rows.Close()
	for rows.Next() {
		var unit column[transcode.Unit]
		var result column[transcode.Result]
		var attempt int
		if err := rows.Scan(&unit, &result, &attempt); err != nil {
			return r, err
		}
		plan.Units = append(plan.Units, unit.V)
		r.ofUnit[unit.V.ID] = result.V
		r.dirs[unit.V.ID] = transcode.AttemptDir(job, unit.V.ID, attempt)
	}
	plan.DropUnread(r.ofUnit)
	return r, rows.Err()
}

// addFiles records the files of st: all segments, or the one file that was made last.
func (st *stream) addFiles(plan transcode.Plan, results unitResults) {
	inits := map[string]bool{}
	for _, u := range plan.Units {
		r, from := results.ofUnit[u.ID], results.dirs[u.ID]
		if r.File != nil {
			st.segments = []segment{{unit: u.ID, from: path.Join(from, r.File.Name), sizeBytes: r.File.SizeBytes}}
		}
		if st.request.IsFile() {
			continue
		}
		for _, p := range transcode.Pieces(u, r) {
			st.addPiece(p, path.Join(from, p.Dir), inits)
		}
	}
}

// addPiece records the segments of one rendition, which are in from. inits has the
// renditions whose initialization section is recorded already: further ones are
// identical.
func (st *stream) addPiece(p transcode.Piece, from string, inits map[string]bool) {
	u, r, names := p.Unit, p.Result, st.request.Naming
	init := "" // of encrypted samples
	if st.request.SampleAES && r.Init != nil {
		init = path.Join(from, r.Init.Name)
	}
	if r.Init != nil && !inits[u.Dir()] {
		inits[u.Dir()] = true
		st.segments = append(st.segments, segment{
			unit: u.ID, from: path.Join(from, r.Init.Name), to: path.Join(names.Place(u.Dir()), r.Init.Name), sizeBytes: r.Init.SizeBytes,
			encrypted: init != "", init: init,
		})
	}
	for _, picture := range r.Pictures {
		st.segments = append(st.segments, segment{unit: u.ID, from: path.Join(from, picture.Name), to: u.PictureName(picture.Name), sizeBytes: picture.SizeBytes, number: unlisted})
	}
	first := u.FirstSegment()
	for i, s := range r.Segments {
		st.segments = append(st.segments, segment{
			unit: u.ID, from: path.Join(from, s.Name), to: path.Join(names.Place(u.Dir()), names.File(s.Name)), sizeBytes: s.SizeBytes,
			number: first + i, encrypted: st.request.Encrypted && (init != "" || !st.request.SampleAES), init: init,
		})
	}
}

// chooseOutput stores an output name that is not in use.
func (q *Queue) chooseOutput(ctx context.Context, st *stream) error {
	output, err := q.freeOutput(st.request)
	if err != nil {
		return err
	}
	err = q.write(ctx, func(t *transaction) error {
		t.changed = append(t.changed, st.job)
		return t.exec(ctx, `UPDATE jobs SET output = ? WHERE id = ?`, output, st.job)
	})
	if err == nil {
		st.output = output
	}
	return err
}

func (q *Queue) freeOutput(r transcode.Request) (string, error) {
	output := r.Published(r.Name, "")
	for n := 2; n <= maxSameName; n++ {
		taken, err := exists(q.media, output)
		if err != nil || !taken {
			return output, err
		}
		output = r.Published(r.Name, fmt.Sprintf("-%d", n))
	}
	return "", fmt.Errorf("%s and %d numbered after it exist already; choose another name", r.Published(r.Name, ""), maxSameName)
}

// makePublicParents makes a directory of the media share, and those above it, unless
// they exist.
func (q *Queue) makePublicParents(dir string) error {
	parts := strings.Split(dir, "/")
	for i := range parts {
		name := path.Join(parts[:i+1]...)
		there, err := exists(q.media, name)
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := errors.Join(q.makePublicDir(name), syncPath(q.media, path.Dir(name))); err != nil {
			return err
		}
	}
	return nil
}

// published reports whether the stream is published already: its work directory is
// gone, and all files are at the output.
func (q *Queue) published(ctx context.Context, st *stream) (bool, error) {
	assembling, err := exists(q.media, st.work())
	if err != nil || assembling {
		return false, err // also where its beginning is published
	}
	for _, s := range st.segments {
		err := q.verify(path.Join(st.output, s.to), s)
		if err != nil {
			return false, ctx.Err()
		}
	}
	return true, ctx.Err()
}

// reveal renames the assembled stream to its output. If that name is in use by now, it
// chooses another.
func (q *Queue) reveal(ctx context.Context, st *stream) error {
	public := path.Dir(st.output)
	if err := q.makePublicParents(public); err != nil {
		return err
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
	return errors.Join(ctx.Err(), syncPath(q.media, public), syncPath(q.media, transcode.JobDir(st.job)), syncPath(q.media, "."))
}
