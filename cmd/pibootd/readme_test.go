//go:build e2e

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pibootd/pkg/transcode/worker"
)

// The commands of the README work in their order. The test replaces what only a
// user has: a mounted image by the minimal root, a video by a test picture, and the
// Pi by a worker on this machine.
func TestReadme(t *testing.T) {
	l := newLab(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, line := range commands(string(readme)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(strings.TrimPrefix(line, "sudo "))
		seen++
		switch {
		case words[0] == "make":
			readmeMake(t, words[1])
		case words[0] == "pibootd":
			readmePibootd(t, l, words[1:])
		default:
			t.Errorf("README: nobody knows how to test %q", line)
		}
	}
	if seen < 10 {
		t.Errorf("README: %d commands found; want at least ten", seen)
	}
	for _, inline := range []string{"pibootd config example", "program_usb_boot_mode=1", "source <(pibootd completion bash)"} {
		if !strings.Contains(string(readme), inline) {
			t.Errorf("README does not say %q any more, which is tested here", inline)
		}
	}
	example := filepath.Join(t.TempDir(), "pibootd.toml")
	if err := os.WriteFile(example, []byte(l.pibootd(t, "config", "example")), 0o600); err != nil {
		t.Fatal(err)
	}
	l.pibootd(t, "config", "check", example)
	completes(t, l)
}

// commands returns the lines of the shell blocks of a Markdown text.
func commands(text string) []string {
	var out []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "```"):
			inside = line == "```sh"
		case inside && line != "":
			out = append(out, line)
		}
	}
	return out
}

// readmeMake checks a make target of the README. Those that run this test are not
// run again.
func readmeMake(t *testing.T, target string) {
	t.Helper()
	switch target {
	case "demo":
		runDemo(t)
	case "test", "build":
		if out, err := exec.Command("make", "-C", "../..", "--dry-run", target).CombinedOutput(); err != nil {
			t.Errorf("make %s: %v\n%s", target, err, out)
		}
	case "install":
		dir := t.TempDir()
		if out, err := exec.Command("make", "-C", "../..", "install", "DESTDIR="+dir).CombinedOutput(); err != nil {
			t.Errorf("make install: %v\n%s", err, out)
		}
		if out, err := exec.Command(filepath.Join(dir, "usr/local/bin/pibootd"), "version").CombinedOutput(); err != nil {
			t.Errorf("the installed pibootd: %v\n%s", err, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "etc/systemd/system/pibootd.service")); err != nil {
			t.Error(err)
		}
		manIsInstalled(t, dir)
	default:
		t.Errorf("README: nobody knows how to test make %s", target)
	}
}

// manIsInstalled checks that the installed manual page is that of the installed
// program, packed without a time.
func manIsInstalled(t *testing.T, dir string) {
	t.Helper()
	page, err := exec.Command(filepath.Join(dir, "usr/local/bin/pibootd"), "man").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(dir, "usr/local/share/man/man8/pibootd.8.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	packed, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(packed)
	if err != nil || !bytes.Equal(unpacked, page) {
		t.Errorf("the installed manual page has %d bytes, %v; want the %d of pibootd man", len(unpacked), err, len(page))
	}
	if packed.Name != "" || !packed.ModTime.IsZero() {
		t.Errorf("it is packed with the name %q and the time %v; want neither, which change from build to build", packed.Name, packed.ModTime)
	}
}

// runDemo runs what `make demo` runs once tools and binaries are there.
func runDemo(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../scripts/demo")
	cmd.Env = append(os.Environ(), "DEMO_STATE="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	rest := string(out)
	for _, stage := range []string{"discover", "offer", "bootcode.bin", "kernel8.img", "mount    /roots/3333347a", "online", "claimed", "done: /"} {
		_, after, found := strings.Cut(rest, stage)
		if !found {
			t.Errorf("the demo does not show %q in its place:\n%s", stage, out)
		}
		rest = after
	}
}

func readmePibootd(t *testing.T, l *lab, args []string) {
	t.Helper()
	switch {
	case args[0] == "serve":
		l.daemon = l.start(t, append(args, "--state-dir", l.state)...)
		l.daemon.waitFor(t, "msg=serving")
	case args[0] == "template" && args[1] == "build":
		// The minimal one is built already: it stands in for the downloaded image. A
		// whole Debian takes minutes; TestDebianNetboots builds it.
		if args[2] != "minimal" {
			l.pibootd(t, slices.Concat(args[:2], args[3:], []string{"--help"})...)
		}
	case args[0] == "template" && args[1] == "import":
		l.buildTemplate(t)
		args[3] = filepath.Join(l.state, "templates/minimal/1/root")
		l.pibootd(t, args...)
	case args[0] == "watch":
		watching := l.start(t, args...)
		watching.waitFor(t, "kernel8.img")
		if err := watching.end(t, syscall.SIGINT); err != nil {
			t.Errorf("watch ends with %v; want nil", err)
		}
	case args[0] == "transcode":
		startWorker(t, l, "3333347a")
		args[1] = filepath.Join(t.TempDir(), args[1])
		makeVideo(t, args[1], "6")
		playlist := strings.TrimSpace(l.pibootd(t, args...))
		streamIsRight(t, playlist, 180, 6)
	case args[0] == "add-pi":
		out, errs, err := l.try(t, args...)
		if err != nil || errs != "" || !strings.Contains(out, "proved by a mount") {
			t.Errorf("add-pi: %v, it prints %q and %q; want its result and no steps", err, out, errs)
		}
	default:
		l.pibootd(t, args...)
	}
}

// startWorker runs this machine's worker with a board's credentials.
func startWorker(t *testing.T, l *lab, serial string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.state, "roots", serial, "etc/pibootd/worker.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config worker.Config
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config.MediaDir = filepath.Join(l.state, "media")
	if text, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "worker.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs("../../bin/worker/pibootd-worker-amd64")
	if err != nil {
		t.Fatal(err)
	}
	l.startProgram(t, binary, "--config", file)
}

// completes checks that a shell completes commands and flags.
func completes(t *testing.T, l *lab) {
	t.Helper()
	script := `source <(` + l.binary + ` completion bash)
COMP_WORDS=(` + l.binary + ` $1); COMP_CWORD=$2; _pibootd; printf '%s\n' "${COMPREPLY[@]}"`
	for _, test := range []struct{ words, at, want string }{
		{"add", "1", "add-pi"},
		{"template im", "2", "import"},
		{"add-pi --se", "2", "--serial"},
	} {
		out, err := exec.Command("bash", "-c", script, "bash", test.words, test.at).CombinedOutput()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("completing %q: %s, %v; want %s", test.words, out, err, test.want)
		}
	}
}
