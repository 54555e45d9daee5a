package diagnosis

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of docs/troubleshooting.md")

const (
	page      = "../../docs/troubleshooting.md"
	tableHead = "| code | what is said | what to do |\n|---|---|---|\n"
)

// table returns everything that a diagnosis says is wrong, for people.
func table() string {
	var out strings.Builder
	out.WriteString(tableHead)
	for _, e := range Catalogue() {
		if e.Action == "" {
			continue
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", e.Code, inWords(e.Sentence), inWords(e.Action))
	}
	return out.String()
}

// inWords shows what is replaced by a fact in capital letters.
func inWords(text string) string {
	return regexp.MustCompile(`\{[a-z]+\}`).ReplaceAllStringFunc(text, func(word string) string { return strings.ToUpper(strings.Trim(word, "{}")) })
}

// docs/troubleshooting.md has what is said, as the code says it. go test ./pkg/diagnosis -update
// writes it.
func TestTroubleshootingIsUpToDate(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), tableHead)
	if !ok {
		t.Fatalf("%s has no table that begins with\n%s", page, tableHead)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	want := before + table() + "\n" + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Errorf("%s is not what the code says; go test ./pkg/diagnosis -update writes it", page)
	}
}
