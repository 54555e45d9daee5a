package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// A reader is how ffmpeg reads a source of a remote share: a proxy (RFC 9110
// §7.6) on the loopback interface that knows one URL only, that of the source
// of the attempt that runs. So whatever a video makes ffmpeg ask for, a playlist
// in its place for one, ffmpeg reaches nobody; and it needs no token.
type reader struct {
	remote *remote
	server *http.Server
	addr   string
	served chan error
	now    atomic.Pointer[reading]
}

// A reading is the source of an attempt.
type reading struct {
	ctx  context.Context // of the attempt
	name string
}

// sourceHost is no name of the DNS (RFC 6761 §6.4).
const sourceHost = "source.invalid"

func newReader(r *remote) (*reader, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a way for ffmpeg to read: %w", err)
	}
	p := &reader{remote: r, addr: listener.Addr().String(), served: make(chan error, 1)}
	p.server = &http.Server{Handler: p, ReadHeaderTimeout: dialTimeout}
	go func() { p.served <- p.server.Serve(listener) }()
	return p, nil
}

func (p *reader) close() {
	p.server.Close()
	<-p.served
}

// source makes a file the one that ffmpeg can read, until ctx ends.
func (r *remote) source(ctx context.Context, name string) (string, error) {
	// A byte tells whether it is there and has something in it.
	response, err := r.get(ctx, name, "bytes=0-0")
	if err != nil {
		return "", fmt.Errorf("opening the source: %w", err)
	}
	defer response.Body.Close()
	if _, err := response.Body.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%w: it is empty", errSource)
	} else if err != nil {
		return "", fmt.Errorf("reading the source: %w", err)
	}
	r.reader.now.Store(&reading{ctx, name})
	return "http://" + sourceHost + (&url.URL{Path: "/" + name}).EscapedPath(), nil
}

// env leads ffmpeg through the proxy.
func (r *remote) env() []string {
	return []string{"http_proxy=http://" + r.reader.addr, "no_proxy="}
}

func (p *reader) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	now := p.now.Load()
	if now == nil || request.URL.Hostname() != sourceHost || strings.TrimPrefix(request.URL.Path, "/") != now.name || request.Method != http.MethodGet {
		p.remote.log.Warn("ffmpeg wants what is not its source", "file", request.URL.Redacted())
		http.Error(w, "not the source", http.StatusForbidden)
		return
	}
	ctx, cancel := context.WithCancel(now.ctx)
	defer cancel()
	defer context.AfterFunc(request.Context(), cancel)()
	response, err := p.remote.get(ctx, now.name, request.Header.Get("Range"))
	if err != nil {
		p.remote.log.Warn("source not read", "file", now.name, "err", err)
		http.Error(w, "the source cannot be read", http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	for _, key := range []string{"Content-Length", "Content-Range", "Accept-Ranges", "Content-Type"} {
		if value := response.Header.Get(key); value != "" {
			w.Header().Set(key, value)
		}
	}
	w.WriteHeader(response.StatusCode)
	// Whoever is gone, ffmpeg or its attempt, says why itself.
	_, _ = io.Copy(w, response.Body)
}
