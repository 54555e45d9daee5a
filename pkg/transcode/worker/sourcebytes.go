package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
)

// A sourceBytes reads parts of a source, as ffmpeg does.
type sourceBytes struct {
	source string // a path, or a URL of the media store
	size   int64
	proxy  string // of URLs
}

// bytesOf returns how to read a source of this size.
func (w *Worker) bytesOf(source string, size int64) sourceBytes {
	b := sourceBytes{source: source, size: size}
	if w.remote != nil {
		b.proxy = w.remote.reader.addr
	}
	return b
}

// readAt fills as much of p as the source has from a byte on.
func (b sourceBytes) readAt(ctx context.Context, p []byte, at int64) (n int, err error) {
	p = p[:max(min(int64(len(p)), b.size-at), 0)]
	if len(p) == 0 {
		return 0, nil
	}
	if isURL(b.source) {
		n, err = b.request(ctx, p, at)
	} else {
		n, err = b.read(p, at)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("reading the source at byte %d: %w", at, err)
	}
	return n, nil
}

func (b sourceBytes) read(p []byte, at int64) (int, error) {
	f, err := os.Open(b.source)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.ReadAt(p, at)
}

func (b sourceBytes) request(ctx context.Context, p []byte, at int64) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.source, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+int64(len(p))-1))
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: b.proxy}), DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusPartialContent {
		return 0, fmt.Errorf("the answer is %s; want a part", response.Status)
	}
	return io.ReadFull(response.Body, p)
}
