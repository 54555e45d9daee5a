//go:build release

package debian

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"pibootd/images"
	"pibootd/pkg/pi"
)

// While an emulation lasts, and no longer, programs of the other architecture
// run.
func TestEmulate(t *testing.T) {
	for _, arch := range []pi.Arch{pi.ARM64, pi.ARMv7} {
		if !needsEmulation(arch) {
			t.Logf("%s runs programs for %s", runtime.GOARCH, arch)
			continue
		}
		worker, err := images.Worker(arch)
		if err != nil {
			t.Fatal(err)
		}
		program := filepath.Join(t.TempDir(), "worker")
		if err := os.WriteFile(program, worker, 0o755); err != nil {
			t.Fatal(err)
		}
		e, err := emulate(t.Context(), debianArches()[arch])
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), program, "-h").CombinedOutput()
		if !strings.Contains(string(out), "Usage") {
			t.Errorf("the worker for %s says %q, %v; want its usage", arch, out, err)
		}
		if err := e.end(); err != nil {
			t.Error(err)
		}
	}
}
