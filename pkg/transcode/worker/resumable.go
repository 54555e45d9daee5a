package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// A resumableBody resumes reading where it was when a connection is lost, until its
// context ends.
type resumableBody struct {
	r       *remote
	ctx     context.Context
	name    string
	version string // Last-Modified of the file
	at, end int64  // the range of the file that is still to be read
	body    io.ReadCloser
}

// resumable replaces the body of a response by a resumableBody.
func (r *remote) resumable(ctx context.Context, name string, response *http.Response) (*http.Response, error) {
	first, size, err := rangeOf(response)
	if err != nil {
		response.Body.Close()
		return nil, err
	}
	response.Body = &resumableBody{
		r: r, ctx: ctx, name: name, version: response.Header.Get("Last-Modified"),
		at: first, end: first + size, body: response.Body,
	}
	return response, nil
}

// rangeOf returns the offset in the file at which the body of a response starts, and
// the body's size.
func rangeOf(response *http.Response) (first, size int64, err error) {
	if response.ContentLength < 0 {
		return 0, 0, final{errors.New("pibootd does not say how much is to come")}
	}
	if response.StatusCode != http.StatusPartialContent {
		return 0, response.ContentLength, nil
	}
	text := response.Header.Get("Content-Range")
	if _, err := fmt.Sscanf(text, "bytes %d-", &first); err != nil || first < 0 {
		return 0, 0, final{fmt.Errorf("pibootd sends the range %.100q; want bytes", text)}
	}
	return first, response.ContentLength, nil
}

func (b *resumableBody) Read(p []byte) (int, error) {
	if b.at >= b.end {
		return 0, io.EOF
	}
	for {
		n, err := b.body.Read(p)
		b.at += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		b.r.log.Debug("connection lost", "file", b.name, "err", err)
		if err := b.again(); err != nil {
			return 0, err
		}
	}
}

// again requests the rest of the file.
func (b *resumableBody) again() error {
	b.body.Close()
	return b.r.repeat(b.ctx, func() error {
		response, err := b.r.getOnce(b.ctx, b.name, fmt.Sprintf("bytes=%d-%d", b.at, b.end-1))
		if err != nil {
			return err
		}
		b.body = response.Body
		first, size, err := rangeOf(response)
		if err == nil && (first != b.at || first+size != b.end || response.Header.Get("Last-Modified") != b.version) {
			err = final{errors.New("the file has changed while it was read")}
		}
		return err
	})
}

func (b *resumableBody) Close() error { return b.body.Close() }
