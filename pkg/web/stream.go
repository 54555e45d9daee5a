package web

import (
	"encoding/json"
	"net/http"
)

// A stream is an answer of JSON values, one a line, each sent as it comes up.
type stream struct {
	w   http.ResponseWriter
	out *json.Encoder
}

func newStream(w http.ResponseWriter) stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return stream{w: w, out: json.NewEncoder(w)}
}

// send sends v, or tells that nobody reads any more.
func (s stream) send(v any) error {
	if err := s.out.Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(s.w).Flush()
}
