package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// --check asks where it is said to, by HTTPS alone, sends nothing of this machine, and
// believes nothing but a version.
func TestVersionCheck(t *testing.T) {
	replies := map[string]string{
		"/later": `{"version": "v99.0.0"}`, "/text": "<html>", "/evil": `{"version": "v1.2.3\u001b[31m"}`, "/none": `{}`,
		"/long": `{"version": "v1.2.3", "x": "` + strings.Repeat("x", releaseBytes) + `"}`,
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if agent := r.Header.Get("User-Agent"); agent != "pibootd" || r.URL.RawQuery != "" || len(r.Cookies()) > 0 {
			t.Errorf("the request says %q of this machine", agent)
		}
		switch text, ok := replies[r.URL.Path]; {
		case ok:
			_, _ = io.WriteString(w, text)
		case r.URL.Path == "/plain":
			http.Redirect(w, r, "http://"+r.Host+"/later", http.StatusFound)
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for path, want := range map[string]string{
		"/later": "is no release; the latest is v99.0.0", "/text": "has no version", "/evil": "has no version", "/none": "has no version", "/long": "has no version",
		"/plain": "want an https URL", "/loop": "more than 3 redirects", "/nothing": "answers 404",
	} {
		if got := checkAt(t, server.URL+path, server.Client().Transport); !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", path, got, want)
		}
	}
	if got := checkAt(t, "", nil); !strings.Contains(got, "asks nobody by itself") {
		t.Errorf("without a place to ask: %q", got)
	}
	if got := checkAt(t, strings.Replace(server.URL, "https", "http", 1), nil); !strings.Contains(got, "want an https URL") {
		t.Errorf("by plain HTTP: %q", got)
	}
	if got := checkAt(t, server.URL+"/later", &http.Transport{TLSClientConfig: &tls.Config{}}); !strings.Contains(got, "certificate") {
		t.Errorf("with a certificate that nobody trusts: %q", got)
	}
}

// checkAt returns what version --check says, or its error.
func checkAt(t *testing.T, releases string, transport http.RoundTripper) string {
	t.Helper()
	var out strings.Builder
	std := streams{out: &out, err: io.Discard}
	command := versionCommand(std)
	command.Action = func(c *cli.Context) error { return checkVersion(c, std, transport) }
	app := &cli.App{Commands: []*cli.Command{command}, Writer: io.Discard, ErrWriter: io.Discard, ExitErrHandler: func(*cli.Context, error) {}}
	if err := app.RunContext(t.Context(), []string{"pibootd", "version", "--check", "--releases", releases}); err != nil {
		return err.Error()
	}
	return out.String()
}

func TestLater(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"v1.0.1", "v1.0.0", true}, {"v1.10.0", "v1.9.9", true}, {"v2.0.0", "v1.99.99", true}, {"v1.0.0", "v1.0.0", false},
		{"v1.0.0", "v1.0.1", false}, {"v1.0.0", "v1.0.0-rc.1", true}, {"v1.0.0-rc.1", "v1.0.0", false}, {"v1.0.0", "v1.0.0-3-gabcdef0", false}, {"v1.0.0", "(devel)", false},
	} {
		if got := later(tt.a, tt.b); got != tt.want {
			t.Errorf("later(%s, %s) = %v; want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
