package web

import (
	"net/http"

	"pibootd/pkg/access"
)

// A Login is a browser that is logged in.
type Login struct {
	access.Login
	Own bool `json:"own"` // it makes this request
}

func (s *Server) listLogins(w http.ResponseWriter, r *http.Request) {
	all, err := s.Access.Logins(r.Context())
	if err != nil {
		s.refuse(w, err)
		return
	}
	own := ""
	if secret := loginOf(r).session; secret != "" {
		own = access.LoginID(secret)
	}
	out := []Login{}
	for _, one := range all {
		out = append(out, Login{Login: one, Own: one.ID == own})
	}
	s.reply(w, out)
}

func (s *Server) endLogin(w http.ResponseWriter, r *http.Request) {
	if err := s.Access.EndLogin(r.Context(), r.PathValue("id")); err != nil {
		s.refuse(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// showConfig answers with the configuration that the daemon runs with. Secrets are in
// files of their own, which it names.
func (s *Server) showConfig(w http.ResponseWriter, _ *http.Request) {
	if s.Config == nil {
		s.reply(w, struct{}{})
		return
	}
	s.reply(w, s.Config)
}
