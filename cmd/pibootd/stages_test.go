package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Stages of all kinds of ends, as make and go test print them.
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
netns:
	@printf 'panic: test timed out after 1s\n\trunning tests:\n\t\tTestC (1s)\nFAIL\tp/four\t1s\nok  \tp/five\t1s\nFAIL\n'; exit 1
e2e:
	@printf 'ok  \tp/six\t1s\n'
`

// make test goes on after a stage that failed, and its last lines are what
// passed and what failed, in the form of go test's.
func TestFailedStagesAreListed(t *testing.T) {
	const want = "ok  \tp/two\t0.2s\nok  \tp/five\t1s\nok  \tp/six\t1s\n" +
		"FAIL\tcheck\tmake vet\nFAIL\tbuild\tcannot link\nFAIL\tunit\tp/one: TestA, TestB\nFAIL\tunit\tp/three: [build failed]\n" +
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
	if err != nil || !strings.HasSuffix(out, "\nok  \tp/six\t1s\n") {
		t.Errorf("make test: %v; its output ends with\n%s\nwant the last line of go test", err, out)
	}
}

// runStages runs scripts/test with a Makefile of these stages.
func runStages(t *testing.T, stages string) (string, error) {
	t.Helper()
	script, err := os.ReadFile("../../scripts/test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"scripts/test": string(script), "Makefile": stages} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "scripts/test"), "build", "unit", "netns", "e2e")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
