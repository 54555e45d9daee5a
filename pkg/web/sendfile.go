package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// A LocalFile is a file of this machine that is to be uploaded.
type LocalFile struct {
	Name        string // path in the media share; what the operation calls it, if it is for a template
	ForTemplate bool
	File        io.ReaderAt
	SizeBytes   int64
	Sent        func(bytes int64) // is called as bytes are sent; never nil
}

// UploadFile uploads a file, and returns the upload's id, which NewTemplate needs. It
// continues where it was when the connection or the daemon is lost; an upload that
// fails is removed.
func (c *Client) UploadFile(ctx context.Context, f LocalFile) (id string, err error) {
	id, err = c.createUpload(ctx, f)
	if err != nil {
		return "", err
	}
	if err := c.sendFile(ctx, id, f); err != nil {
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), restartTime)
		defer cancel()
		_ = c.RemoveUpload(leave, id) // or else it expires
		return "", err
	}
	return id, nil
}

// createUpload reserves the space of an upload.
func (c *Client) createUpload(ctx context.Context, f LocalFile) (id string, err error) {
	r, err := c.tusRequest(ctx, http.MethodPost, "", nil)
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString
	meta := "filename " + text([]byte(f.Name))
	if f.ForTemplate {
		meta += ",purpose " + text([]byte(forTemplate))
	}
	r.Header.Set("Upload-Length", strconv.FormatInt(f.SizeBytes, 10))
	r.Header.Set("Upload-Metadata", meta)
	response, err := c.send(r)
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(response.Header.Get("Location"), tusPath), response.Body.Close()
}

// sendFile sends what has not arrived of an upload, until all of it has.
func (c *Client) sendFile(ctx context.Context, id string, f LocalFile) error {
	arrived := int64(-1)
	for idle := 0; ; idle++ {
		offset, err := c.uploadOffset(ctx, id)
		switch {
		case err == nil && offset == f.SizeBytes:
			return nil
		case err == nil:
			if offset > arrived {
				arrived, idle = offset, 0
			}
			err = c.sendRest(ctx, id, f, offset)
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

// isPassing reports whether a request may succeed later. More may have arrived than was
// known.
func isPassing(err error) bool {
	var refused Refusal
	if errors.As(err, &refused) {
		return refused.Status >= 500 || refused.Problem.Field == "Upload-Offset" || refused.Status == http.StatusTooManyRequests
	}
	return errors.Is(err, ErrNotRunning) && !errors.As(err, new(UnknownCertificateError))
}

// sendRest sends an upload's bytes from offset on.
func (c *Client) sendRest(ctx context.Context, id string, f LocalFile, offset int64) error {
	rest := &countedReader{r: io.NewSectionReader(f.File, offset, f.SizeBytes-offset), at: offset, sent: f.Sent}
	r, err := c.tusRequest(ctx, http.MethodPatch, id, rest)
	if err != nil {
		return err
	}
	r.ContentLength = f.SizeBytes - offset
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

// uploadOffset returns how many bytes of an upload have arrived. If all have, the upload
// also gets its name, unless it has it.
func (c *Client) uploadOffset(ctx context.Context, id string) (int64, error) {
	r, err := c.tusRequest(ctx, http.MethodHead, id, nil)
	if err != nil {
		return 0, err
	}
	response, err := c.send(r)
	if refused, ok := errors.AsType[Refusal](err); ok && refused.Status == http.StatusNotFound {
		return 0, errors.New("the upload was removed meanwhile")
	}
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return strconv.ParseInt(response.Header.Get("Upload-Offset"), 10, 64)
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
