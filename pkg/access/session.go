package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"pibootd/pkg/pi"
)

// SetupExpires is how long the code of a set-up link is valid.
const SetupExpires = time.Hour

// maxSessions limits the sessions that are stored. The one that ends first makes
// place for a new one.
const maxSessions = 256

// A Session is what a browser gets that has logged in.
type Session struct {
	Secret  string // the cookie
	Expires time.Time
}

// CSRF returns the token that requests of a session that change something must
// have in their header. It does not reveal the session's secret.
func CSRF(secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("csrf"))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// IsCSRF reports whether token is CSRF(secret).
func IsCSRF(secret, token string) bool {
	return subtle.ConstantTimeCompare([]byte(CSRF(secret)), []byte(token)) == 1
}

// HasPassword reports whether the admin has a password.
func (k *Keeper) HasPassword(ctx context.Context) (bool, error) {
	hashed, err := k.password(ctx)
	return hashed != "", err
}

func (k *Keeper) password(ctx context.Context) (hashed string, err error) {
	err = k.store.QueryRow(ctx, "SELECT password FROM admin").Scan(&hashed)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return hashed, failed("reading the password", err)
}

// NewSetupCode returns a code by which the admin's password can be made, once. It
// replaces an earlier one.
func (k *Keeper) NewSetupCode(ctx context.Context) (code string, expires time.Time, err error) {
	code, expires = newSecret(), k.now().Add(SetupExpires)
	err = k.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO setup_code (id, hash, expires) VALUES (1, ?, ?)", hash(code), expires.UnixNano())
		return err
	})
	return code, expires, failed("making a set-up code", err)
}

// ErrCode reports that a set-up code is wrong, or was used, or has expired.
var ErrCode = fmt.Errorf("the set-up code is %w: it works once, for an hour; pibootd admin-link on the NAS makes a new one", ErrUnknown)

// SetUp makes the admin's password, with the code of a set-up link, and logs in. It
// ends all other sessions.
func (k *Keeper) SetUp(ctx context.Context, from netip.Addr, code, password string) (Session, error) {
	if err := checkPassword(password); err != nil {
		return Session{}, err
	}
	if err := k.attempts.try(from, k.now()); err != nil {
		return Session{}, err
	}
	if err := k.checkCode(ctx, code); err != nil {
		return Session{}, err
	}
	k.attempts.succeeded(from)
	hashed, err := k.hashSlowly(ctx, func() (string, error) { return hashPassword(password) })
	if err != nil {
		return Session{}, failed("hashing a password", err)
	}
	session := k.newSession()
	err = k.store.Write(ctx, func(tx *sql.Tx) error {
		// The code is used up in the transaction, so that it works once.
		used, err := tx.ExecContext(ctx, "DELETE FROM setup_code WHERE hash = ? AND expires > ?", hash(code), k.now().UnixNano())
		if err != nil {
			return err
		}
		if n, err := used.RowsAffected(); err != nil || n != 1 {
			return errors.Join(err, ErrCode)
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO admin (id, password, changed) VALUES (1, ?, ?)", hashed, k.now().UnixNano()); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions"); err != nil {
			return err
		}
		return k.insertSession(ctx, tx, session, from)
	})
	return session, failed("setting up", err)
}

func (k *Keeper) checkCode(ctx context.Context, code string) error {
	var n int
	err := k.store.QueryRow(ctx, "SELECT COUNT(*) FROM setup_code WHERE hash = ? AND expires > ?", hash(code), k.now().UnixNano()).Scan(&n)
	if err == nil && n == 0 {
		err = pi.RequestError{Reason: pi.Invalid, Field: "code", Err: ErrCode}
	}
	return failed("setting up", err)
}

// hashSlowly bounds the memory that hashing takes.
func (k *Keeper) hashSlowly(ctx context.Context, do func() (string, error)) (string, error) {
	select {
	case k.attempts.hashing <- struct{}{}:
		defer func() { <-k.attempts.hashing }()
		return do()
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Login returns a new session if the password is the admin's. The error matches
// ErrUnknown if it is not, and is a TooManyError after too many that were wrong.
func (k *Keeper) Login(ctx context.Context, from netip.Addr, password string) (Session, error) {
	if err := k.attempts.try(from, k.now()); err != nil {
		return Session{}, err
	}
	hashed, err := k.password(ctx)
	if err != nil {
		return Session{}, err
	}
	if hashed == "" {
		return Session{}, fmt.Errorf("the admin's password is %w: there is none yet; pibootd admin-link on the NAS shows how to make it", ErrUnknown)
	}
	right := false
	_, err = k.hashSlowly(ctx, func() (_ string, err error) {
		right, err = isPassword(hashed, password[:min(len(password), maxPassword+1)])
		return "", err
	})
	if err != nil {
		return Session{}, failed("checking the password", err)
	}
	if !right {
		return Session{}, fmt.Errorf("this password is %w", ErrUnknown)
	}
	k.attempts.succeeded(from)
	session := k.newSession()
	err = k.store.Write(ctx, func(tx *sql.Tx) error { return k.insertSession(ctx, tx, session, from) })
	return session, failed("logging in", err)
}

func (k *Keeper) newSession() Session {
	return Session{Secret: newSecret(), Expires: k.now().Add(k.session)}
}

// insertSession stores a session, and removes those that have expired or are too
// many.
func (k *Keeper) insertSession(ctx context.Context, tx *sql.Tx, s Session, from netip.Addr) error {
	now := k.now().UnixNano()
	if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires <= ?", now); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE hash IN (SELECT hash FROM sessions ORDER BY expires DESC LIMIT -1 OFFSET ?)", maxSessions-1); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO sessions (hash, addr, made, expires) VALUES (?, ?, ?, ?)", hash(s.Secret), from.String(), now, s.Expires.UnixNano())
	return err
}

// OfSession returns the user of a session's cookie. The error matches ErrUnknown if
// it has ended.
func (k *Keeper) OfSession(ctx context.Context, secret string) (User, error) {
	var n int
	err := k.store.QueryRow(ctx, "SELECT COUNT(*) FROM sessions WHERE hash = ? AND expires > ?", hash(secret), k.now().UnixNano()).Scan(&n)
	if err != nil {
		return User{}, failed("reading a session", err)
	}
	if n == 0 {
		return User{}, fmt.Errorf("this session is %w: it has ended; log in again", ErrUnknown)
	}
	return User{Name: AdminName, Scope: Admin}, nil
}

// Logout ends a session.
func (k *Keeper) Logout(ctx context.Context, secret string) error {
	return failed("logging out", k.store.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE hash = ?", hash(secret))
		return err
	}))
}

// IsNew reports whether there was neither a password nor a set-up code yet.
func (k *Keeper) IsNew(ctx context.Context) (bool, error) {
	var n int
	err := k.store.QueryRow(ctx, "SELECT (SELECT COUNT(*) FROM admin) + (SELECT COUNT(*) FROM setup_code)").Scan(&n)
	return n == 0, failed("reading the password", err)
}

// A Login is a session that has not ended, without its secret.
type Login struct {
	ID      string    `json:"id"`
	Addr    string    `json:"addr"` // where it logged in from
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires"`
}

// LoginID returns the ID of the session with this cookie.
func LoginID(secret string) string { return hex.EncodeToString(hash(secret)[:8]) }

// Logins returns the sessions that have not ended, the newest first.
func (k *Keeper) Logins(ctx context.Context) (all []Login, err error) {
	rows, err := k.store.Query(ctx, "SELECT lower(hex(substr(hash, 1, 8))), addr, made, expires FROM sessions WHERE expires > ? ORDER BY made DESC", k.now().UnixNano())
	if err != nil {
		return nil, failed("reading the sessions", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var l Login
		var made, expires int64
		if err := rows.Scan(&l.ID, &l.Addr, &made, &expires); err != nil {
			return nil, failed("reading the sessions", err)
		}
		l.Since, l.Expires = time.Unix(0, made), time.Unix(0, expires)
		all = append(all, l)
	}
	return all, failed("reading the sessions", rows.Err())
}

// EndLogin ends the session with this ID.
func (k *Keeper) EndLogin(ctx context.Context, id string) error {
	return failed("ending a session", k.store.Write(ctx, func(tx *sql.Tx) error {
		ended, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE lower(hex(substr(hash, 1, 8))) = ?", id)
		if err != nil {
			return err
		}
		if n, err := ended.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, pi.RequestError{Reason: pi.Missing, Field: "id", Err: fmt.Errorf("no session %.40q; it may have ended", id)})
		}
		return nil
	}))
}
