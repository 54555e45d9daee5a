package main

import (
	"os"
	"path/filepath"
	"regexp"
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
		better string
	}
	var rules []rule
	for _, w := range badWords {
		rules = append(rules, rule{regexp.MustCompile(w.bad), w.better})
	}
	eachSource(t, func(path, text string) {
		for _, r := range rules {
			for _, at := range r.bad.FindAllStringIndex(text, -1) {
				n := 1 + strings.Count(text[:at[0]], "\n")
				t.Errorf("%s:%d: %q; write %s", path, n, text[at[0]:at[1]], r.better)
			}
		}
	})
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
