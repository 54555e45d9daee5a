package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
)

// A sourceStamp distinguishes a source from a file that replaces it while its job
// waits or runs. The watch folder reads it as well.
type sourceStamp struct {
	SizeBytes int64  `json:"size"`
	Modified  int64  `json:"modified"` // Unix, nanoseconds
	Content   string `json:"content"`  // hash of the beginning and of the end; "": a job of an earlier version
}

func stampOf(info fs.FileInfo, content string) sourceStamp {
	return sourceStamp{info.Size(), info.ModTime().UnixNano(), content}
}

// errSourceGone reports that a job's source is no longer what was submitted. No
// worker can mend that.
var errSourceGone = errors.New("the source is not what it was")

// checkStillThere verifies that a job's source is the file that was submitted. An
// error that matches errSourceGone is worded for the user; another one says that the
// share could not be read.
func (q *Queue) checkStillThere(ctx context.Context, job int64) error {
	var request column[transcode.Request]
	var stamp column[sourceStamp]
	err := q.store.QueryRow(ctx, `SELECT request, source FROM jobs WHERE id = ?`, job).Scan(&request, &stamp)
	if err != nil {
		return err
	}
	is, err := q.readStamp(request.V.Source, stamp.V)
	if errors.Is(err, fs.ErrNotExist) {
		return goneSource(fmt.Sprintf("%q was removed from the media share after it was handed in", request.V.Source))
	}
	if err != nil || stamp.V.Content == "" || is == stamp.V {
		return err
	}
	return goneSource(fmt.Sprintf("%q was changed or replaced after it was handed in: it had %d bytes of %s, now %d of %s; hand it in again",
		request.V.Source, stamp.V.SizeBytes, when(stamp.V.Modified), is.SizeBytes, when(is.Modified)))
}

// readStamp returns the stamp of a file; want itself if the file is the one that it
// describes. A new time alone makes no other file.
func (q *Queue) readStamp(name string, want sourceStamp) (sourceStamp, error) {
	file, info, err := share.OpenRegular(q.media, name)
	if err != nil {
		return sourceStamp{}, err
	}
	defer file.Close()
	is := stampOf(info, want.Content)
	if is == want || is.SizeBytes != want.SizeBytes {
		return is, nil
	}
	if is.Content, err = hashContent(info, file); err == nil && is.Content == want.Content {
		return want, nil
	}
	return is, err
}

// A goneSource is an errSourceGone with its sentence.
type goneSource string

func (e goneSource) Error() string        { return string(e) }
func (e goneSource) Is(target error) bool { return target == errSourceGone }

func when(unixNano int64) string { return time.Unix(0, unixNano).Format(time.DateTime) }

// blameSource returns an errSourceGone if the source of a unit is not what it was: then
// the worker's result is of another video, or its failure the source's.
func (q *Queue) blameSource(ctx context.Context, u unitRow) error {
	if u.spec.Kind == transcode.KindJoin || liveUnit(u.spec) {
		return nil // it reads what others made, or what changes
	}
	job := u.key.job
	err := q.checkStillThere(ctx, job)
	if err == nil || errors.Is(err, errSourceGone) {
		return err
	}
	q.log.Warn("source not examined", "job", job, "err", err)
	return nil
}
