package web

import (
	"context"
	"net/http"
	"net/url"

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
	s.reply(w, list(found))
}

// Examine has the daemon examine its machine and these boards; none means all. It
// takes some seconds.
func (c *Client) Examine(ctx context.Context, boards []string) ([]doctor.Finding, error) {
	return get[[]doctor.Finding](ctx, c, "/api/v1/doctor?"+url.Values{"board": boards}.Encode())
}
