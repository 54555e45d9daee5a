package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"pibootd/pkg/transcode/queue"
)

// setETag names the version of what can be changed (RFC 9110 §8.8.3).
func setETag(w http.ResponseWriter, settings any) { w.Header().Set("ETag", etagOf(settings)) }

func etagOf(settings any) string {
	text, err := json.Marshal(settings)
	if err != nil {
		return `""` // is no version's
	}
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// jobSettings are what a PATCH of a job changes, and what decides whether it can.
func jobSettings(job queue.Job) any {
	return []any{job.ID, job.Priority, job.Paused, job.State.Ended()}
}

// ifUnchanged calls change, which is the only change of settings meanwhile. If the
// request has If-Match with the version of something else (RFC 9110 §13.1.1), it
// refuses instead. current returns the settings as they are.
func (s *Server) ifUnchanged(r *http.Request, current func() (any, error), change func() error) error {
	s.changing.Lock() // also over the change itself, which waits for the disk; readers do not take it
	defer s.changing.Unlock()
	if wanted := r.Header.Get("If-Match"); wanted != "" {
		settings, err := current()
		if err != nil {
			return err
		}
		if !matchesETag(wanted, etagOf(settings)) {
			return statusError{errors.New("somebody has changed it meanwhile; read it again"), http.StatusPreconditionFailed}
		}
	}
	return change()
}

func matchesETag(wanted, etag string) bool {
	return slices.ContainsFunc(strings.Split(wanted, ","), func(one string) bool {
		one = strings.TrimSpace(one)
		return one == "*" || one == etag
	})
}
