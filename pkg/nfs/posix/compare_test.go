package posix

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCompare(t *testing.T) {
	local := "a/b\tone: ok\na/b\ttwo: EPERM\nremove/x\tls \".\" []: ok\ngone\tx\n"
	tests := []struct {
		mounted, rule string
		differences   []string
	}{
		{mounted: local},
		{mounted: strings.Replace(local, `[]`, `["\"(silly)\""]`, 1), rule: "removed while open"},
		{mounted: strings.Replace(local, "EPERM", "ok", 1), differences: []string{"a/b: two: ok; want two: EPERM"}},
		{mounted: strings.Replace(local, "a/b\ttwo: EPERM\n", "", 1), differences: []string{"a/b: (nothing); want two: EPERM"}},
		{mounted: strings.Replace(local, "gone\tx\n", "", 1), differences: []string{"gone: (nothing); want x"}},
		{mounted: local + "new\tx\n", differences: []string{"new: only over NFS"}},
	}
	for _, tt := range tests {
		got, met := Compare(local, tt.mounted)
		if !slices.Equal(got, tt.differences) || met[tt.rule] != (tt.rule != "") {
			t.Errorf("Compare with %q = %q, %v; want %q and the rule %q", tt.mounted, got, met, tt.differences, tt.rule)
		}
	}
}

// Every rule has its line in the table of docs/network.md, and every line a rule.
func TestRulesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/network.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "## What differs from a local disk")
	_, table, _ = strings.Cut(table, "|---|---|---|\n")
	var documented, rules []string
	for line := range strings.Lines(table) {
		documented = append(documented, strings.TrimSpace(strings.Split(line, "|")[1]))
	}
	for _, r := range Rules() {
		rules = append(rules, r.Name)
	}
	slices.Sort(documented)
	slices.Sort(rules)
	if rules = slices.Compact(rules); !slices.Equal(documented, rules) {
		t.Errorf("docs/network.md has %q; want %q", documented, rules)
	}
}

// A case's name names its directory, so no two may have the same.
func TestNamesOfCases(t *testing.T) {
	seen := map[string]string{}
	cases := Cases(Whole())
	for _, c := range cases {
		if other, twice := seen[directoryOf(c)]; twice {
			t.Errorf("%q and %q have the directory %s", c.Name, other, directoryOf(c))
		}
		seen[directoryOf(c)] = c.Name
	}
	if len(cases) < 500 {
		t.Errorf("%d cases; want 500", len(cases))
	}
}
