// Package web is pibootd's HTTP interface: a JSON API for the command line and for
// scripts, a page for people, and the media share for players.
//
// There are two listeners. The control socket, which only its owner can open,
// accepts every request. The TCP port accepts requests that change nothing: it is
// open to the network, whose users can look and play, but no more. The
// configuration can enable further services on it, each for the clients that it
// names.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"pibootd/pkg/transcode"
)

// A Server answers HTTP requests. Set its fields before Serve.
type Server struct {
	Registry  Registry
	Fleet     Fleet
	Roots     Roots
	Queue     Queue
	Timeline  Timeline
	BoardLog  BoardLog
	Doctor    Doctor
	Diagnoses Diagnoses
	Metrics   []prometheus.Collector // see NFSMetrics, DHCPMetrics and TFTPMetrics
	Muxers    http.Handler           // answers legacy muxers on the TCP port; nil: disabled
	Share     http.Handler           // serves workers that do not mount the media share, see ShareProxy; nil: disabled
	Names     []string               // other names by which this machine is reached; see guardHost
	// UploadToken permits uploads on the TCP port, which are then transcoded; nil
	// disables them there.
	UploadToken []byte
	MaxUpload   int64 // bytes of one upload
	Info        Info
	Log         *slog.Logger

	unpacking sync.Mutex // held while a worker's program is unpacked
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

// Serve answers requests on the public listener and on the control socket until ctx
// ends. It closes both listeners.
func (s *Server) Serve(ctx context.Context, public, control net.Listener) error {
	s.sweepUploads()
	requests, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, func() { stop(errStopping) })()
	defer stop(errStopping)
	servers := []*http.Server{s.newServer(requests, s.publicHandler()), s.newServer(requests, s.controlHandler())}
	servers[0].ConnState = newConns(maxConns, maxOwnConns).note
	failed := make(chan error, len(servers))
	for i, listener := range []net.Listener{public, control} {
		go func() { failed <- servers[i].Serve(listener) }()
	}
	var err error
	waiting := len(servers)
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
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	return nil
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

// publicHandler serves the TCP port. Players reach the media share by any host
// name.
func (s *Server) publicHandler() http.Handler {
	media := http.NewServeMux()
	media.Handle("GET /media/", http.StripPrefix("/media/", mediaHandler(s.Info.MediaDir)))
	doors := http.NewServeMux()
	doors.Handle("/media/", media)
	doors.Handle("/", s.guardHost(s.guardedHandler()))
	return doors
}

func (s *Server) guardedHandler() http.Handler {
	mux := http.NewServeMux()
	s.handleReads(mux, newSlots("streams of events", maxFollowers, maxOwnFollow))
	handlePage(mux)
	if s.UploadToken != nil {
		mux.Handle("PUT /api/v1/media/{name...}", s.withToken(s.uploadHandler()))
		mux.Handle("POST /api/v1/jobs", s.withToken(http.HandlerFunc(s.submitJob)))
	} else {
		mux.HandleFunc("PUT /api/v1/media/{name...}", s.refuseUpload)
		mux.HandleFunc("POST /api/v1/jobs", s.refuseUpload)
	}
	mux.HandleFunc("GET "+ProgramPath+"{arch}", s.program)
	if s.Share != nil {
		mux.Handle(transcode.PathShare, s.Share)
		mux.Handle(transcode.PathShare+"/", s.Share)
	}
	if s.Muxers != nil {
		mux.Handle("/muxer/", s.Muxers)
		mux.Handle("/tidy/", s.Muxers)
	}
	return inWords(mux, s.Log)
}

// controlHandler serves the control socket, which accepts every request.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	followers := newSlots("streams of events", maxFollowers, maxFollowers)
	s.handleReads(mux, followers)
	mux.HandleFunc("GET /api/v1/logs", func(w http.ResponseWriter, r *http.Request) { s.logs(w, r, followers) })
	mux.HandleFunc("GET /api/v1/doctor", s.examine) // changes nothing, but probes the network and mounts exports
	mux.HandleFunc("POST /api/v1/pis", s.addPi)
	mux.HandleFunc("PATCH /api/v1/pis/{ref}", s.editPi)
	mux.HandleFunc("DELETE /api/v1/pis/{ref}", s.removePi)
	mux.HandleFunc("POST /api/v1/pis/{ref}/root", s.changeRoot)
	mux.HandleFunc("GET /api/v1/pis/{ref}/drift", s.drift)
	mux.HandleFunc("GET /api/v1/pis/{ref}/kept", s.listKept)
	mux.HandleFunc("DELETE /api/v1/pis/{ref}/kept/{name}", s.removeKept)
	mux.Handle("PUT /api/v1/media/{name...}", s.uploadHandler())
	mux.HandleFunc("POST /api/v1/jobs", s.submitJob)
	mux.HandleFunc("DELETE /api/v1/jobs/{id}", s.cancelJob)
	mux.HandleFunc("PATCH /api/v1/jobs/{id}", s.changeJob)
	mux.HandleFunc("POST /api/v1/jobs/{id}/retry", s.retryJob)
	mux.HandleFunc("PUT /api/v1/pis/{ref}/drain", s.drainPi)
	mux.HandleFunc("DELETE /api/v1/pis/{ref}/drain", s.drainPi)
	mux.HandleFunc("POST /api/v1/workers", s.addMachine)
	mux.HandleFunc("PATCH /api/v1/workers/{ref}", s.editMachine)
	mux.HandleFunc("DELETE /api/v1/workers/{ref}", s.removeMachine)
	return inWords(mux, s.Log)
}

// handleReads serves the requests that change nothing. followers limits the number
// of clients that follow a stream.
func (s *Server) handleReads(mux *http.ServeMux, followers *slots) {
	mux.Handle("GET /metrics", s.metricsHandler())
	mux.HandleFunc("GET /api/v1/info", s.info)
	mux.HandleFunc("GET /api/v1/pis", s.listPis)
	mux.HandleFunc("GET /api/v1/pis/{ref}", s.showPi)
	mux.HandleFunc("GET /api/v1/discovered", s.listDiscovered)
	mux.HandleFunc("GET /api/v1/workers", s.listMachines)
	mux.HandleFunc("GET /api/v1/workers/{ref}", s.showMachine)
	mux.HandleFunc("GET /api/v1/events", func(w http.ResponseWriter, r *http.Request) { s.events(w, r, followers) })
	mux.HandleFunc("GET /api/v1/jobs", s.listJobs)
	mux.HandleFunc("GET /api/v1/jobs/{id}", s.showJob)
	mux.HandleFunc("GET /api/v1/jobs/{id}/watch", func(w http.ResponseWriter, r *http.Request) { s.watchJob(w, r, followers) })
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
