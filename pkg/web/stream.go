package web

import (
	"encoding/json"
	"net/http"
	"time"

	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
)

// A stream is an answer of JSON values, one per line, each sent at once.
type stream struct {
	w   http.ResponseWriter
	out *json.Encoder
}

func newStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	return stream{w: w, out: json.NewEncoder(w)}
}

// send sends v. It returns an error if the client is gone.
func (s stream) send(v any) error {
	control := http.NewResponseController(s.w)
	if err := control.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if err := s.out.Encode(v); err != nil {
		return err
	}
	return control.Flush()
}

// A Step is a line of the answer to a long request: its progress and, on the last
// line, the result or the error. If Result and Error are both set, the request
// succeeded, but something about its result does not work.
type Step[T any] struct {
	Step   string `json:"step,omitempty"`
	Done   int64  `json:"done,omitempty"`
	Total  int64  `json:"total,omitempty"` // 0: unknown
	Result *T     `json:"result,omitempty"`
	Problem
}

func (s Step[T]) refusal() error { return Refusal{Status: http.StatusOK, Problem: s.Problem} }

// replySteps answers with the steps of do. It sends the result if board is set. An
// error before the first step is answered like that of any other request.
func replySteps[T any](s *Server, w http.ResponseWriter, do func(progress rootfs.Progress) (result T, board registry.Pi, err error)) {
	var out stream
	result, board, err := do(func(step string, done, total int64) {
		if out.out == nil {
			out = newStream(w)
		}
		// If the client is gone, the request's context ends, and with it the work.
		_ = out.send(Step[T]{Step: step, Done: done, Total: total})
	})
	if out.out == nil {
		if err != nil && board.ID == 0 {
			s.refuse(w, err)
			return
		}
		out = newStream(w)
	}
	var last Step[T]
	if board.ID != 0 {
		last.Result = &result
	}
	if err != nil {
		last.Problem = problemOf(err)
	}
	if err := out.send(last); err != nil {
		s.Log.Debug("reply not sent", "component", "web", "err", err)
	}
}
