package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/store"
)

func versionCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version",
		Description: "--check fetches the file that --releases names, by HTTPS alone, and says whether it names a later version. Nothing else ever looks for one, and nothing about this machine is sent.",
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "check", Usage: "look for a later version at --releases"},
			&cli.StringFlag{Name: "releases", Usage: "the latest.json of releases is at `URL`", EnvVars: []string{"PIBOOTD_RELEASES"}},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			if c.Bool("check") {
				return checkVersion(c, std, http.DefaultTransport)
			}
			if c.Bool("json") {
				return printJSON(std.out, map[string]any{"version": buildVersion(), "schema": store.Schema()})
			}
			fmt.Fprintln(std.out, "pibootd", buildVersion())
			if _, err := images.Worker(pi.ARM64); err != nil {
				fmt.Fprintln(std.out, "It was built without workers, so boards boot and cannot transcode: build it by make build.")
			}
			return nil
		},
	}
}

// A release is what latest.json has.
type release struct {
	Version string `json:"version"` // e.g. v1.2.3
}

// Limits of what is fetched.
const (
	releaseBytes     = 64 << 10
	releaseTime      = 15 * time.Second
	releaseRedirects = 3
)

// releaseVersion matches the version of a release. That of a build between two, such as
// v1.2.3-4-g5678abc, is none.
var releaseVersion = regexp.MustCompile(`^v([0-9]{1,6})\.([0-9]{1,6})\.([0-9]{1,6})(-(?:alpha|beta|rc)[0-9.]{0,20})?$`)

func checkVersion(c *cli.Context, std streams, transport http.RoundTripper) error {
	latest, err := fetchRelease(c.Context, c.String("releases"), transport)
	if err != nil {
		return fmt.Errorf("looking for a later version: %w", err)
	}
	own := buildVersion()
	if c.Bool("json") {
		return printJSON(std.out, map[string]any{"version": own, "latest": latest.Version, "later": later(latest.Version, own)})
	}
	switch {
	case !releaseVersion.MatchString(own):
		_, err = fmt.Fprintf(std.out, "pibootd %s is no release; the latest is %s\n", own, latest.Version)
	case later(latest.Version, own):
		_, err = fmt.Fprintf(std.out, "pibootd %s; %s is later: back up, then upgrade\n", own, latest.Version)
	default:
		_, err = fmt.Fprintf(std.out, "pibootd %s is the latest\n", own)
	}
	return err
}

// fetchRelease fetches a latest.json. It sends nothing but the request for it.
func fetchRelease(ctx context.Context, from string, transport http.RoundTripper) (r release, err error) {
	if from == "" {
		return r, hintedError{errors.New("pibootd asks nobody by itself, and was not told whom to ask"), "give --releases URL, or set PIBOOTD_RELEASES"}
	}
	if err := wantHTTPS(from); err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return r, err
	}
	request.Header.Set("User-Agent", "pibootd")
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > releaseRedirects {
			return fmt.Errorf("more than %d redirects", releaseRedirects)
		}
		return wantHTTPS(next.URL.String())
	}}
	response, err := client.Do(request)
	if err != nil {
		return r, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return r, fmt.Errorf("%s answers %s", from, response.Status)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, releaseBytes))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil || !releaseVersion.MatchString(r.Version) {
		return release{}, fmt.Errorf(`%s has no version; want JSON like {"version": "v1.2.3"}`, from)
	}
	return r, nil
}

func wantHTTPS(address string) error {
	if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q; want an https URL, because nothing else shows whose answer it is", address)
	}
	return nil
}

// later reports whether a release came after another (semver.org, §11): one with a suffix
// comes before the same without.
func later(a, b string) bool {
	x, y := releaseVersion.FindStringSubmatch(a), releaseVersion.FindStringSubmatch(b)
	if x == nil || y == nil {
		return false
	}
	for i := 1; i <= 3; i++ {
		m, _ := strconv.Atoi(x[i]) // at most six digits
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m > n
		}
	}
	if x[4] == "" || y[4] == "" {
		return x[4] == "" && y[4] != ""
	}
	return strings.Compare(x[4], y[4]) > 0
}
