// Package muxer serves the protocol of the legacy muxers that pibootd replaces, so that
// existing ones keep working with pibootd as their back end. They poll for a video,
// make an HLS stream beside it, and report the outcome:
//
//	POST /muxer/{id}                              → {"status":"empty"} or {"status":"job","job":{"id":…,"path":…}}
//	POST /muxer/{inprocess|complete|failed}/{id}/{job}   form field reason
//	POST /tidy/{id}                               → {"status":"empty"}, always
//	POST /tidy/complete/{id}/{job}
//
// {id} is the muxer's. Paths are below transcode.MuxerDir, the only part of the media
// share that muxers see, where they can change nothing but their streams. Therefore
// pibootd moves originals away itself, and answers requests for that work with "empty".
// A status other than 200 is an error for them.
package muxer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
)

// Limits of a muxer's request.
const (
	maxBody     = 64 << 10 // bytes
	bodyTimeout = 10 * time.Second
	maxMuxID    = 1 << 20
)

// A Handler answers muxers. Set its fields before it is used.
type Handler struct {
	Queue    *queue.Queue
	MediaDir string
	Allowed  []netip.Addr // addresses of muxers; all others are refused
	// Revoke ends muxers' access by open files to a file whose owner has changed. If it
	// is nil, owner and mode alone protect the file.
	Revoke func(*os.File) error
	Log    *slog.Logger
}

// Routes returns the handler of all requests of muxers.
func (h *Handler) Routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /muxer/{id}", h.answer(h.next))
	mux.HandleFunc("POST /muxer/inprocess/{id}/{job}", h.answer(h.begin))
	mux.HandleFunc("POST /muxer/complete/{id}/{job}", h.answer(h.complete))
	mux.HandleFunc("POST /muxer/failed/{id}/{job}", h.answer(h.fail))
	mux.HandleFunc("POST /tidy/{id}", h.answer(h.tidy))
	mux.HandleFunc("POST /tidy/complete/{id}/{job}", h.answer(h.tidied))
	// So that a page in a browser on an allowed machine cannot act as a muxer.
	return http.NewCrossOriginProtection().Handler(mux)
}

// A reply is the body of every answer.
type reply struct {
	Status string `json:"status"`
	Job    *file  `json:"job,omitempty"`
	Error  string `json:"error,omitempty"`
}

// A file is a video and the number of its job.
type file struct {
	ID   int64  `json:"id"`
	Path string `json:"path"`
}

// Statuses of a reply.
const (
	statusEmpty = "empty"
	statusJob   = "job"
	statusOK    = "ok"
	statusError = "error"
)

// A call is a muxer's request.
type call struct {
	queue.LegacyMuxer
	job    int64 // 0 if the request names none
	reason string
}

// errBad reports a malformed request.
var errBad = errors.New("bad call")

// answer parses a request and sends the reply of f.
func (h *Handler) answer(f func(context.Context, call) (reply, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, err := h.admit(r)
		if err != nil {
			h.send(w, http.StatusForbidden, reply{Status: statusError, Error: err.Error()})
			return
		}
		c, err := readCall(w, r, host)
		var answer reply
		if err == nil {
			answer, err = f(r.Context(), c)
		}
		if err != nil {
			h.Log.Warn("muxer refused", "component", "muxer", "addr", host, "file", r.URL.Path, "err", err)
			h.send(w, statusOf(err), reply{Status: statusError, Error: err.Error()})
			return
		}
		h.send(w, http.StatusOK, answer)
	}
}

// admit returns the address of a request, if it is allowed.
func (h *Handler) admit(r *http.Request) (netip.Addr, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := from.Addr().Unmap()
	if err != nil || !slices.Contains(h.Allowed, addr) {
		return netip.Addr{}, fmt.Errorf("%s is not in http.muxers", addr)
	}
	return addr, nil
}

func (h *Handler) send(w http.ResponseWriter, status int, answer reply) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		h.Log.Debug("reply not sent", "component", "muxer", "err", err)
	}
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errBad):
		return http.StatusBadRequest
	case errors.Is(err, queue.ErrNotClaimed):
		return http.StatusConflict
	case errors.Is(err, errBadStream):
		return http.StatusUnprocessableEntity
	}
	return http.StatusInternalServerError
}

// readCall parses the muxer and the job of a request.
func readCall(w http.ResponseWriter, r *http.Request, host netip.Addr) (call, error) {
	id, err := number(r, "id", maxMuxID)
	if err != nil {
		return call{}, err
	}
	c := call{LegacyMuxer: queue.LegacyMuxer{MuxID: int(id), Host: host.String()}}
	if r.PathValue("job") != "" {
		if c.job, err = number(r, "job", 1<<62); err != nil {
			return call{}, err
		}
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return call{}, fmt.Errorf("reading the form: %w", err)
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return call{}, fmt.Errorf("%w: reading the form: %w", errBad, err)
	}
	c.reason = strings.ToValidUTF8(r.PostForm.Get("reason"), "")
	return c, nil
}

// number returns a number from 1 in the path.
func number(r *http.Request, name string, most int64) (int64, error) {
	text := r.PathValue(name)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%w: %s %.40q; want a number, 1 to %d", errBad, name, text, most)
	}
	return n, nil
}

// next gives a muxer its next video.
func (h *Handler) next(ctx context.Context, c call) (reply, error) {
	fits := func(r transcode.Request) bool { return fits(r, c.MuxID) }
	job, err := h.Queue.ClaimLegacy(ctx, c.LegacyMuxer, fits)
	if err != nil {
		return reply{}, err
	}
	if job == nil {
		return reply{Status: statusEmpty}, nil
	}
	return reply{Status: statusJob, Job: &file{job.ID, strings.TrimPrefix(job.Source, transcode.MuxerDir+"/")}}, nil
}

// fits reports whether a muxer can make what was requested. It sees one directory,
// makes no stream of a file within a stream, and makes H.264 in MPEG-TS by its own
// rule, the preset author. A job that is pinned to it fits whatever its ladder.
func fits(r transcode.Request, muxID int) bool {
	o := r.Output
	return strings.HasPrefix(r.Source, transcode.MuxerDir+"/") && !strings.Contains(r.Source, queue.LegacyDir("")+"/") &&
		(o.Ladder == transcode.PresetAuthor || r.MuxID == muxID) &&
		(o.Format == "" || o.Format == transcode.FormatHLS) &&
		(o.Container == "" || o.Container == transcode.ContainerTS) &&
		(o.Codec == "" || o.Codec == transcode.CodecH264) &&
		o.Encoder == "" && len(o.Rungs) == 0 && o.AudioBPS == 0 && o.Audio == "" && !o.Encrypted &&
		len(o.Options) == 0 && len(o.InputOptions) == 0 && o.BurnSubtitles == "" && len(o.OmitSubtitles) == 0 && !o.Constant && o.CRF == 0 && !o.TwoPass && o.Naming == (transcode.Naming{})
}

func (h *Handler) begin(_ context.Context, c call) (reply, error) {
	if err := h.Queue.BeginLegacy(c.LegacyMuxer, c.job); err != nil {
		return reply{}, err
	}
	return reply{Status: statusOK}, nil
}

// complete checks the stream that a muxer has made and ends its job. If the stream
// cannot be played, the job is released.
func (h *Handler) complete(ctx context.Context, c call) (reply, error) {
	source, err := h.Queue.LegacySource(ctx, c.LegacyMuxer, c.job)
	if errors.Is(err, queue.ErrNotClaimed) {
		if done, askErr := h.Queue.LegacyDone(ctx, c.LegacyMuxer, c.job); askErr != nil || done {
			return reply{Status: statusOK}, askErr
		}
	}
	if err != nil {
		return reply{}, err
	}
	if err := h.accept(ctx, c, source); errors.Is(err, errBadStream) {
		return reply{}, errors.Join(err, h.Queue.FailLegacy(ctx, c.LegacyMuxer, c.job, err.Error()))
	} else if err != nil {
		return reply{}, err
	}
	return reply{Status: statusOK}, nil
}

// accept takes ownership of a source's stream and, if it can be played, ends the job.
func (h *Handler) accept(ctx context.Context, c call, source string) error {
	stream, err := h.openStream(queue.LegacyDir(source))
	if err != nil {
		return err
	}
	defer stream.close()
	entry, err := stream.check()
	if err != nil {
		return err
	}
	if err := h.Queue.CompleteLegacy(ctx, c.LegacyMuxer, c.job, entry); err != nil {
		return err
	}
	if err := stream.finish(); err != nil {
		h.Log.Warn("stream keeps the muxers' group", "component", "muxer", "job", c.job, "err", err)
	}
	return nil
}

func (h *Handler) fail(ctx context.Context, c call) (reply, error) {
	reason := c.reason
	if reason == "" {
		reason = "its muxer gave no reason"
	}
	if err := h.Queue.FailLegacy(ctx, c.LegacyMuxer, c.job, reason); err != nil {
		return reply{}, err
	}
	return reply{Status: statusOK}, nil
}

// tidy always answers "empty": originals are out of muxers' reach, and pibootd moves
// them itself.
func (h *Handler) tidy(context.Context, call) (reply, error) {
	return reply{Status: statusEmpty}, nil
}

// tidied refuses a muxer's report that it has moved an original away.
func (h *Handler) tidied(_ context.Context, c call) (reply, error) {
	return reply{}, fmt.Errorf("job %d: its original is not for muxers to put away: %w", c.job, queue.ErrNotClaimed)
}
