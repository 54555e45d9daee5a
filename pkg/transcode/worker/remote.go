package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"pibootd/internal/pause"
	"pibootd/pkg/transcode"
)

// A remote is the media share over HTTP, as transcode.PathShare says. Attempts write
// to a directory of this machine, and their files are sent when they are complete.
// Requests are repeated while the daemon is away.
type remote struct {
	base        *url.URL // of the daemon
	name, token string
	client      *http.Client
	retry       time.Duration // before the first repetition
	log         *slog.Logger
	work        string // directory of this machine
	reader      *reader
}

const (
	// dialTimeout is how long the daemon's machine may take to answer.
	dialTimeout = 10 * time.Second
	// answerTimeout is how long the daemon may take, because it acknowledges a file when
	// it is on disk.
	answerTimeout = 5 * time.Minute
	// refusalTimeout is how long to wait for a refusal before a file is sent.
	refusalTimeout = 5 * time.Second
)

// attemptsDir is the part of the work directory that is removed at the start.
const attemptsDir = "attempts"

// newRemote returns the share of the daemon at base. It removes what a killed worker
// left in the work directory. The caller closes it.
func newRemote(w *Worker, base *url.URL, work string) (*remote, error) {
	work = filepath.Join(work, attemptsDir)
	if err := errors.Join(os.RemoveAll(work), os.MkdirAll(work, 0o700)); err != nil {
		return nil, fmt.Errorf("preparing the directory for work: %w", err)
	}
	r := &remote{
		base: base, name: w.Config.Name, token: w.Config.Token, retry: w.retryAfter(), log: w.log(), work: work,
		client: &http.Client{Transport: &http.Transport{
			DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext, // by its keep-alives a dead connection ends
			ResponseHeaderTimeout: answerTimeout,
			ExpectContinueTimeout: refusalTimeout,
			IdleConnTimeout:       time.Minute,
		}},
	}
	var err error
	r.reader, err = newReader(r)
	return r, err
}

// close ends the reader and removes the directory of attempts, which is empty unless
// the worker was stopped amid one.
func (r *remote) close() {
	r.reader.close()
	_ = os.Remove(r.work)
}

func (r *remote) dir() string { return r.work }

// describe requests the description of the share, once.
func (r *remote) describe(ctx context.Context) (transcode.Share, error) {
	var about transcode.Share
	response, err := r.once(ctx, http.MethodGet, "", nil)
	if err != nil {
		return about, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(io.LimitReader(response.Body, maxConfigBytes)).Decode(&about)
	if err != nil {
		return about, fmt.Errorf("%s does not answer as pibootd does: %w", r.base, err)
	}
	return about, nil
}

// free returns the lesser of the free bytes of the share and of this machine.
func (r *remote) free(ctx context.Context) (int64, error) {
	about, err := r.describe(ctx)
	if err != nil {
		return 0, err
	}
	own, err := freeBytes(r.work)
	return min(about.FreeBytes, own), err
}

// open opens a file of the share. Reading resumes where it was when a connection is
// lost.
func (r *remote) open(ctx context.Context, name string) (io.ReadCloser, error) {
	response, err := r.get(ctx, name, "")
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// deliver sends files, and then removes the attempt's directory.
func (r *remote) deliver(ctx context.Context, attempt, dir string, files []string, p *pulse) error {
	for _, file := range files {
		if err := r.put(ctx, path.Join(attempt, file), filepath.Join(dir, filepath.FromSlash(file)), p); err != nil {
			return fmt.Errorf("sending %s: %w", file, err)
		}
	}
	return os.RemoveAll(dir)
}

// put sends a file until the daemon has it.
func (r *remote) put(ctx context.Context, name, file string, p *pulse) error {
	return r.repeat(ctx, func() error {
		f, err := os.Open(file)
		if err != nil {
			return final{err}
		}
		defer f.Close()
		response, err := r.once(ctx, http.MethodPut, name, func(request *http.Request) error {
			info, err := f.Stat()
			if err != nil {
				return final{err}
			}
			request.Header.Set("Expect", "100-continue")
			request.Body, request.ContentLength = io.NopCloser(&moving{r: f, pulse: p}), info.Size()
			return nil
		})
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
}

// get asks for a file, or a range of it as in RFC 9110 §14.2, until the daemon
// answers. The body of the answer outlives connections.
func (r *remote) get(ctx context.Context, name, byteRange string) (*http.Response, error) {
	var response *http.Response
	err := r.repeat(ctx, func() error {
		var err error
		response, err = r.getOnce(ctx, name, byteRange)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r.resumable(ctx, name, response)
}

// getOnce asks once for a file, or a range of it; "" is all.
func (r *remote) getOnce(ctx context.Context, name, byteRange string) (*http.Response, error) {
	return r.once(ctx, http.MethodGet, name, func(request *http.Request) error {
		if byteRange != "" {
			request.Header.Set("Range", byteRange)
		}
		return nil
	})
}

// A final error is one that asking again does not mend.
type final struct{ error }

func (e final) Unwrap() error { return e.error }

// repeat does something until that succeeds, fails for good, or ctx ends.
func (r *remote) repeat(ctx context.Context, do func() error) error {
	for wait := r.retry; ; wait = longer(wait) {
		err := do()
		if err == nil || errors.As(err, new(final)) {
			return err
		}
		r.log.Debug("daemon does not answer", "addr", r.base.Host, "err", err)
		if !pause.For(ctx, wait) {
			return err
		}
	}
}

// once asks for a file of the share, "" for the share itself. prepare changes
// the request; it may be nil.
func (r *remote) once(ctx context.Context, method, name string, prepare func(*http.Request) error) (*http.Response, error) {
	target := *r.base
	target.Path = path.Join("/", r.base.Path, transcode.PathShare, name)
	request, err := http.NewRequestWithContext(ctx, method, target.String(), nil)
	if err == nil && prepare != nil {
		err = prepare(request)
	}
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(r.name, r.token)
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking pibootd: %w", err)
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close()
	return nil, r.refusal(response)
}

// refusal is an answer that is not a success. Where the daemon itself has
// trouble, or does not know this worker yet, it is asked again.
func (r *remote) refusal(response *http.Response) error {
	var problem struct {
		Error string `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxConfigBytes)) // it is only said
	if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
		problem.Error = strings.ToValidUTF8(string(text[:min(len(text), 200)]), "")
	}
	err := fmt.Errorf("pibootd at %s: %s: %s", r.base.Host, response.Status, problem.Error)
	switch response.StatusCode {
	case http.StatusUnauthorized, http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return err
	}
	return final{err}
}
