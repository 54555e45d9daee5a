package debian

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pibootd/pkg/pi"
)

func TestDebianOptions(t *testing.T) {
	var o Options
	if err := o.Complete(); err != nil || o.Arch != pi.ARM64 || o.Release != defaultRelease {
		t.Errorf("the default is %+v, %v; want arm64 and %s", o, err, defaultRelease)
	}
	for name, o := range map[string]Options{
		"architecture": {Arch: pi.AMD64},
		"package":      {Packages: []string{"htop", "--simulate"}},
		"release":      {BuildOptions: BuildOptions{Release: "../sid"}},
		"key":          {AuthorizedKeys: "ssh-ed25519"},
	} {
		if err := o.Complete(); err == nil {
			t.Errorf("%s: complete(%+v) = nil; want an error", name, o)
		}
	}
}

// NeedTools names the missing packages in one line.
func TestNeedDebianTools(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for _, arch := range []pi.Arch{pi.ARM64, pi.ARMv7} {
		err := NeedTools(arch)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "apt-get install apt ") || strings.Contains(err.Error(), "qemu-user-static") != needsEmulation(arch) {
			t.Errorf("needDebianTools(%s) = %v; want one line that says what to install", arch, err)
		}
	}
}

func TestInstallLog(t *testing.T) {
	type step struct {
		name        string
		done, total int64
	}
	var steps []step
	said := &installLog{total: 4, progress: func(name string, done, total int64) { steps = append(steps, step{name, done, total}) }}
	err := said.run(exec.CommandContext(t.Context(), "sh", "-c", `
		echo "Preparing to unpack .../less_590_arm64.deb ..."
		echo "Unpacking less (590-2.1) ..."
		echo "Setting up less (590-2.1) ..."
		for i in 1 2 3; do echo "Setting up libc6:arm64 (2.36) ..."; done
		echo "pibootd: boot files"
		for i in 1 2 3 4 5 6; do echo "dpkg: error $i"; done
		for i in $(seq 100); do echo "noise $i"; done
		echo
		echo "E: the last word" >&2
		exit 3`))
	if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("run = %v; want exit status 3", err)
	}
	want := []step{{"install", 1, 4}, {"install", 2, 4}, {"install", 3, 4}, {"install", 4, 4}, {"install", 4, 4}, {"boot files", 0, 0}}
	if !slices.Equal(steps, want) {
		t.Errorf("steps = %v; want %v", steps, want)
	}
	if got := said.String(); !strings.HasSuffix(got, "\n  E: the last word") || strings.Count(got, "\n") != firstErrors+lastLines || !strings.Contains(got, "dpkg: error 1\n") {
		t.Errorf("it said %q; want the first %d errors and the last %d lines", got, firstErrors, lastLines)
	}
}
