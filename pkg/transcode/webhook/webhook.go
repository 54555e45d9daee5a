// Package webhook reports ended jobs to another server over HTTP. The transaction that
// ends a job stores the delivery, which stays until the server has answered with a 2xx
// or a day of retries has failed. So each job is reported at least once, through
// crashes of either side.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"

	"pibootd/pkg/store"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"

	"golang.org/x/sync/errgroup"
)

// Additional headers of a delivery.
const (
	// SignatureHeader is "sha256=" and the hex HMAC-SHA256 of the body under the
	// secret; it is missing where there is no secret.
	SignatureHeader = "X-Pibootd-Signature"
	// DeliveryHeader is the number of the delivery, the same when it is repeated.
	DeliveryHeader = "X-Pibootd-Delivery"
)

const (
	pollEvery      = time.Second
	defaultTimeout = 10 * time.Second
	defaultBackoff = time.Second
	maxBackoff     = time.Hour
	maxTries       = 36      // about a day
	maxWaiting     = 10_000  // deliveries; the oldest go
	atOnce         = 4       // deliveries under way
	maxAnswer      = 8 << 10 // bytes read of an answer, so that its connection can be reused
)

// A Sender sends deliveries. Set its fields before Run.
type Sender struct {
	Store  *store.Store
	URL    string // "" sends nothing and deletes stored deliveries
	Secret []byte // nil: deliveries are not signed
	Log    *slog.Logger

	Timeout time.Duration // of one try; 0 means 10 s
	Backoff time.Duration // before the second try, doubled each time up to 1 h; 0 means 1 s
}

// A Delivery is the JSON body that is posted.
type Delivery struct {
	ID     int64       `json:"delivery"`
	Job    int64       `json:"job"`
	State  queue.State `json:"state"` // done, failed or cancelled
	Source string      `json:"source"`
	Name   string      `json:"name"`
	Output string      `json:"output,omitempty"` // what a player opens: its path in the media share; of a job that is done
	Reason string      `json:"reason,omitempty"` // why it failed
	Ended  time.Time   `json:"ended"`
}

// A waiting is a delivery that was not answered yet.
type waiting struct {
	Delivery
	tries int // so far
}

// Run sends deliveries until ctx ends, waits for those in progress and returns nil.
func (s *Sender) Run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := s.deliverDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.Log.Error("webhooks are stuck, trying again", "component", "webhook", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// deliverDue tries everything that is due once.
func (s *Sender) deliverDue(ctx context.Context, now time.Time) error {
	if err := s.forget(ctx); err != nil || s.URL == "" {
		return err
	}
	due, err := s.due(ctx, now)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, w := range due {
		g.Go(func() error { return s.try(ctx, w) })
	}
	return g.Wait()
}

// try sends a delivery once and records the outcome.
func (s *Sender) try(ctx context.Context, w waiting) error {
	err := s.post(ctx, w.Delivery)
	if ctx.Err() != nil {
		return nil // perhaps delivered; it is sent again
	}
	w.tries++
	switch {
	case err == nil:
		return s.drop(ctx, w.ID)
	case w.tries >= maxTries:
		s.Log.Error("webhook given up", "component", "webhook", "job", w.Job, "attempt", w.tries, "err", err)
		return s.drop(ctx, w.ID)
	}
	s.Log.Warn("webhook not delivered, trying again", "component", "webhook", "job", w.Job, "attempt", w.tries, "err", err)
	return s.postpone(ctx, w, time.Now().Add(s.backoff(w.tries)))
}

// backoff returns how long to wait after so many tries.
func (s *Sender) backoff(tries int) time.Duration {
	wait := cmp.Or(s.Backoff, defaultBackoff)
	for range tries - 1 {
		wait = min(2*wait, maxBackoff)
	}
	return wait
}

// post sends one delivery. A redirection counts as a failure, because the delivery is
// signed for the configured server.
func (s *Sender) post(ctx context.Context, d Delivery) error {
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Timeout, defaultTimeout))
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "pibootd")
	r.Header.Set(DeliveryHeader, strconv.FormatInt(d.ID, 10))
	if s.Secret != nil {
		r.Header.Set(SignatureHeader, Sign(s.Secret, body))
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return withoutURL(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return fmt.Errorf("it was answered %d; want 2xx", answer.StatusCode)
	}
	// It is accepted, even if reading the rest fails.
	_, _ = io.CopyN(io.Discard, answer.Body, maxAnswer)
	return nil
}

// withoutURL returns err without the URL, which may have a password in it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Sign returns what SignatureHeader says of a body.
func Sign(secret, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// outputOf returns the path that a player opens, of a job that is done.
func outputOf(r transcode.Request, output, entry string) string {
	switch {
	case output == "":
		return ""
	case entry != "":
		return path.Join(output, entry)
	}
	return r.Entry(output)
}
