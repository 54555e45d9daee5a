package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
)

// A Problem is the body of every answer that is not a success, below /api/ and
// /worker/.
type Problem struct {
	Error string `json:"error"`
	Field string `json:"field,omitempty"` // the one that is wrong
}

func refuse(w http.ResponseWriter, log *slog.Logger, status int, err error) {
	reply(w, log, status, Problem{Error: err.Error()})
}

// isMuxers reports whether a path is one that muxers of the older pool ask.
func isMuxers(path string) bool {
	return strings.HasPrefix(path, "/muxer/") || strings.HasPrefix(path, "/tidy/")
}

// refuseAs refuses a request before its handler has it, in the shape that who
// asks for such paths reads.
func refuseAs(w http.ResponseWriter, log *slog.Logger, r *http.Request, status int, err error) {
	if !isMuxers(r.URL.Path) {
		refuse(w, log, status, err)
		return
	}
	reply(w, log, status, struct {
		Status string `json:"status"`
		Problem
	}{"error", Problem{Error: err.Error()}})
}

// inWords has a mux's own refusals below /api/ and /worker/ be Problems.
func inWords(mux *http.ServeMux, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spoken := strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/worker/")
		h, pattern := mux.Handler(r)
		if !spoken || pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		seen := refusal{header: w.Header()}
		h.ServeHTTP(&seen, r)
		switch seen.status {
		case http.StatusNotFound:
			refuse(w, log, seen.status, fmt.Errorf("there is no %.200q; docs/operate.md has the list of what there is", r.URL.Path))
		case http.StatusMethodNotAllowed:
			refuse(w, log, seen.status, errors.New(notAllowed(r, w.Header().Get("Allow"))))
		default: // a redirection to a cleaner path
			mux.ServeHTTP(w, r)
		}
	})
}

// notAllowed says why a method is not. What changes things is on the control
// socket alone.
func notAllowed(r *http.Request, allowed string) string {
	text := fmt.Sprintf("%.20s of %.200q is not possible here; want %s", r.Method, r.URL.Path, allowed)
	if clientOf(r) != "" {
		text += ", or the control socket"
	}
	return text
}

// A refusal is the status that a mux answers with. Its header is the answer's.
type refusal struct {
	header http.Header
	status int
}

func (r *refusal) Header() http.Header         { return r.header }
func (r *refusal) WriteHeader(status int)      { r.status = status }
func (r *refusal) Write(p []byte) (int, error) { return len(p), nil }
