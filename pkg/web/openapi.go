package web

import (
	_ "embed"
	"net/http"
)

// openAPI describes the API in OpenAPI 3.1. Its paths are written by hand; go test
// ./pkg/web -run TestOpenAPI -update writes its schemas from the types.
//
//go:embed openapi.json
var openAPI []byte

func (s *Server) describeAPI(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	if _, err := w.Write(openAPI); err != nil {
		s.Log.Debug("reply not sent", "component", "web", "err", err)
	}
}
