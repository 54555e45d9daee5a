package web

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/doctor"
)

// While somebody follows the dashboard, everything is examined this often, and not before boards
// have had time to boot after a start. One examination takes some seconds.
const (
	examineEvery = time.Hour
	examineAfter = 2 * time.Minute
	examineLook  = time.Minute // how often it is looked whether it is time
)

// keepExamined has everything examined while the dashboard is open, until ctx ends.
func (s *Server) keepExamined(ctx context.Context) {
	every := cmp.Or(s.examineEvery, examineEvery)
	for wait := min(every, examineAfter); pause.For(ctx, wait); wait = min(every, examineLook) {
		if last := s.examined.Load(); !s.live.followed() || last != nil && time.Since(last.At) < every {
			continue
		}
		if _, err := s.examineAll(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("nothing examined", "component", "web", "err", err)
		}
	}
}

func (s *Server) examineAll(ctx context.Context) ([]doctor.Finding, error) {
	found, err := s.Doctor.Examine(ctx, nil)
	if err == nil {
		s.examined.Store(newExamined(found))
		s.live.nudge()
	}
	return found, err
}

// examine answers with the doctor's findings about the machine, and about the
// boards that the parameters "board" name, or about all boards. With "last=true" it
// examines nothing if that was done before.
func (s *Server) examine(w http.ResponseWriter, r *http.Request) {
	boards := r.URL.Query()["board"]
	last := s.examined.Load()
	var found []doctor.Finding
	var err error
	switch {
	case boards != nil:
		found, err = s.Doctor.Examine(r.Context(), boards)
	case r.URL.Query().Get("last") == "true" && last != nil:
		found = last.found
	default:
		found, err = s.examineAll(r.Context())
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(found))
}

// An Examined is what the last examination of everything has found.
type Examined struct {
	At       time.Time `json:"at"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
	found    []doctor.Finding
}

func newExamined(found []doctor.Finding) *Examined {
	e := &Examined{At: time.Now(), found: found}
	for _, one := range found {
		switch one.Level {
		case doctor.Problem:
			e.Problems++
		case doctor.Warning:
			e.Warnings++
		}
	}
	return e
}

// Examine has the daemon examine its machine and these boards; none means all. It
// takes some seconds.
func (c *Client) Examine(ctx context.Context, boards []string) ([]doctor.Finding, error) {
	return get[[]doctor.Finding](ctx, c, "/api/v1/doctor?"+url.Values{"board": boards}.Encode())
}
