package main

import (
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

// badWords are words and phrases that stood in pibootd once and had to be read
// twice, as regular expressions, and what to write instead.
var badWords = []struct{ bad, better string }{
	{`\bmakeWay\b`, "prepareParents"},
	{`\bopenDoors\b`, "startIntegrations"},
	{`\boutlet\b`, "transmitter"},
	{`\b[Rr]escued\b`, "paced"},
	{`\b(new|New)Question\b`, "newDiscover"},
	{`\b[Ff]arewell\b`, "errorPacket"},
	{`\btakeNews\b`, "drainInbox"},
	{`\btakePlace\b`, "acquireSlot"},
	{`[A-Za-z]*Rivals?\b`, "OtherServer, or rogue server where it is one"},
	{`never heard of`, "never seen"},
	{`beyondNFS`, "unsupportedXattrs"},
	{`\bconverse\b`, "serveMessages"},
	{`\b[wW]orthDoubling\b`, "speculative attempt"},
	{`(Claim|Fail)Foreign`, "legacy muxer"},
	{`\bcoherence\b`, "bootcheck"},
	{`such a one`, "the noun"},
	{`fits? to\b`, "match"},
	{`\bspender\b`, "holePuncher"},
	{`lastingBody`, "resumableBody"},
	{`\bobey\b`, "applyReply"},
	{`drawBy`, "materialize"},
	{`\bRevive\b`, "Restore"},
	{`\bborrow\b`, "open, of a ShareProxy"},
	{`rootfs\.Way`, "CloneMethod"},
	{`begun anew`, "repeated"},
	{`such even so`, "these … in any case"},
	{`[Hh]as it said`, "has it reported"},
	{`what is so anyway`, "what is true already"},
	{`none of which is`, "the thing's name as the subject"},
	{`[Nn]one that is`, "no …, with its name"},
	{`[Uu]sually pibootd has`, "by default pibootd runs"},
	{`in hardware encode|have hardware encode`, "encodes … with that encoder"},
	{`\b([iI]s|[aA]re) told\b|\btold of\b`, "receives or reports"},
	{`\b[sS]ettl(e|es|ed|ing)\b`, "finalize, unpin, negotiate, sync or quiesce: the one that is meant"},
	{`\b[hH]angs? up\b|hangUp`, "closes the connection, or unsubscribes"},
	{`(made|started|make) anew`, "again, or restarted"},
	{`\b[vV]isitors?\b`, "waiter"},
	{`\b[gG]reets?\b`, "says hello"},
	{`\b[lL]end(er|s)?\b|lentShare`, "open, of a ShareProxy"},
	{`\b(was|were|is|are) outrun\b`, "straggler"},
	{`[pP]ut aside`, "archived, or withheld"},
	{`takes no work\b`, "refuses work"},
	{`[fF]oreign(Prefix|Mount|Muxer)`, "legacyMuxer, or another's"},
	{`\bhence\b|\bthereof\b|\bwhence\b`, "so, of it, from there"},
}

// TestWords holds these words out of identifiers, comments, strings and pages.
func TestWords(t *testing.T) {
	type rule struct {
		bad    *regexp.Regexp
		has    []string // one of which is in each match
		better string
	}
	var rules []rule
	for _, w := range badWords {
		tree, err := syntax.Parse(w.bad, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, rule{regexp.MustCompile(w.bad), literals(tree), w.better})
	}
	eachSource(t, func(path, text string) {
		for _, r := range rules {
			// Few files have the letters, which are found much sooner than the expression is tried.
			if !slices.ContainsFunc(r.has, func(literal string) bool { return strings.Contains(text, literal) }) {
				continue
			}
			for _, at := range r.bad.FindAllStringIndex(text, -1) {
				n := 1 + strings.Count(text[:at[0]], "\n")
				t.Errorf("%s:%d: %q; write %s", path, n, text[at[0]:at[1]], r.better)
			}
		}
	})
}

// literals returns strings of which each match of an expression has one, the longest
// ones that are known.
func literals(tree *syntax.Regexp) (of []string) {
	switch tree.Op {
	case syntax.OpLiteral:
		if tree.Flags&syntax.FoldCase == 0 {
			return []string{string(tree.Rune)}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return literals(tree.Sub[0])
	case syntax.OpAlternate:
		for _, one := range tree.Sub {
			of = append(of, literals(one)...)
		}
		return of
	case syntax.OpConcat:
		for _, part := range tree.Sub {
			if found := literals(part); shortest(found) > shortest(of) {
				of = found
			}
		}
		return of
	}
	return []string{""} // which each text has
}

func shortest(of []string) int {
	n := 0
	for i, one := range of {
		if i == 0 || len(one) < n {
			n = len(one)
		}
	}
	return n
}

// Expressions of every kind in the table are known by a literal.
func TestLiterals(t *testing.T) {
	for expression, want := range map[string]string{
		`\bmakeWay\b`: "makeWay", `(Claim|Fail)Foreign`: "Foreign", `[A-Za-z]*Rivals?\b`: "Rival", `\b([iI]s|[aA]re) told\b|\btold of\b`: " told told of",
		`\b[sS]ettl(e|es|ed|ing)\b`: "ettl", `a|[bc]`: "",
	} {
		tree, err := syntax.Parse(expression, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(literals(tree), " "); got != want {
			t.Errorf("literals of %s = %q; want %q", expression, got, want)
		}
	}
}

// eachSource calls do with the path and text of each Go file and page of
// pibootd, but for this one.
func eachSource(t *testing.T, do func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "bin" || d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		ext := filepath.Ext(path)
		if !d.Type().IsRegular() || ext != ".go" && ext != ".md" || d.Name() == "words_test.go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		do(path, string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
