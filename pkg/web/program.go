package web

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"pibootd/images"
	"pibootd/pkg/pi"
)

// ProgramPath is the path of the worker's program, followed by an architecture such
// as amd64, for machines that pibootd does not boot.
const ProgramPath = "/worker/v1/program/"

// program sends the worker's program. It is the same for everybody, and not secret.
func (s *Server) program(w http.ResponseWriter, r *http.Request) {
	arch := pi.Arch(r.PathValue("arch"))
	known := []pi.Arch{pi.AMD64, pi.ARM64, pi.ARMv7, pi.ARMv6}
	if !slices.Contains(known, arch) {
		s.refuse(w, missing("arch", fmt.Errorf("no worker for %.40q; want one of %v", arch, known)))
		return
	}
	s.unpacking.Lock() // one at a time, because it takes a tenth of a second and anybody can ask
	program, err := images.Worker(arch)
	s.unpacking.Unlock()
	if err != nil {
		s.refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(program)))
	if _, err := w.Write(program); err != nil {
		s.Log.Debug("reply not sent", "component", "web", "err", err)
	}
}
