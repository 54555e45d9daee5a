// Package access decides who may use the HTTP API: the admin by a password and
// sessions, programs by tokens. It also keeps the audit log of their changes.
//
// Codes, cookies and tokens are random and long, so their SHA-256 is what is
// stored; only the password, which people choose, needs a slow hash.
package access

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"pibootd/pkg/store"
)

// A Scope is what somebody may do. Each scope includes those before it.
type Scope string

// The scopes.
const (
	Nobody Scope = ""       // not logged in
	Read   Scope = "read"   // sees everything
	Submit Scope = "submit" // uploads videos and submits jobs, too
	Admin  Scope = "admin"  // changes everything
)

// Includes reports whether who has s may do what needs scope.
func (s Scope) Includes(scope Scope) bool { return rank[s] >= rank[scope] }

var rank = map[Scope]int{Nobody: 0, Read: 1, Submit: 2, Admin: 3}

// A User is who makes a request.
type User struct {
	Name  string // "admin", or the name of a token; "": nobody
	Scope Scope
}

// AdminName is the name of the only user with a password.
const AdminName = "admin"

// ErrUnknown is matched by the errors about a wrong password, code, session or
// token.
var ErrUnknown = errors.New("not known here")

// A Keeper has the password, the sessions, the tokens and the audit log. It is safe
// for concurrent use.
type Keeper struct {
	store    *store.Store
	session  time.Duration // how long a session lasts
	now      func() time.Time
	attempts *attempts
}

// New returns a Keeper on a store, whose sessions end after this time.
func New(s *store.Store, session time.Duration) *Keeper {
	return &Keeper{store: s, session: session, now: time.Now, attempts: newAttempts()}
}

// newSecret returns a new code, cookie or token: 26 letters and digits, 130 bits.
func newSecret() string { return rand.Text() }

func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("access: %s: %w", what, err)
}
