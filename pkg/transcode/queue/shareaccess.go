package queue

import (
	"path"
	"regexp"

	"pibootd/pkg/transcode"
)

// MayRead reports whether a worker that does not mount the media share may read a file:
// one that a unit reads on which it has a claim.
func (q *Queue) MayRead(worker, name string) bool {
	for _, c := range q.claims.all() {
		if c.worker == worker && c.spec.Reads(name) {
			return true
		}
	}
	return false
}

// MayWrite reports whether a path in the media share belongs to an attempt on which the
// worker has a claim.
func (q *Queue) MayWrite(worker, name string) bool {
	dir, file := path.Split(name)
	if !outputName.MatchString(file) {
		return false
	}
	for _, c := range q.claims.all() {
		if c.worker != worker {
			continue
		}
		own := transcode.AttemptDir(c.key.job, c.key.unit, c.key.attempt)
		for _, p := range transcode.Pieces(c.spec, transcode.Result{}) {
			if path.Join(own, p.Dir)+"/" == dir {
				return true
			}
		}
	}
	return false
}

// outputName matches the names of attempts' files, such as 00007.m4s.
var outputName = regexp.MustCompile(`^[a-z0-9]{1,30}\.[a-z0-9]{1,10}$`)
