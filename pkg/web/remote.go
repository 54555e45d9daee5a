package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// A Remote says how to reach a daemon on another machine.
type Remote struct {
	URL         string // https://HOST:PORT, or http; a fingerprint may follow behind #
	TokenFile   string // has the token of pibootd token add
	Fingerprint string // SHA-256 of the daemon's certificate, in hex; "": a known authority has to have signed it
}

// NewRemoteClient returns a client of a daemon on another machine. It does not
// connect yet. What is wrong with r is the error of each request.
func NewRemoteClient(r Remote) *Client {
	c, err := newRemoteClient(r)
	if err != nil {
		return &Client{wrong: err}
	}
	return c
}

func newRemoteClient(r Remote) (*Client, error) {
	at, err := url.Parse(r.URL)
	if err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http" || strings.Trim(at.Path, "/") != "" || at.RawQuery != "" || at.User != nil {
		return nil, fmt.Errorf("server %.200q; want a URL such as https://10.0.0.1:8443", r.URL)
	}
	if r.Fingerprint == "" {
		r.Fingerprint = at.Fragment
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.Fingerprint != "" {
		want, err := hex.DecodeString(strings.ReplaceAll(r.Fingerprint, ":", ""))
		if err != nil || len(want) != sha256.Size || at.Scheme != "https" {
			return nil, fmt.Errorf("fingerprint %.100q; want the 64 hex digits of a certificate's SHA-256, for a server whose URL begins with https", r.Fingerprint)
		}
		pin(config, want)
	}
	token, err := readToken(r.TokenFile)
	if err != nil {
		return nil, err
	}
	base := at.Scheme + "://" + at.Host
	return &Client{base: base, at: base, token: token, http: http.Client{
		Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment},
		// A redirection could lead the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// maxToken bounds a file with a token, in bytes.
const maxToken = 4096

func readToken(file string) (string, error) {
	if file == "" {
		return "", errors.New("the server needs a token; want --token-file with one of pibootd token add")
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || len(text) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("token: %s has %d bytes that are no token; want a line that pibootd token add has printed", file, len(text))
	}
	return token, nil
}

// pin accepts one certificate, whoever has signed it.
func pin(config *tls.Config, want []byte) {
	config.InsecureSkipVerify = true // VerifyConnection decides
	config.VerifyConnection = func(state tls.ConnectionState) error {
		got := sha256.Sum256(state.PeerCertificates[0].Raw)
		if subtle.ConstantTimeCompare(got[:], want) != 1 {
			return fmt.Errorf("the server's certificate has the fingerprint %x; want %x: it is another server, or has a new certificate", got, want)
		}
		return nil
	}
}

// UnknownCertificateError reports that no known authority has signed the certificate
// of a server.
type UnknownCertificateError struct {
	Fingerprint string // of that certificate
	Err         error
}

func (e UnknownCertificateError) Error() string { return e.Err.Error() }
func (e UnknownCertificateError) Unwrap() error { return e.Err }

// Hint is what the user can do about the error.
func (e UnknownCertificateError) Hint() string {
	return "if pibootd admin-link on the NAS shows the fingerprint " + e.Fingerprint + ", give --fingerprint with it"
}

// unknownCertificate returns an UnknownCertificateError if that is the reason for err.
func unknownCertificate(err error) error {
	var verification *tls.CertificateVerificationError
	if !errors.As(err, &verification) || len(verification.UnverifiedCertificates) == 0 || errors.As(err, new(x509.SystemRootsError)) {
		return err
	}
	sum := sha256.Sum256(verification.UnverifiedCertificates[0].Raw)
	return UnknownCertificateError{hex.EncodeToString(sum[:]), err}
}

// An unreachableError reports that a server does not answer.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error { return e.error }

// Hint is what the user can do about the error.
func (unreachableError) Hint() string {
	return "is pibootd running there, and does this machine reach its port? docs/network.md lists the ports"
}
