package web

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path"
	"time"

	"pibootd/pkg/transcode/queue"
)

// SeekPath begins the paths of streams that players can look anywhere in while they are
// made: /stream/17/seek.m3u8 is that of job 17.
const SeekPath = "/stream/"

const (
	// seekWait is how long a request waits for a segment that is not encoded yet. hls.js
	// takes an answer that comes later than after ten seconds for none.
	seekWait = 9 * time.Second
	// Of requests that wait, in all and of one client.
	maxSeeks    = 128
	maxOwnSeeks = 16
	retryAfter  = "2" // seconds
)

// seekHandler serves the streams of jobs that are not done. Who may watch what is
// published may watch them; all that a request changes is which part of its own job is
// encoded first.
func (s *Server) seekHandler() http.HandlerFunc {
	waiting, files := newSlots("requests for parts of streams", maxSeeks, maxOwnSeeks), mediaHandler(s.Info.MediaDir)
	return func(w http.ResponseWriter, r *http.Request) {
		setMediaRules(w.Header())
		id, err := jobID(r)
		name := path.Clean("/" + r.PathValue("name"))[1:]
		if err != nil || name == "" {
			http.NotFound(w, r)
			return
		}
		done, err := waiting.take(clientOf(r))
		if err != nil {
			later(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(s.seekWait, seekWait))
		file, err := s.Queue.StreamFile(ctx, id, name)
		cancel()
		done()
		switch {
		case errors.Is(err, queue.ErrNotYet):
			later(w, err)
		case errors.Is(err, queue.ErrNoJob), errors.Is(err, fs.ErrNotExist):
			http.NotFound(w, r)
		case err != nil:
			s.refuse(w, err)
		case file.Text != nil:
			setMediaType(w.Header(), ".m3u8")
			w.Header().Set("Cache-Control", "no-cache")
			_, _ = w.Write(file.Text) // the client may be gone
		default:
			r.URL.Path = "/" + file.Path
			files.ServeHTTP(w, r)
		}
	}
}

func later(w http.ResponseWriter, why error) {
	w.Header().Set("Retry-After", retryAfter)
	http.Error(w, why.Error(), http.StatusServiceUnavailable)
}
