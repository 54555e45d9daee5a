package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The container has the capabilities that the units of the daemon and of its
// template commands have, because it runs both, and no more.
func TestComposeHasTheUnitsCapabilities(t *testing.T) {
	want := map[string]bool{}
	for _, unit := range []string{"pibootd.service", "pibootd-template@.service"} {
		for _, line := range regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindAllStringSubmatch(readText(t, "../../systemd/"+unit), -1) {
			for name := range strings.FieldsSeq(line[1]) {
				want[strings.TrimPrefix(name, "CAP_")] = true
			}
		}
	}
	compose := readText(t, "../../packaging/image/compose.yaml")
	if got := listOf(compose, "cap_add"); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("cap_add of compose.yaml = %q; want %q, as the units have", got, slices.Sorted(maps.Keys(want)))
	}
	page := readText(t, "../../docs/container.md")
	for name := range want {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/container.md does not say why the container needs %s", name)
		}
	}
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listOf returns the list that a compose file has for a key.
func listOf(text, key string) []string {
	var values []string
	_, after, _ := strings.Cut(text, "\n    "+key+":\n")
	for line := range strings.Lines(after) {
		value, isItem := strings.CutPrefix(line, "      - ")
		if !isItem {
			break
		}
		values = append(values, strings.TrimSpace(value))
	}
	return values
}
