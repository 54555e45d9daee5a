package main

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// The walks in docs/architecture.md name functions that are where they say. In
// "`f` (`file.go`)" and in "`dir/file.go`, `f`" the function f is in the file; a file
// without a directory is in that of the file before.
func TestWalksLeadSomewhere(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, walks, _ := strings.Cut(string(text), "## One serial number, file by file")
	walks, _, _ = strings.Cut(walks, "## Packages")
	step := regexp.MustCompile("`([\\w/]+\\.go)`, `(\\w+)`|`(\\w+)`\\s+\\(`([\\w/]+\\.go)`\\)")
	found := step.FindAllStringSubmatch(walks, -1)
	if len(found) < 25 {
		t.Errorf("the walks have %d steps; want those of a board and of a frame", len(found))
	}
	dir := ""
	for _, m := range found {
		file, function := m[1]+m[4], m[2]+m[3]
		if !strings.Contains(file, "/") {
			file = path.Join(dir, file)
		} else if m[1] != "" {
			dir = path.Dir(file)
		}
		code, err := os.ReadFile(path.Join("../..", file))
		if err != nil || !regexp.MustCompile(`(?m)^func (\(.*?\) )?`+function+`[\[(]`).Match(code) {
			t.Errorf("docs/architecture.md says %s is in %s (%v); want it there", function, file, err)
		}
	}
}
