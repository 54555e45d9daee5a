package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endedStages end in every way in which make and go test end.
const endedStages = `
check: vet tidy
vet:
	@echo x.go:1: vetted; exit 1
tidy:
	@echo tidied
build:
	@echo cannot link; exit 1
unit:
	@printf -- '--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/x\n    a.go:1: bad\n--- FAIL: TestB (0.1s)\nFAIL\nFAIL\tp/one\t0.1s\nok  \tp/two\t0.2s\n'
	@printf '# p/three\nx.go:1: undefined\nFAIL\tp/three [build failed]\nFAIL\n'; exit 1
netns: build
	@printf 'panic: test timed out after 1s\n\trunning tests:\n\t\tTestC (1s)\nFAIL\tp/four\t1s\nok  \tp/five\t1s\nFAIL\n'; exit 1
e2e:
	@printf 'ok  \tp/six\t1s\n'
`

// make test continues after a failed stage, and its last lines list what passed and
// what failed, in the form of go test.
func TestFailedStagesAreListed(t *testing.T) {
	const want = "ok  \tp/two\t0.2s\nok  \tp/six\t1s\nok  \tp/five\t1s\n" +
		"FAIL\tbuild\tcannot link\nFAIL\tunit\tp/one: TestA, TestB\nFAIL\tunit\tp/three: [build failed]\nFAIL\tcheck\tmake vet\n" +
		"FAIL\tnetns\tp/four: panic: test timed out after 1s\nFAIL\n"
	out, err := runStages(t, endedStages)
	if err == nil {
		t.Error("make test succeeds though stages failed")
	}
	if !strings.HasSuffix(out, want) {
		t.Errorf("make test ends with\n%s\nwant\n%s", out, want)
	}
}

func TestPassedStages(t *testing.T) {
	passing := strings.NewReplacer("exit 1", "exit 0", "FAIL", "passed").Replace(endedStages)
	out, err := runStages(t, passing)
	if err != nil || !strings.HasSuffix(out, "\nok  \tp/five\t1s\n") {
		t.Errorf("make test: %v; its output ends with\n%s\nwant the last line of go test", err, out)
	}
}

// An interrupt of make test ends all its stages, also the one that runs beside the
// others.
func TestInterruptedStages(t *testing.T) {
	const stage = "build:\ncheck:\n\t@sleep 1000\nunit:\n\t@echo testing; sleep 1000\n"
	for _, signal := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := stages(t, stage)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		wait := startWatched(t, cmd)
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "testing" {
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := wait(); err == nil {
			t.Errorf("make test that was ended by %v says that it succeeded", signal)
		}
	}
}

// startWatched starts cmd and returns a function that waits for it and for all its
// descendants, and fails the test if they take too long.
func startWatched(t *testing.T, cmd *exec.Cmd) (wait func() error) {
	t.Helper()
	alive, held, err := os.Pipe() // every process has the other end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alive.Close() })
	cmd.ExtraFiles = []*os.File{held}
	err = cmd.Start()
	held.Close()
	if err != nil {
		t.Fatal(err)
	}
	return func() error {
		if err := alive.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if _, err := alive.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("waiting for the last process of %s: %v; want EOF", cmd.Path, err)
		}
		return err
	}
}

// runStages runs scripts/test with a Makefile of these stages to its end.
func runStages(t *testing.T, makefile string) (string, error) {
	t.Helper()
	out, err := stages(t, makefile).CombinedOutput()
	return string(out), err
}

func stages(t *testing.T, makefile string) *exec.Cmd {
	t.Helper()
	script, err := os.ReadFile("../../scripts/test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"scripts/test": string(script), "Makefile": makefile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts/test"), "build", "unit+check", "e2e+netns")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	return cmd
}
