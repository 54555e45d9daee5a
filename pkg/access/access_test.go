package access

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

const password = "a password of this test"

var here = netip.MustParseAddr("10.0.0.7")

// open returns a Keeper whose time is a variable.
func open(t *testing.T, file string) (k *Keeper, now *time.Time) {
	t.Helper()
	s, err := store.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	at := time.Date(2026, 11, 30, 9, 0, 0, 0, time.UTC)
	k = New(s, time.Hour)
	k.now = func() time.Time { return at }
	return k, &at
}

func isField(err error, field string) bool {
	var r pi.RequestError
	return errors.As(err, &r) && r.Field == field
}

// A set-up code makes a password once, within its hour, and only the newest does.
func TestSetupCode(t *testing.T) {
	k, now := open(t, filepath.Join(t.TempDir(), "db"))
	ctx := t.Context()
	if isNew, err := k.IsNew(ctx); err != nil || !isNew {
		t.Errorf("IsNew = %v, %v; want true", isNew, err)
	}
	older, _, err := k.NewSetupCode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := k.NewSetupCode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if isNew, err := k.IsNew(ctx); err != nil || isNew {
		t.Errorf("IsNew = %v, %v; want false", isNew, err)
	}
	if _, err := k.SetUp(ctx, here, older, password); !errors.Is(err, ErrCode) {
		t.Errorf("SetUp with a replaced code = %v; want %v", err, ErrCode)
	}
	for _, bad := range []string{"", "too short", strings.Repeat("long", 300), "not UTF-8 \xff at all"} {
		if _, err := k.SetUp(ctx, here, code, bad); !isField(err, "password") {
			t.Errorf("SetUp with the password %.20q = %v; want it refused", bad, err)
		}
	}
	*now = now.Add(SetupExpires)
	if _, err := k.SetUp(ctx, here, code, password); !errors.Is(err, ErrCode) {
		t.Errorf("SetUp after an hour = %v; want %v", err, ErrCode)
	}
	*now = now.Add(-time.Minute)
	session, err := k.SetUp(ctx, here, code, password)
	if err != nil {
		t.Fatal(err)
	}
	if u, err := k.OfSession(ctx, session.Secret); err != nil || u != (User{AdminName, Admin}) {
		t.Errorf("OfSession = %+v, %v; want admin", u, err)
	}
	if _, err := k.SetUp(ctx, here, code, "another password"); !errors.Is(err, ErrCode) {
		t.Errorf("SetUp again = %v; want %v", err, ErrCode)
	}
	// A new password ends the sessions of the old one.
	code, _, err = k.NewSetupCode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SetUp(ctx, here, code, "another password"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.OfSession(ctx, session.Secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("OfSession of the old password = %v; want %v", err, ErrUnknown)
	}
	if _, err := k.Login(ctx, here, password); !errors.Is(err, ErrUnknown) {
		t.Errorf("Login by the old password = %v; want %v", err, ErrUnknown)
	}
}

// setUp makes the password.
func setUp(t *testing.T, k *Keeper) Session {
	t.Helper()
	code, _, err := k.NewSetupCode(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	session, err := k.SetUp(t.Context(), here, code, password)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// Sessions survive a restart, end when they expire or are ended, and no secret is in
// the database.
func TestSessions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	k, _ := open(t, file)
	ctx := t.Context()
	if _, err := k.Login(ctx, here, ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("Login without a password that was made = %v; want %v", err, ErrUnknown)
	}
	first := setUp(t, k)
	second, err := k.Login(ctx, here, password)
	if err != nil {
		t.Fatal(err)
	}
	again, now := open(t, file)
	for _, s := range []Session{first, second} {
		if _, err := again.OfSession(ctx, s.Secret); err != nil {
			t.Errorf("OfSession after a restart = %v", err)
		}
	}
	if err := again.Logout(ctx, first.Secret); err != nil {
		t.Fatal(err)
	}
	if _, err := again.OfSession(ctx, first.Secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("OfSession after Logout = %v; want %v", err, ErrUnknown)
	}
	*now = now.Add(time.Hour)
	if _, err := again.OfSession(ctx, second.Secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("OfSession after an hour = %v; want %v", err, ErrUnknown)
	}
	if !IsCSRF(second.Secret, CSRF(second.Secret)) || IsCSRF(second.Secret, CSRF(first.Secret)) || IsCSRF(second.Secret, "") {
		t.Error("CSRF belongs to no session, or to several")
	}
	wantNotStored(t, k, password, first.Secret, second.Secret, CSRF(second.Secret))
}

// wantNotStored makes sure that no table has a secret in it.
func wantNotStored(t *testing.T, k *Keeper, secrets ...string) {
	t.Helper()
	rows, err := k.store.Query(t.Context(), "SELECT password FROM admin UNION ALL SELECT hex(hash) FROM setup_code UNION ALL SELECT hex(hash) || addr FROM sessions UNION ALL SELECT name || hex(hash) FROM tokens")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("the database has %q", secret)
			}
		}
	}
	if err := rows.Err(); err != nil || n == 0 {
		t.Errorf("read %d rows, %v", n, err)
	}
}

// Who guesses passwords or codes has to wait; others do not, and a success is no
// guess.
func TestAttemptsAreLimited(t *testing.T) {
	k, now := open(t, filepath.Join(t.TempDir(), "db"))
	ctx := t.Context()
	setUp(t, k)
	for range maxAttempts + 1 {
		if _, err := k.Login(ctx, here, password); err != nil {
			t.Fatal(err)
		}
	}
	guess := func() error { _, err := k.SetUp(ctx, here, "a wrong code", password); return err }
	if _, err := k.Login(ctx, here, "a wrong password"); !errors.Is(err, ErrUnknown) {
		t.Fatalf("a guessed password = %v; want %v", err, ErrUnknown)
	}
	for i := range maxAttempts - 1 {
		if err := guess(); !errors.Is(err, ErrUnknown) {
			t.Fatalf("guess %d = %v; want %v", i, err, ErrUnknown)
		}
	}
	var tooMany TooManyError
	if err := guess(); !errors.As(err, &tooMany) || tooMany.Wait > attemptEvery {
		t.Errorf("one guess more = %v; want a TooManyError of at most %s", err, attemptEvery)
	}
	if _, err := k.Login(ctx, here, password); !errors.As(err, &tooMany) {
		t.Errorf("the password meanwhile = %v; want a TooManyError", err)
	}
	if _, err := k.Login(ctx, netip.MustParseAddr("10.0.0.8"), password); err != nil {
		t.Errorf("the password from another address = %v", err)
	}
	*now = now.Add(attemptEvery)
	if err := guess(); !errors.Is(err, ErrUnknown) {
		t.Errorf("a guess later = %v; want %v", err, ErrUnknown)
	}
	if err := guess(); !errors.As(err, &tooMany) {
		t.Errorf("and another = %v; want a TooManyError", err)
	}
}

// The addresses that are remembered are bounded, and one with guesses left to wait
// for is not forgotten for others that have fewer.
func TestAttemptsAreBounded(t *testing.T) {
	a := newAttempts()
	now := time.Now()
	for range maxAttempts {
		if err := a.try(here, now); err != nil {
			t.Fatal(err)
		}
	}
	addr := netip.MustParseAddr("10.1.0.0")
	for range maxAddresses + 100 {
		addr = addr.Next()
		if err := a.try(addr, now); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.full) > maxAddresses {
		t.Errorf("%d addresses are remembered; want at most %d", len(a.full), maxAddresses)
	}
	if err := a.try(here, now); err == nil {
		t.Error("an address was forgotten that had to wait")
	}
}

// A token works with its scope until it is revoked.
func TestTokens(t *testing.T) {
	k, _ := open(t, filepath.Join(t.TempDir(), "db"))
	ctx := t.Context()
	added, secret, err := k.AddToken(ctx, "grafana", Read)
	if err != nil || added.Name != "grafana" {
		t.Fatal(added, err)
	}
	if u, err := k.OfToken(ctx, secret); err != nil || u != (User{"grafana", Read}) {
		t.Errorf("OfToken = %+v, %v", u, err)
	}
	wantNotStored(t, k, secret)
	for _, tt := range []struct{ name, scope, field string }{
		{"grafana", "admin", "name"}, {"admin", "read", "name"}, {"", "read", "name"}, {"a b", "read", "name"}, {"-a", "read", "name"},
		{strings.Repeat("a", 64), "read", "name"}, {"b", "", "scope"}, {"b", "root", "scope"},
	} {
		if _, _, err := k.AddToken(ctx, tt.name, Scope(tt.scope)); !isField(err, tt.field) {
			t.Errorf("AddToken %q with %q = %v; want %s refused", tt.name, tt.scope, err, tt.field)
		}
	}
	for _, wrong := range []string{"", "x", secret + "x", secret[:len(secret)-1]} {
		if _, err := k.OfToken(ctx, wrong); !errors.Is(err, ErrUnknown) {
			t.Errorf("OfToken of %q = %v; want %v", wrong, err, ErrUnknown)
		}
	}
	if all, err := k.Tokens(ctx); err != nil || len(all) != 1 || all[0] != added {
		t.Errorf("Tokens = %+v, %v; want %+v", all, err, added)
	}
	if revoked, err := k.RevokeToken(ctx, "grafana"); err != nil || revoked != added {
		t.Errorf("RevokeToken = %+v, %v", revoked, err)
	}
	if _, err := k.RevokeToken(ctx, "grafana"); !isField(err, "name") {
		t.Errorf("RevokeToken again = %v; want it refused", err)
	}
	if _, err := k.OfToken(ctx, secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("OfToken of a revoked one = %v; want %v", err, ErrUnknown)
	}
}

// Each scope includes those before it, and what is no scope includes nothing.
func TestScopes(t *testing.T) {
	scopes := []Scope{Nobody, Read, Submit, Admin}
	for i, a := range scopes {
		for j, b := range scopes {
			if a.Includes(b) != (i >= j) {
				t.Errorf("%q includes %q: %v", a, b, a.Includes(b))
			}
		}
	}
	if Scope("root").Includes(Read) {
		t.Error("an unknown scope includes one")
	}
}

// The audit log has the newest entries, and refused requests do not push out
// others.
func TestAuditIsBounded(t *testing.T) {
	k, _ := open(t, filepath.Join(t.TempDir(), "db"))
	ctx := context.Background()
	add := func(status int, path string) {
		t.Helper()
		if err := k.Audit(ctx, Change{Who: AdminName, Method: "PATCH", Path: path, Status: status}); err != nil {
			t.Fatal(err)
		}
	}
	add(200, "/first")
	for i := range maxRefused + 5 {
		add(401, strconv.Itoa(i))
	}
	all, err := k.Changes(ctx, 0, 2*maxAudit)
	if err != nil || len(all) != maxRefused+1 || all[0].Path != strconv.Itoa(maxRefused+4) || all[maxRefused].Path != "/first" {
		t.Fatalf("%d entries, %v; want %d, of which the last is the first change", len(all), err, maxRefused+1)
	}
	page, err := k.Changes(ctx, all[10].ID, 2)
	if err != nil || len(page) != 2 || page[0] != all[11] || page[1] != all[12] {
		t.Errorf("a page = %+v, %v; want the two after %+v", page, err, all[10])
	}
}
