package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"pibootd/pkg/pi"
)

// A Token lets a program use the API. Its secret is shown when it is added, and not
// stored.
type Token struct {
	Name  string    `json:"name"`
	Scope Scope     `json:"scope"`
	Added time.Time `json:"added"`
}

// maxTokens limits the tokens.
const maxTokens = 256

// tokenPrefix marks a token as pibootd's, so that programs that look for leaked
// secrets can find it.
const tokenPrefix = "pibootd_"

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func (t Token) check() error {
	if !tokenName.MatchString(t.Name) || t.Name == AdminName {
		return pi.InvalidField("name", fmt.Errorf("name %.100q; want 1 to 63 letters, digits, '-', '_' and '.', and not %q", t.Name, AdminName))
	}
	if t.Scope == Nobody || rank[t.Scope] == 0 {
		return pi.InvalidField("scope", fmt.Errorf("scope %.40q; want read, submit or admin", t.Scope))
	}
	return nil
}

// AddToken adds a token and returns its secret, which cannot be read again.
func (k *Keeper) AddToken(ctx context.Context, name string, scope Scope) (t Token, secret string, err error) {
	t = Token{Name: name, Scope: scope, Added: time.Unix(0, k.now().UnixNano())}
	if err := t.check(); err != nil {
		return Token{}, "", err
	}
	secret = tokenPrefix + newSecret()
	err = k.store.Write(ctx, func(tx *sql.Tx) error {
		var same, all int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FILTER (WHERE name = ?), COUNT(*) FROM tokens", name).Scan(&same, &all); err != nil {
			return err
		}
		if same > 0 {
			return pi.Conflicting("name", fmt.Errorf("there is a token named %s, which cannot be shown again; revoke it first, or take another name", name))
		}
		if all >= maxTokens {
			return pi.Conflicting("", fmt.Errorf("there are %d tokens, the most there can be; revoke one first", all))
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO tokens (name, scope, hash, made) VALUES (?, ?, ?, ?)", name, string(scope), hash(secret), t.Added.UnixNano())
		return err
	})
	return t, secret, failed("adding a token", err)
}

// Tokens returns the tokens, sorted by name.
func (k *Keeper) Tokens(ctx context.Context) (all []Token, err error) {
	rows, err := k.store.Query(ctx, "SELECT name, scope, made FROM tokens ORDER BY name")
	if err != nil {
		return nil, failed("reading the tokens", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var t Token
		var made int64
		if err := rows.Scan(&t.Name, &t.Scope, &made); err != nil {
			return nil, failed("reading the tokens", err)
		}
		t.Added = time.Unix(0, made)
		all = append(all, t)
	}
	return all, failed("reading the tokens", rows.Err())
}

// RevokeToken removes a token. It is refused from now on.
func (k *Keeper) RevokeToken(ctx context.Context, name string) (Token, error) {
	t := Token{Name: name}
	err := k.store.Write(ctx, func(tx *sql.Tx) error {
		var made int64
		err := tx.QueryRowContext(ctx, "DELETE FROM tokens WHERE name = ? RETURNING scope, made", name).Scan(&t.Scope, &made)
		if errors.Is(err, sql.ErrNoRows) {
			return pi.RequestError{Reason: pi.Missing, Field: "name", Err: fmt.Errorf("there is no token named %.100q; pibootd token list shows them", name)}
		}
		t.Added = time.Unix(0, made)
		return err
	})
	return t, failed("revoking a token", err)
}

// OfToken returns the user of a token. The error matches ErrUnknown if there is
// none. A token is too long to be found by trying.
func (k *Keeper) OfToken(ctx context.Context, secret string) (User, error) {
	var u User
	err := k.store.QueryRow(ctx, "SELECT name, scope FROM tokens WHERE hash = ?", hash(secret)).Scan(&u.Name, &u.Scope)
	if errors.Is(err, sql.ErrNoRows) {
		return User{}, fmt.Errorf("this token is %w, or was revoked", ErrUnknown)
	}
	return u, failed("reading a token", err)
}
