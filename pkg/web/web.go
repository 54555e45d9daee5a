// Package web is pibootd's HTTP interface: a JSON API for the command line and for
// scripts, a page for people, and the media share for players.
//
// The control socket, which only its owner can open, accepts every request without
// a login. The TCP ports, one of them with TLS, accept a request if its user has the
// scope that its route needs. The configuration says what needs no login, and can
// enable further services, each for the clients that it names.
package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pibootd/pkg/access"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/registry"
)

// A Server answers HTTP requests. Set its fields before Serve.
type Server struct {
	Registry    Registry
	Fleet       Fleet
	Roots       Roots
	Queue       Queue
	Timeline    Timeline
	BoardLog    BoardLog
	Packets     *boardlog.Packets                // for reports; nil: none
	Config      any                              // for reports, as JSON
	Secrets     func(board registry.Pi) []string // that reports must not have; nil: none
	Doctor      Doctor
	Diagnoses   Diagnoses
	Templates   Templates
	Operations  Operations
	Trash       Trash
	TrashKeep   time.Duration          // how long deleted videos stay there; 0: until somebody removes them
	MinFree     int64                  // bytes that making a template leaves free, as rootfs.Templates takes it
	Metrics     []prometheus.Collector // see NFSMetrics, DHCPMetrics and TFTPMetrics
	Muxers      http.Handler           // answers legacy muxers on the TCP port; nil: disabled
	Share       http.Handler           // serves workers that do not mount the media share, see ShareProxy; nil: disabled
	Names       []string               // other names by which this machine is reached; see guardHost
	Access      *access.Keeper
	Public      Public
	UploadToken []byte // has the scope submit; nil: there is none
	MaxUpload   int64  // bytes of one upload
	Info        Info
	Log         *slog.Logger

	uploads   resumables // for the media share
	images    resumables // that templates are imported from, in the state directory
	changing  sync.Mutex // see ifUnchanged
	unpacking sync.Mutex // held while a worker's program is unpacked
	live      *live
	published publisher
	viewers   viewers                  // of live streams
	examined  atomic.Pointer[Examined] // nil: the doctor has not looked since the start
	// For tests; 0: the constants of these names.
	loginEvery, examineEvery, liveEvery, seekWait time.Duration
	liveJobs                                      int
}

// Public says what the TCP ports do without a login.
type Public struct {
	Media, Read      bool // published videos; all that the scope read shows
	Metrics, Program bool
	InsecureLogin    bool // passwords and admin tokens are accepted from everywhere over plain HTTP
}

// Listeners are what a Server serves.
type Listeners struct {
	Public  net.Listener // plain HTTP
	TLS     net.Listener // TCP connections that speak TLS; nil: none
	Config  *tls.Config  // of TLS
	Control net.Listener // the control socket
}

// Info is what a client needs to know about the running daemon.
type Info struct {
	Version   string `json:"version"`
	PID       int    `json:"pid"`
	Interface string `json:"interface"`
	Network   string `json:"network"` // this machine's address and mask, e.g. 10.0.0.1/24
	StateDir  string `json:"state_dir"`
	MediaDir  string `json:"media_dir"`
	HTTPPort  int    `json:"http_port"`
	TLSPort   int    `json:"tls_port,omitempty"` // 0: none
	// Fingerprint is the SHA-256 of the TLS certificate, in hex; "": no TLS.
	Fingerprint string `json:"fingerprint,omitempty"`
	RTMPPort    int    `json:"rtmp_port,omitempty"` // for encoders that send live streams; 0: none
}

// Limits on the cost of a client.
const (
	maxBody       = 1 << 20
	headerTimeout = 10 * time.Second
	bodyTimeout   = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	sendTimeout   = time.Minute // for an answer, or a line of one, but not for files
	closeTimeout  = 3 * time.Second
)

// Serve answers requests on the listeners until ctx ends. It closes them.
func (s *Server) Serve(ctx context.Context, l Listeners) error {
	s.uploads = resumables{dir: s.Info.MediaDir, max: s.MaxUpload}
	s.images = resumables{dir: filepath.Join(s.Info.StateDir, "uploads"), max: s.MaxUpload, purpose: forTemplate}
	s.sweepUploads()
	s.live, s.published.dir = newLive(), s.Info.MediaDir
	ctx, end := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { s.sweepExpired(ctx) })
	background.Go(func() { s.runLive(ctx) })
	background.Go(func() { s.keepExamined(ctx) })
	defer background.Wait()
	defer end()
	requests, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { stop(errStopping) })()
	defer stop(errStopping)
	handler, limit := s.publicHandler(), newConns(maxConns, maxOwnConns).note
	public, secure, control := s.newServer(requests, handler), s.newServer(requests, handler), s.newServer(requests, s.controlHandler())
	// One http.Server on both ports would offer HTTP/2 and speak it only if ServeTLS came first.
	public.ConnState, secure.ConnState, secure.TLSConfig = limit, limit, l.Config
	serve := []func() error{
		func() error { return public.Serve(l.Public) },
		func() error { return control.Serve(l.Control) },
	}
	if l.TLS != nil {
		serve = append(serve, func() error { return secure.ServeTLS(l.TLS, "", "") })
	}
	if err := serveAll(ctx, serve, public, secure, control); err != nil {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// serveAll runs functions that serve until ctx ends or one of them fails, and then
// shuts the servers down.
func serveAll(ctx context.Context, serve []func() error, servers ...*http.Server) error {
	failed := make(chan error, len(serve))
	for _, f := range serve {
		go func() { failed <- f() }()
	}
	var err error
	waiting := len(serve)
	select {
	case <-ctx.Done():
	case err = <-failed:
		waiting--
	}
	for _, server := range servers {
		err = errors.Join(err, shutdown(server))
	}
	for range waiting {
		if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
	}
	return err
}

func (s *Server) newServer(ctx context.Context, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           withDeadlines(handler),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		// Streams end when the daemon stops, however long their clients would wait.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
}

// errStopping is the cause when requests end because the daemon stops.
var errStopping error = busyError{"pibootd is stopping"}

func shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}

func (s *Server) info(w http.ResponseWriter, _ *http.Request) { s.reply(w, s.Info) }

// reply sends v as JSON.
func (s *Server) reply(w http.ResponseWriter, v any) { reply(w, s.Log, http.StatusOK, v) }

func reply(w http.ResponseWriter, log *slog.Logger, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		log.Debug("reply without a deadline", "component", "web", "err", err)
	}
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Debug("reply not sent", "component", "web", "err", err)
	}
}

// list returns a copy of some that is [] in JSON, and not null, if it is empty.
func list[T any](some []T) []T { return append([]T{}, some...) }
