package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/internal/pause"
)

// Attempts to continue an upload after the connection or the daemon was lost. Only
// those without progress count.
const (
	maxIdleAttempts = 60
	attemptEvery    = time.Second
)

// An Image is a file that a template is to be imported from.
type Image struct {
	Name      string // what the operation calls it
	File      io.ReaderAt
	SizeBytes int64
	Sent      func(bytes int64) // is called as bytes are sent; never nil
}

// UploadImage uploads what a template is imported from, and returns the upload's id
// for NewTemplate. It continues where it was when the connection or the daemon is
// lost; an upload that fails is removed.
func (c *Client) UploadImage(ctx context.Context, i Image) (id string, err error) {
	id, err = c.createImage(ctx, i)
	if err != nil {
		return "", err
	}
	if err := c.sendImage(ctx, id, i); err != nil {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartTime)
		defer cancel()
		_ = c.RemoveUpload(leave, id) // or else it expires
		return "", err
	}
	return id, nil
}

// createImage reserves the space of an upload.
func (c *Client) createImage(ctx context.Context, i Image) (id string, err error) {
	r, err := c.tusRequest(ctx, http.MethodPost, "", nil)
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString
	r.Header.Set("Upload-Length", strconv.FormatInt(i.SizeBytes, 10))
	r.Header.Set("Upload-Metadata", fmt.Sprintf("filename %s,purpose %s", text([]byte(i.Name)), text([]byte(forTemplate))))
	response, err := c.send(r)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(response.Header.Get("Location"), tusPath), response.Body.Close()
}

// sendImage sends what has not arrived of an upload, until all of it has.
func (c *Client) sendImage(ctx context.Context, id string, i Image) error {
	arrived := int64(-1)
	for idle := 0; ; idle++ {
		offset, err := c.uploadOffset(ctx, id)
		switch {
		case err == nil && offset == i.SizeBytes:
			return nil
		case err == nil:
			if offset > arrived {
				arrived, idle = offset, 0
			}
			err = c.sendRest(ctx, id, i, offset)
		}
		if err == nil {
			continue // the offset tells whether all has arrived
		}
		if !isPassing(err) || idle == maxIdleAttempts {
			return err
		}
		if !pause.For(ctx, attemptEvery) {
			return ctx.Err()
		}
	}
}

// isPassing reports whether a request may succeed later. A conflict is about the
// offset: more has arrived than was known.
func isPassing(err error) bool {
	var refused Refusal
	if errors.As(err, &refused) {
		return refused.Status >= 500 || refused.Status == http.StatusConflict || refused.Status == http.StatusTooManyRequests
	}
	return errors.Is(err, ErrNotRunning) && !errors.As(err, new(UnknownCertificateError))
}

// sendRest sends an upload's bytes from offset on.
func (c *Client) sendRest(ctx context.Context, id string, i Image, offset int64) error {
	rest := &countedReader{r: io.NewSectionReader(i.File, offset, i.SizeBytes-offset), at: offset, sent: i.Sent}
	r, err := c.tusRequest(ctx, http.MethodPatch, id, rest)
	if err != nil {
		return err
	}
	r.ContentLength = i.SizeBytes - offset
	r.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	r.Header.Set("Content-Type", tusType)
	return c.sendTus(r)
}

// A countedReader reports how far it was read.
type countedReader struct {
	r    io.Reader
	at   int64
	sent func(bytes int64)
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.at += int64(n)
	c.sent(c.at)
	return n, err
}

// uploadOffset returns how many bytes of an upload have arrived.
func (c *Client) uploadOffset(ctx context.Context, id string) (int64, error) {
	all, err := c.Uploads(ctx)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(all, func(p Pending) bool { return p.ID == id })
	if at < 0 {
		return 0, errors.New("the upload was removed meanwhile")
	}
	return all[at].Offset, nil
}

// Uploads returns the uploads that are not complete, and images that were not imported.
func (c *Client) Uploads(ctx context.Context) ([]Pending, error) {
	return get[[]Pending](ctx, c, strings.TrimSuffix(tusPath, "/"))
}

// RemoveUpload ends an upload, and removes what has arrived of it.
func (c *Client) RemoveUpload(ctx context.Context, id string) error {
	r, err := c.tusRequest(ctx, http.MethodDelete, id, nil)
	if err != nil {
		return err
	}
	return c.sendTus(r)
}

// tusRequest returns a request about an upload; "" is a new one.
func (c *Client) tusRequest(ctx context.Context, method, id string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base+tusPath+url.PathEscape(id), "/"), body)
	if err != nil {
		return nil, fmt.Errorf("writing a request: %w", err)
	}
	r.Header.Set("Tus-Resumable", tusVersion)
	return r, nil
}

// sendTus sends a request whose answer has no content.
func (c *Client) sendTus(r *http.Request) error {
	response, err := c.send(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
