package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rankLine matches a line of the table of packages in docs/architecture.md.
var rankLine = regexp.MustCompile("^\\| ([0-9]+) \\| `([^`]+)` \\| .+ \\|$")

// readRanks returns the rank of each package of docs/architecture.md, where they stand in order.
func readRanks(t *testing.T) map[string]int {
	t.Helper()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	ranks, last := map[string]int{}, 0
	for line := range strings.Lines(string(text)) {
		found := rankLine.FindStringSubmatch(strings.TrimSpace(line))
		if found == nil {
			continue
		}
		rank, err := strconv.Atoi(found[1])
		if _, twice := ranks[found[2]]; err != nil || twice || rank < last {
			t.Errorf("%s: want one line for %s, and the lines in the order of their ranks", strings.TrimSpace(line), found[2])
		}
		ranks[found[2]], last = rank, rank
	}
	return ranks
}

// A package imports packages of lower ranks only, under every build tag.
func TestImportsPointDown(t *testing.T) {
	ranks := readRanks(t)
	const format = `{{.Module.Path}}/ {{.ImportPath}}{{range .Imports}} {{.}}{{end}}`
	out, err := exec.Command("go", "list", "-tags", "netns,e2e,soak,chaos,bench,release", "-f", format, "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(fields[1], fields[0])
		rank, ok := ranks[from]
		if !ok {
			t.Errorf("%s has no rank: add it to the table of packages in docs/architecture.md", from)
		}
		for _, imported := range fields[2:] {
			if to, ours := strings.CutPrefix(imported, fields[0]); ours && ranks[to] >= rank {
				t.Errorf("%s must not import %s", from, to)
			}
		}
	}
	for name := range ranks {
		if !strings.Contains(string(out), fmt.Sprintf(" pibootd/%s\n", name)) && !strings.Contains(string(out), fmt.Sprintf(" pibootd/%s ", name)) {
			t.Errorf("docs/architecture.md has %s, which is no package", name)
		}
	}
}

// Workers are what the boards run: small, and with nothing of the daemon in
// them.
func TestWorkerIsSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "../pibootd-worker").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"github.com/nats-io/nats-server", "modernc.org/sqlite", "pibootd/pkg/store"} {
		if strings.Contains(string(out), heavy) {
			t.Errorf("pibootd-worker depends on %s; want a client only", heavy)
		}
	}
}

func TestDependenciesAreExplained(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	explained, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		if !strings.Contains(string(explained), "| "+path+" |") {
			t.Errorf("docs/dependencies.md has no line for %s", path)
		}
	}
}
