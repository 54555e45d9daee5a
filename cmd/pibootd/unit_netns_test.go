//go:build netns

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxExposure is what systemd may call the exposure of our units at most, in
// tenths: 0 is none, 100 all there is.
const maxExposure = "45"

// The units leave little open, and systemd understands all that they say. That
// pibootd works in them is tested by make test-release.
func TestUnitsAreConfined(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("make", "-C", "../..", "--assume-old=build", "install", "DESTDIR="+dir).CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	units, err := filepath.Glob(filepath.Join(dir, "etc/systemd/system/*.service"))
	if err != nil || len(units) != 3 {
		t.Fatalf("installed units: %q, %v; want three", units, err)
	}
	for _, unit := range units {
		var errs strings.Builder
		cmd := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+maxExposure, unit)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil || errs.String() != "" {
			t.Errorf("%s: %v; want an exposure of %s at most, and nothing that systemd does not know:\n%s%s", filepath.Base(unit), err, maxExposure, errs.String(), out)
		}
	}
}
