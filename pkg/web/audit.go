package web

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"strings"

	"pibootd/pkg/access"
)

// audited calls a route's handler. It writes a request that changes something, or
// tries to, to the audit log.
func (s *Server) audited(to route, w http.ResponseWriter, r *http.Request) {
	if isSafe(r.Method) || to.part {
		to.handler(w, r)
		return
	}
	l := loginOf(r)
	seen := &answer{ResponseWriter: w, status: http.StatusOK}
	body := &firstBytes{ReadCloser: r.Body}
	if !to.secret {
		r.Body = body
	}
	to.handler(seen, r)
	s.live.touch()
	// Attempts that come too often are not even counted.
	if seen.status != http.StatusTooManyRequests && (l.Scope != access.Nobody || to.secret) {
		name, _ := tusName(r.Header) // "" if it creates no upload
		s.audit(r, l, seen.status, cmp.Or(body.text(), name))
	}
}

// audit writes a request to the audit log.
func (s *Server) audit(r *http.Request, l login, status int, detail string) {
	c := access.Change{Who: l.Name, Addr: clientOf(r), Method: r.Method, Path: cut(r.URL.RequestURI(), maxAuditPath), Status: status, Detail: detail}
	// What is done must be written, even if the client is gone.
	if err := s.Access.Audit(context.WithoutCancel(r.Context()), c); err != nil {
		s.Log.Error("change not audited", "component", "web", "addr", c.Addr, "file", c.Path, "err", err)
	}
}

// Limits of an entry's parts, in bytes.
const (
	maxAuditPath   = 500
	maxAuditDetail = 1000
)

func cut(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}

// firstBytes keeps the beginning of a body as it is read.
type firstBytes struct {
	io.ReadCloser
	kept bytes.Buffer
}

func (b *firstBytes) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if room := maxAuditDetail + 1 - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(n, room)])
	}
	return n, err
}

func (b *firstBytes) text() string { return cut(strings.TrimSpace(b.kept.String()), maxAuditDetail) }

// An answer records its status.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// maxPage is the maximum number of entries in an answer.
const maxPage = 1000

func (s *Server) listAudit(w http.ResponseWriter, r *http.Request) {
	before, err := integer(r, "before")
	if err != nil {
		s.refuse(w, err)
		return
	}
	changes, err := s.Access.Changes(r.Context(), before, maxPage)
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(changes))
}
