package web

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"pibootd/pkg/access"
)

// A Session is who makes a request, and what its browser needs to change things.
type Session struct {
	User  string       `json:"user"`
	Scope access.Scope `json:"scope"`
	CSRF  string       `json:"csrf,omitempty"` // for the header X-CSRF-Token; "": a token needs none
}

// A NoSession answers a browser that is not logged in with what it can do.
type NoSession struct {
	Problem
	Setup bool   `json:"setup"`            // there is no password yet: it needs a set-up link
	Login bool   `json:"login"`            // whether a password is accepted over this connection
	HTTPS string `json:"https,omitempty"`  // where it is otherwise
	Read  bool   `json:"public,omitempty"` // reading needs no login
}

// A Credential is the admin's password, with a set-up code if it is a new one.
type Credential struct {
	Code     string `json:"code,omitempty"`
	Password string `json:"password"`
}

// A SetupLink makes the admin's password, once.
type SetupLink struct {
	URL         string    `json:"url"`
	Code        string    `json:"code"`
	Expires     time.Time `json:"expires"`
	Fingerprint string    `json:"fingerprint,omitempty"` // of the TLS certificate
}

// The names of a session's cookie. A page served over plain HTTP cannot set one
// that begins with __Host-.
const (
	plainCookie  = "pibootd"
	secureCookie = "__Host-pibootd"
)

func cookieName(r *http.Request) string {
	if r.TLS != nil {
		return secureCookie
	}
	return plainCookie
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r), Value: value, Path: "/", Expires: expires,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

func (s *Server) showSession(w http.ResponseWriter, r *http.Request) {
	l := loginOf(r)
	if l.Scope != access.Nobody {
		s.replySession(w, l)
		return
	}
	has, err := s.Access.HasPassword(r.Context())
	if err != nil {
		s.refuse(w, err)
		return
	}
	out := NoSession{Problem: Problem{Error: "not logged in"}, Setup: !has, Login: s.isPrivate(r), Read: s.Public.Read}
	if !out.Login && s.Info.TLSPort != 0 {
		out.HTTPS = s.secureURL()
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	reply(w, s.Log, http.StatusUnauthorized, out)
}

func (s *Server) replySession(w http.ResponseWriter, l login) {
	out := Session{User: l.Name, Scope: l.Scope}
	if l.session != "" {
		out.CSRF = access.CSRF(l.session)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.reply(w, out)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	s.start(w, r, func(c Credential) (access.Session, error) {
		return s.Access.Login(r.Context(), addrOf(r.RemoteAddr), c.Password)
	})
}

func (s *Server) setUp(w http.ResponseWriter, r *http.Request) {
	s.start(w, r, func(c Credential) (access.Session, error) {
		return s.Access.SetUp(r.Context(), addrOf(r.RemoteAddr), c.Code, c.Password)
	})
}

// start starts a session with a password that has to be private.
func (s *Server) start(w http.ResponseWriter, r *http.Request, with func(Credential) (access.Session, error)) {
	var c Credential
	switch {
	case clientOf(r) == "":
		s.refuse(w, statusError{errors.New("the control socket needs no login"), http.StatusBadRequest})
		return
	case isOtherOrigin(r):
		s.refuse(w, statusError{errors.New("a page of another site must not log in here"), http.StatusForbidden})
		return
	case !s.isPrivate(r):
		s.refuse(w, statusError{errors.New("a password over plain HTTP can be read on the network; use " + s.secureURL()), http.StatusForbidden})
		return
	}
	if err := decode(w, r, &c); err != nil {
		s.refuse(w, err)
		return
	}
	session, err := with(c)
	if err != nil {
		s.refuse(w, err)
		return
	}
	setCookie(w, r, session.Secret, session.Expires)
	s.replySession(w, login{User: access.User{Name: access.AdminName, Scope: access.Admin}, session: session.Secret})
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	l := loginOf(r)
	if l.session == "" {
		s.refuse(w, statusError{errors.New("there is no session to end"), http.StatusUnauthorized})
		return
	}
	if err := s.Access.Logout(r.Context(), l.session); err != nil {
		s.refuse(w, err)
		return
	}
	setCookie(w, r, "", time.Unix(1, 0))
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) makeSetupLink(w http.ResponseWriter, r *http.Request) {
	link, err := s.NewSetupLink(r.Context())
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, link)
}

// NewSetupLink returns a link by which the admin's password can be made, once. It
// replaces an earlier one.
func (s *Server) NewSetupLink(ctx context.Context) (SetupLink, error) {
	code, expires, err := s.Access.NewSetupCode(ctx)
	if err != nil {
		return SetupLink{}, err
	}
	base := s.secureURL()
	if s.Info.TLSPort == 0 {
		base = "http://" + netip.AddrPortFrom(s.Info.addr(), uint16(s.Info.HTTPPort)).String() + "/"
	}
	// What is behind # stays in the browser: no log or proxy sees it.
	return SetupLink{URL: base + "setup#" + code, Code: code, Expires: expires, Fingerprint: s.Info.Fingerprint}, nil
}

// SetupLink has the daemon make a new set-up link.
func (c *Client) SetupLink(ctx context.Context) (SetupLink, error) {
	return send[SetupLink](ctx, c, http.MethodPost, "/api/v1/setup-link", nil)
}
