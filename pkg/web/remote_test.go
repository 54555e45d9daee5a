package web

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"pibootd/pkg/access"
)

// remote returns a client over TLS with a token of this scope and a fingerprint.
func (d daemon) remote(t *testing.T, scope access.Scope, fingerprint string) *Client {
	t.Helper()
	added, err := d.client.AddToken(t.Context(), NewToken{Name: "remote-" + string(scope), Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, added.Secret+"\n")
	c := NewRemoteClient(Remote{URL: "https://" + d.secure, TokenFile: file, Fingerprint: fingerprint})
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// A client on another machine does what its token permits, with the server whose
// fingerprint it knows alone.
func TestRemoteClient(t *testing.T) {
	d := startClosed(t)
	ctx := t.Context()
	var unknown UnknownCertificateError
	if _, err := d.remote(t, access.Read, "").Info(ctx); !errors.As(err, &unknown) || !errors.Is(err, ErrNotRunning) || !strings.Contains(unknown.Hint(), unknown.Fingerprint) {
		t.Fatalf("Info without a fingerprint = %v; want one in the hint", err)
	}
	submit := d.remote(t, access.Submit, unknown.Fingerprint)
	if boards, err := submit.Pis(ctx); err != nil || len(boards) != 1 {
		t.Errorf("Pis = %+v, %v; want one", boards, err)
	}
	if _, err := submit.Drain(ctx, "hlspi1", true); err == nil || !strings.Contains(err.Error(), "has the scope submit; want admin") {
		t.Errorf("Drain with scope submit = %v; want it refused", err)
	}
	sent := int64(0)
	video := LocalFile{Name: "uploads/a b.mp4", File: strings.NewReader("a video"), SizeBytes: 7, Sent: func(bytes int64) { sent = bytes }}
	if _, err := submit.UploadFile(ctx, video); err != nil || sent != 7 {
		t.Errorf("UploadFile: %d bytes, %v; want 7", sent, err)
	}
	d.wantFile(t, "uploads/a b.mp4", "a video")
	if _, err := submit.UploadFile(ctx, video); err == nil || !strings.Contains(err.Error(), errTaken.Error()) {
		t.Errorf("UploadFile again = %v; want %v", err, errTaken)
	}
	if all, err := submit.Uploads(ctx); err != nil || len(all) > 0 {
		t.Errorf("Uploads = %+v, %v; want none left", all, err)
	}
	colons := strings.ToUpper(unknown.Fingerprint[:2]) + ":" + unknown.Fingerprint[2:]
	if _, err := d.remote(t, access.Admin, colons).Drain(ctx, "hlspi1", true); err != nil {
		t.Errorf("Drain with scope admin = %v", err)
	}
	other := strings.Repeat("0", 64)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, submit.token)
	if _, err := NewRemoteClient(Remote{URL: "https://" + d.secure + "#" + other, TokenFile: file}).Info(ctx); err == nil || !strings.Contains(err.Error(), "fingerprint "+unknown.Fingerprint+"; want "+other) {
		t.Errorf("Info with another fingerprint = %v; want both named", err)
	}
	if _, err := NewRemoteClient(Remote{URL: "http://" + d.public, TokenFile: file}).Jobs(ctx); err != nil {
		t.Errorf("Jobs over plain HTTP = %v", err)
	}
}

// What is wrong with the address of a server, or its token, is said.
func TestRemoteIsChecked(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	write(t, good, "a-token")
	write(t, bad, "two\nlines")
	for want, r := range map[string]Remote{
		"want a URL":           {URL: "10.0.0.1:8443", TokenFile: good},
		`server "ftp://nas"`:   {URL: "ftp://nas", TokenFile: good},
		`server "https://n/x"`: {URL: "https://n/x", TokenFile: good},
		"want --token-file":    {URL: "https://nas"},
		"no such file":         {URL: "https://nas", TokenFile: filepath.Join(dir, "none")},
		"that are no token":    {URL: "https://nas", TokenFile: bad},
		"want the 64 hex":      {URL: "https://nas", TokenFile: good, Fingerprint: "12"},
		"begins with https":    {URL: "http://nas", TokenFile: good, Fingerprint: strings.Repeat("0", 64)},
	} {
		if _, err := NewRemoteClient(r).Info(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want %q", r, err, want)
		}
	}
}
