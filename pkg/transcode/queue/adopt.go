package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"

	"pibootd/pkg/transcode"
)

// formerDir is the directory to which the unpublished work of an older pibootd is
// moved, because boards could write to it.
var formerDir = path.Join(transcode.ScratchDir, ".former")

// prepareDirs makes the daemon's own directories of the share, and verifies the work
// of an older pibootd again, because boards could write to it.
func (q *Queue) prepareDirs(ctx context.Context) error {
	for _, dir := range []string{transcode.ScratchDir, trashDir} {
		if err := q.makePrivateDir(dir); err != nil {
			return err
		}
	}
	if err := q.emptyTrash(); err != nil {
		return err
	}
	if err := q.setFormerAside(); err != nil {
		return err
	}
	if err := q.makeOwnDir(transcode.WorkDir); err != nil {
		return err
	}
	if there, err := exists(q.media, formerDir); err != nil || !there {
		return err
	}
	if err := q.adoptFormer(ctx); err != nil {
		return err
	}
	return q.removeFormer()
}

// makePrivateDir makes a directory that only its owner can enter. It refuses
// anything else of that name.
func (q *Queue) makePrivateDir(name string) error {
	err := q.media.Mkdir(name, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := q.media.Lstat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() || !isOurs(info) {
		return fmt.Errorf("%s in the media share is %v of user %d; want a directory of user %d: move it away", name, info.Mode(), owner(info).uid, os.Geteuid())
	}
	return q.media.Chmod(name, 0o700)
}

func isOurs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

// setFormerAside moves the directory of unpublished work away if others can write
// to it. It removes a link of that name, because a board may have made it.
func (q *Queue) setFormerAside() error {
	info, err := q.media.Lstat(transcode.WorkDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		q.log.Warn("not a directory, removed", "file", transcode.WorkDir, "mode", info.Mode().String())
		return q.media.Remove(transcode.WorkDir)
	case isOurs(info) && info.Mode().Perm()&0o022 == 0:
		return nil
	}
	q.log.Info("work of an older pibootd is looked at again", "file", transcode.WorkDir)
	return errors.Join(q.removeFormer(), q.media.Rename(transcode.WorkDir, formerDir), syncPath(q.media, "."))
}

func (q *Queue) removeFormer() error {
	scratches, err := q.media.Open(transcode.ScratchDir)
	if err != nil {
		return err
	}
	defer scratches.Close()
	return q.removeBelow(scratches, path.Base(formerDir))
}

// adoptFormer adopts what an older pibootd had accepted for unfinished jobs. Units
// whose files have changed are done again.
func (q *Queue) adoptFormer(ctx context.Context) error {
	rows, err := q.store.Query(ctx, unitQuery+` WHERE u.state = ? AND u.kind <> ? AND j.state IN (?, ?)`, done, transcode.KindProbe, Running, Publishing)
	if err != nil {
		return err
	}
	units, err := scanUnits(rows)
	if err != nil {
		return err
	}
	former, err := q.media.Open(formerDir)
	if err != nil {
		return err
	}
	defer former.Close()
	for _, u := range units {
		wrong := q.adoptUnit(ctx, former, u)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if wrong == nil {
			continue
		}
		q.log.Warn("accepted work is gone, it is done again", "job", u.key.job, "unit", u.key.unit, "err", wrong)
		if err := q.redo(ctx, u.key); err != nil {
			return err
		}
	}
	return nil
}

func (q *Queue) adoptUnit(ctx context.Context, former *os.File, u unitRow) error {
	var result column[transcode.Result]
	err := q.store.QueryRow(ctx, `SELECT result FROM units WHERE job = ? AND unit = ?`, u.key.job, u.key.unit).Scan(&result)
	if err != nil {
		return err
	}
	to := transcode.AttemptDir(u.key.job, u.key.unit, u.attempt)
	for _, dir := range []string{transcode.JobDir(u.key.job), to} {
		if err := q.makeOwnDir(dir); err != nil {
			return err
		}
	}
	job := fmt.Sprint(u.key.job)
	attempt := fmt.Sprintf("%s/%s.%d", job, u.key.unit, u.attempt)
	for _, p := range transcode.Pieces(u.spec, result.V) {
		// If the daemon ended while it published, some files are there already.
		published := path.Join(job, publishName, p.Unit.Dir())
		if err := q.acceptPiece(ctx, former, []string{path.Join(attempt, p.Dir), published}, to, p); err != nil {
			return err
		}
	}
	return errors.Join(syncPath(q.media, to), syncPath(q.media, transcode.JobDir(u.key.job)), syncPath(q.media, transcode.WorkDir))
}

// redo resets a finished unit to pending.
func (q *Queue) redo(ctx context.Context, key unitKey) error {
	return q.write(ctx, func(t *transaction) error {
		t.announce = true
		t.changed = append(t.changed, key.job)
		return errors.Join(
			t.exec(ctx, `UPDATE units SET state = ?, result = '' WHERE job = ? AND unit = ?`, pending, key.job, key.unit),
			t.exec(ctx, `UPDATE jobs SET state = ? WHERE id = ?`, Running, key.job))
	})
}
