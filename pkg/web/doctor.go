package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"pibootd/pkg/doctor"
)

// examine answers with the doctor's findings about the machine, and about the
// boards that the parameters "board" name, or about all boards.
func (s *Server) examine(w http.ResponseWriter, r *http.Request) {
	found, err := s.Doctor.Examine(r.Context(), r.URL.Query()["board"])
	if err != nil {
		s.refuse(w, err)
		return
	}
	if r.URL.Query()["board"] == nil {
		s.examined.Store(newExamined(found))
		s.live.nudge()
	}
	s.reply(w, list(found))
}

// An Examined is what the last examination of everything has found.
type Examined struct {
	At       time.Time `json:"at"`
	Problems int       `json:"problems"`
	Warnings int       `json:"warnings"`
}

func newExamined(found []doctor.Finding) *Examined {
	e := &Examined{At: time.Now()}
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
