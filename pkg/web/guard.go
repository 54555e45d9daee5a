package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/access"
)

// A login is who makes a request, and how that is known.
type login struct {
	access.User
	session string // the secret of a session; "": a token, the control socket, or nobody
}

type loginKey struct{}

// loginOf returns who makes a request.
func loginOf(r *http.Request) login {
	l, _ := r.Context().Value(loginKey{}).(login)
	return l
}

// ownerName is the name of whoever uses the control socket.
const ownerName = "socket"

// uploadTokenName is the name of whoever has the token of http.upload_token_file.
const uploadTokenName = "upload token"

// guard lets a request through to a route if its user has the route's scope, and
// audits what it changes.
func (s *Server) guard(to route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to.scope == access.Nobody && isSafe(r.Method) && !to.login {
			to.handler(w, r)
			return
		}
		l, err := s.loginBy(r)
		if err == nil {
			err = s.permit(l, to, r)
		}
		if err != nil {
			s.refuseLogin(w, r, l, err)
			return
		}
		ctx, end := context.WithCancel(context.WithValue(r.Context(), loginKey{}, l))
		defer end()
		if isSafe(r.Method) {
			go s.endWithLogin(ctx, end, to, r)
		}
		s.audited(to, w, r.WithContext(ctx))
	})
}

// loginEvery is how often the login of a request that lasts is looked at.
const loginEvery = 15 * time.Second

// endWithLogin ends a request once its login has ended: a stream may last for days.
func (s *Server) endWithLogin(ctx context.Context, end context.CancelFunc, to route, r *http.Request) {
	for pause.For(ctx, cmp.Or(s.loginEvery, loginEvery)) {
		l, err := s.loginBy(r.WithContext(ctx))
		if err != nil || s.permit(l, to, r) != nil {
			end()
		}
	}
}

// asOwner lets every request through, which comes by the control socket.
func (s *Server) asOwner(to route) http.Handler {
	owner := login{User: access.User{Name: ownerName, Scope: access.Admin}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.audited(to, w, r.WithContext(context.WithValue(r.Context(), loginKey{}, owner)))
	})
}

func isSafe(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, method)
}

// loginBy returns who makes a request, by its token (RFC 6750 §2.1) or by the cookie
// of its session. A request without either is nobody's.
func (s *Server) loginBy(r *http.Request) (login, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		user, err := s.userOfToken(r, header)
		return login{User: user}, err
	}
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return login{}, nil
	}
	user, err := s.Access.OfSession(r.Context(), cookie.Value)
	if errors.Is(err, access.ErrUnknown) {
		return login{}, nil // to log in again must be possible
	}
	return login{User: user, session: cookie.Value}, err
}

func (s *Server) userOfToken(r *http.Request, header string) (access.User, error) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	if !ok {
		return access.User{}, statusError{errors.New("want Authorization: Bearer, with a token of pibootd token add"), http.StatusUnauthorized}
	}
	if s.UploadToken != nil && isSame(token, string(s.UploadToken)) {
		return access.User{Name: uploadTokenName, Scope: access.Submit}, nil
	}
	return s.Access.OfToken(r.Context(), token)
}

// isSame compares hashes, which have the same length whatever was sent.
func isSame(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// CSRFHeader is the header with the token of GET /api/v1/session that each request
// of a session needs if it changes something.
const CSRFHeader = "X-CSRF-Token"

// permit returns why a request is not permitted.
func (s *Server) permit(l login, to route, r *http.Request) error {
	starts := to.login && r.Method == http.MethodPost // whose handler looks at the origin itself
	switch {
	case l.Scope == access.Nobody && to.scope != access.Nobody:
		return statusError{errors.New("this needs a login, or a token: see docs/api.md"), http.StatusUnauthorized}
	case !l.Scope.Includes(to.scope):
		return statusError{fmt.Errorf("the token %q has the scope %s; want %s", l.Name, l.Scope, to.scope), http.StatusForbidden}
	case l.session == "" && l.Scope == access.Admin && !s.isPrivate(r):
		return statusError{fmt.Errorf("an admin token over plain HTTP can be read on the network; use %s", s.secureURL()), http.StatusForbidden}
	case starts:
		return nil
	case l.session != "" && isOtherOrigin(r):
		return statusError{errors.New("a page of another site must not use this login"), http.StatusForbidden}
	case l.session != "" && !isSafe(r.Method) && !access.IsCSRF(l.session, r.Header.Get(CSRFHeader)):
		return statusError{fmt.Errorf("the header %s is missing or wrong; want the csrf of GET /api/v1/session", CSRFHeader), http.StatusForbidden}
	}
	return nil
}

func (s *Server) refuseLogin(w http.ResponseWriter, r *http.Request, l login, err error) {
	if statusOf(err) == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if l.Scope != access.Nobody {
		s.audit(r, l, statusOf(err), "")
	}
	refuseAs(w, s.Log, r, err)
}

// isPrivate reports whether nobody on the network can read a request, or the
// configuration accepts that.
func (s *Server) isPrivate(r *http.Request) bool {
	return r.TLS != nil || s.Public.InsecureLogin || isLocal(r)
}

// isLocal reports whether a request comes from this machine.
func isLocal(r *http.Request) bool {
	client := addrOf(r.RemoteAddr)
	own, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return client.IsLoopback() || own != nil && client.IsValid() && client == addrOf(own.String())
}

// isOtherOrigin reports whether a page of another origin makes the request, as
// browsers report (Fetch Metadata, or RFC 6454 §7). Programs that are no browsers
// send neither header.
func isOtherOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		return site != "same-origin" && site != "none"
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	from, err := url.Parse(origin)
	return err != nil || from.Host != r.Host
}

// secureURL returns the address of the TLS port, or what to do without one.
func (s *Server) secureURL() string {
	addr := s.Info.addr()
	if s.Info.TLSPort == 0 || !addr.IsValid() {
		return "it on the NAS itself, or set http.tls_port or http.insecure_login"
	}
	return "https://" + netip.AddrPortFrom(addr, uint16(s.Info.TLSPort)).String() + "/"
}
