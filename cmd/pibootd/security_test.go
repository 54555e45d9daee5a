package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/security.md names the test that shows each of its lines.
func TestSecurityTestsExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t, "../..")
	named := regexp.MustCompile(`\*((?:Test|Fuzz)\w+)\*`).FindAllStringSubmatch(string(text), -1)
	if len(named) < 50 {
		t.Errorf("docs/security.md names %d tests; want one for each of its lines", len(named))
	}
	for _, name := range named {
		if !tests[name[1]] {
			t.Errorf("docs/security.md names %s; want a test that exists", name[1])
		}
	}
}

// testNames returns the names of the tests and fuzz targets below cmd and pkg,
// whatever their build tags.
func testNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	names := map[string]bool{}
	for _, top := range []string{"cmd", "pkg"} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(file, "_test.go") {
				return err
			}
			text, err := os.ReadFile(file)
			for _, name := range function.FindAllStringSubmatch(string(text), -1) {
				names[name[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
