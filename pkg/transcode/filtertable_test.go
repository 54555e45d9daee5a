//go:build media

package transcode

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestFiltersAreKnownToFFmpeg compares the tables with this ffmpeg: positions decide
// what a value without a name means.
func TestFiltersAreKnownToFFmpeg(t *testing.T) {
	for _, kind := range []filterKind{videoKind(), audioKind()} {
		for line := range strings.SplitSeq(strings.TrimSpace(kind.table), "\n") {
			name := strings.Fields(line)[0]
			out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-h", "filter="+name).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Filter "+name) {
				t.Errorf("%s: %v, %.200s", name, err, out)
				continue
			}
			spec, _ := kind.lookup(name)
			at := -1
			for _, option := range spec.options {
				found := slices.IndexFunc(option, func(o string) bool { return strings.Contains(string(out), "\n   "+o+" ") })
				if option[0] == "-" || found < 0 && name == "aresample" {
					continue // the options of aresample are those of libswresample
				}
				if found < 0 {
					t.Errorf("%s: ffmpeg has no option %q", name, option)
					continue
				}
				if next := strings.Index(string(out), "\n   "+option[found]+" "); next < at {
					t.Errorf("%s: %q stands before others in ffmpeg", name, option)
				} else {
					at = next
				}
			}
		}
	}
}
