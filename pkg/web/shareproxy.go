package web

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"pibootd/pkg/share"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/broker"
)

// A ShareProxy serves the media share to workers that do not mount it, as described
// at transcode.PathShare: each worker can access what it has claimed, and no more.
// Set its fields before use.
type ShareProxy struct {
	Queue        Rights
	MediaDir     string
	QueueURL     string // address of the queue
	Authenticate func(worker, token string) bool
	OnRefused    func(broker.Refusal) // is called for each failed login; nil: not reported
	Log          *slog.Logger
}

// Rights decides what a worker can read and write for what it has claimed.
// *queue.Queue implements it.
type Rights interface {
	MayRead(worker, name string) bool
	MayWrite(worker, name string) bool
}

// The number of files that are sent or received at a time, in total and for one
// worker.
const (
	maxTransfers          = 256
	maxTransfersPerWorker = 64
)

// login returns the worker that makes the request.
func (l *ShareProxy) login(r *http.Request) (worker string, ok bool) {
	worker, token, ok := r.BasicAuth()
	if !ok {
		return "", false
	}
	why := broker.CheckLogin(l.Authenticate, worker, token)
	if why != "" && l.OnRefused != nil {
		from, _ := netip.ParseAddrPort(r.RemoteAddr)
		l.OnRefused(broker.Refusal{Worker: worker, From: from.Addr().Unmap(), Reason: why})
	}
	return worker, why == ""
}

// Routes returns the handler for all requests of these workers.
func (l *ShareProxy) Routes() http.Handler {
	slots := newSlots("files", maxTransfers, maxTransfersPerWorker)
	known := func(h func(w http.ResponseWriter, r *http.Request, worker string)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			worker, ok := l.login(r)
			if !ok {
				w.Header().Set("WWW-Authenticate", `Basic realm="workers"`)
				refuse(w, l.Log, statusError{errors.New("this needs the name of a worker and its token; see pibootd add-worker"), http.StatusUnauthorized})
				return
			}
			done, err := slots.take(worker)
			if err != nil {
				refuse(w, l.Log, err)
				return
			}
			defer done()
			h(w, r, worker)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+transcode.PathShare, known(l.describe))
	mux.Handle("GET "+transcode.PathShare+"/{name...}", known(l.send))
	mux.Handle("PUT "+transcode.PathShare+"/{name...}", known(l.accept))
	return inWords(mux, l.Log)
}

func (l *ShareProxy) describe(w http.ResponseWriter, _ *http.Request, _ string) {
	free, err := share.FreeBytes(l.MediaDir)
	if err != nil {
		refuse(w, l.Log, statusError{errors.New("the media share is not there"), http.StatusServiceUnavailable})
		return
	}
	reply(w, l.Log, http.StatusOK, transcode.Share{QueueURL: l.QueueURL, FreeBytes: free})
}

// send sends a file that is needed for a unit of the worker.
func (l *ShareProxy) send(w http.ResponseWriter, r *http.Request, worker string) {
	name := r.PathValue("name")
	if !l.Queue.MayRead(worker, name) {
		refuse(w, l.Log, missing("", fmt.Errorf("%.200q is in no unit that %s has claimed", name, worker)))
		return
	}
	file, info, err := l.open(name)
	if err != nil {
		l.Log.Warn("file not sent", "component", "web", "file", name, "pi", worker, "err", err)
		refuse(w, l.Log, missing("", fmt.Errorf("%.200q is not there, or no file", name)))
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, "", info.ModTime(), file)
}

// open opens a file for send. It allows accepted work, but no other hidden file.
func (l *ShareProxy) open(name string) (*os.File, fs.FileInfo, error) {
	return openMedia(l.MediaDir, name, func(to string) bool {
		return isHidden(strings.TrimPrefix(to, transcode.WorkDir+"/"))
	})
}

// accept receives a file of an attempt of the worker. When it answers, the file is
// complete and on disk, even if it was sent before.
func (l *ShareProxy) accept(w http.ResponseWriter, r *http.Request, worker string) {
	name := r.PathValue("name")
	err := l.receive(w, r, worker, name)
	if err != nil {
		l.Log.Warn("file not received", "component", "web", "file", name, "pi", worker, "err", err)
		refuse(w, l.Log, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (l *ShareProxy) receive(w http.ResponseWriter, r *http.Request, worker, name string) error {
	notClaimed := missing("", fmt.Errorf("%.200q is in no attempt that %s has claimed", name, worker))
	if !l.Queue.MayWrite(worker, name) {
		return notClaimed
	}
	root, err := os.OpenRoot(l.MediaDir)
	if err != nil {
		return errors.New("the media share is not there")
	}
	defer root.Close()
	u := &upload{root: root, dir: l.MediaDir, max: math.MaxInt64 - share.ReceivePiece}
	if err := u.room(max(r.ContentLength, 0)); err != nil {
		return err
	}
	temp := path.Join(uploadDir, rand.Text()+".part")
	defer func() { _ = root.Remove(temp) }() // does not exist after success
	ctx, stop := whileTrue(r.Context(), notClaimed, func() bool { return l.Queue.MayWrite(worker, name) })
	defer stop()
	if err := u.receive(ctx, w, r, temp); err != nil {
		return err
	}
	if !l.Queue.MayWrite(worker, name) { // the claim may have ended meanwhile
		return notClaimed
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return u.place(temp, name)
}

// claimLook is the interval at which a claim is checked while a file is received
// for it.
const claimLook = time.Second

// whileTrue returns a context that ends, with this cause, once holds returns false.
// The caller must call stop, which waits for the checking goroutine.
func whileTrue(parent context.Context, cause error, holds func() bool) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		look := time.NewTicker(claimLook)
		defer look.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-look.C:
				if !holds() {
					cancel(cause)
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-looking
	}
}
