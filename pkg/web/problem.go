package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"pibootd/pkg/access"
	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/transcode/queue"
)

// A Problem is the body of every answer below /api/ and /worker/ that is not a
// success.
type Problem struct {
	Error string `json:"error,omitempty"`
	Field string `json:"field,omitempty"` // the only wrong field; "": none, or several
}

// refuse answers a failed request according to its error.
func (s *Server) refuse(w http.ResponseWriter, err error) { refuse(w, s.Log, err) }

func refuse(w http.ResponseWriter, log *slog.Logger, err error) {
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		log.Error("request failed", "component", "web", "err", err)
	}
	reply(w, log, status, problemOf(err))
}

// A statusError has a status that does not follow from its cause.
type statusError struct {
	error
	status int
}

func (e statusError) Unwrap() error { return e.error }

// statusOf decides the status for an error. No other function does that.
func statusOf(err error) int {
	var own statusError
	requests := requestErrors(err)
	because := func(reason pi.Reason) bool {
		return slices.ContainsFunc(requests, func(r pi.RequestError) bool { return r.Reason == reason })
	}
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, new(access.TooManyError)):
		return http.StatusTooManyRequests
	case because(pi.Invalid):
		return http.StatusBadRequest
	case because(pi.Missing), isAny(err, registry.ErrUnknown, registry.ErrNoMachine, queue.ErrNoJob, queue.ErrNoLive, rootfs.ErrNoTemplate, operation.ErrUnknown):
		return http.StatusNotFound
	case because(pi.Conflict), isAny(err, queue.ErrState):
		return http.StatusConflict
	case isAny(err, access.ErrUnknown):
		return http.StatusUnauthorized
	case isAny(err, queue.ErrFarAhead):
		return http.StatusBadRequest
	case isAny(err, queue.ErrNotProbed, queue.ErrNotYet):
		return http.StatusServiceUnavailable
	case errors.As(err, new(busyError)), isAny(err, context.Canceled): // pibootd stops, or the client is gone
		return http.StatusServiceUnavailable
	case isAny(err, syscall.ENOSPC, syscall.EDQUOT):
		return http.StatusInsufficientStorage
	case isAny(err, os.ErrDeadlineExceeded):
		return http.StatusRequestTimeout
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusInternalServerError
}

func isAny(err error, of ...error) bool {
	return slices.ContainsFunc(of, func(one error) bool { return errors.Is(err, one) })
}

func problemOf(err error) Problem { return Problem{Error: err.Error(), Field: fieldOf(err)} }

// fieldOf returns the field that is wrong if there is exactly one.
func fieldOf(err error) string {
	requests := requestErrors(err)
	if len(requests) == 0 {
		return ""
	}
	field := requests[0].Field
	if slices.ContainsFunc(requests, func(r pi.RequestError) bool { return r.Field != field }) {
		return ""
	}
	return field
}

// requestErrors returns the errors about the request among those that err joins.
func requestErrors(err error) []pi.RequestError {
	switch e := err.(type) {
	case pi.RequestError:
		return []pi.RequestError{e}
	case interface{ Unwrap() error }:
		return requestErrors(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []pi.RequestError
		for _, one := range e.Unwrap() {
			all = append(all, requestErrors(one)...)
		}
		return all
	}
	return nil
}

// missing reports that the object of a request does not exist.
func missing(field string, err error) error {
	return pi.RequestError{Reason: pi.Missing, Field: field, Err: err}
}

// isMuxers reports whether a path is one that legacy muxers request.
func isMuxers(path string) bool {
	return strings.HasPrefix(path, "/muxer/") || strings.HasPrefix(path, "/tidy/")
}

// refuseAs refuses a request before its handler runs, in the format that clients of
// its path expect.
func refuseAs(w http.ResponseWriter, log *slog.Logger, r *http.Request, err error) {
	if !isMuxers(r.URL.Path) {
		refuse(w, log, err)
		return
	}
	reply(w, log, statusOf(err), struct {
		Status string `json:"status"`
		Problem
	}{"error", problemOf(err)})
}

// inWords converts a mux's own refusals below /api/ and /worker/ to Problems.
func inWords(mux *http.ServeMux, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spoken := strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/worker/")
		h, pattern := mux.Handler(r)
		if !spoken || pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		seen := muxAnswer{header: w.Header()}
		h.ServeHTTP(&seen, r)
		switch seen.status {
		case http.StatusNotFound:
			refuse(w, log, statusError{fmt.Errorf("there is no %.200q; docs/api.md lists what there is", r.URL.Path), seen.status})
		case http.StatusMethodNotAllowed:
			refuse(w, log, statusError{errors.New(notAllowed(r, w.Header().Get("Allow"))), seen.status})
		default: // a redirection to a cleaner path
			mux.ServeHTTP(w, r)
		}
	})
}

func notAllowed(r *http.Request, allowed string) string {
	return fmt.Sprintf("%.20s of %.200q is not possible here; want %s", r.Method, r.URL.Path, allowed)
}

// A muxAnswer records the status that a mux answers with. Its header is the
// answer's.
type muxAnswer struct {
	header http.Header
	status int
}

func (a *muxAnswer) Header() http.Header         { return a.header }
func (a *muxAnswer) WriteHeader(status int)      { a.status = status }
func (a *muxAnswer) Write(p []byte) (int, error) { return len(p), nil }
