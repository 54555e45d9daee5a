package web

import (
	"context"
	"net/http"
	"net/url"

	"pibootd/pkg/access"
)

// A NewToken describes a token to be added.
type NewToken struct {
	Name  string       `json:"name"`
	Scope access.Scope `json:"scope"`
}

// An AddedToken is a new token.
type AddedToken struct {
	access.Token
	Secret string `json:"token"` // shown only in this answer
}

func (s *Server) listTokens(w http.ResponseWriter, r *http.Request) {
	tokens, err := s.Access.Tokens(r.Context())
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, list(tokens))
}

func (s *Server) addToken(w http.ResponseWriter, r *http.Request) {
	var asked NewToken
	if err := decode(w, r, &asked); err != nil {
		s.refuse(w, err)
		return
	}
	token, secret, err := s.Access.AddToken(r.Context(), asked.Name, asked.Scope)
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	s.reply(w, AddedToken{token, secret})
}

func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request) {
	token, err := s.Access.RevokeToken(r.Context(), r.PathValue("name"))
	if err != nil {
		s.refuse(w, err)
		return
	}
	s.reply(w, token)
}

// Tokens returns the tokens of programs, sorted by name.
func (c *Client) Tokens(ctx context.Context) ([]access.Token, error) {
	return get[[]access.Token](ctx, c, "/api/v1/tokens")
}

// AddToken adds a token, which only this answer shows.
func (c *Client) AddToken(ctx context.Context, t NewToken) (AddedToken, error) {
	return send[AddedToken](ctx, c, http.MethodPost, "/api/v1/tokens", t)
}

// RevokeToken removes a token.
func (c *Client) RevokeToken(ctx context.Context, name string) (access.Token, error) {
	return send[access.Token](ctx, c, http.MethodDelete, "/api/v1/tokens/"+url.PathEscape(name), nil)
}
