package main

import (
	"regexp"
	"strings"
	"testing"

	"pibootd/pkg/diagnosis"
)

// Every link of the site leads to a page, a file or a heading that it has, and no
// page needs anything from elsewhere or has script or style in it.
func TestSiteIsWhole(t *testing.T) {
	files, err := build("../..")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for name, content := range files {
		if !strings.HasSuffix(name, ".html") {
			continue
		}
		for _, found := range regexp.MustCompile(`(?:href|src)="([^"]*)"`).FindAllStringSubmatch(string(content), -1) {
			links++
			checkLink(t, files, name, found[1])
		}
		if found := regexp.MustCompile(`<script>| style=| on[a-z]+="|src="http`).Find(content); found != nil {
			t.Errorf("%s has %q in it, which the page rules refuse", name, found)
		}
		if !strings.Contains(string(content), "<h1") || strings.Contains(string(content), "<title> ·") {
			t.Errorf("%s has no heading", name)
		}
	}
	if links < 500 {
		t.Errorf("%d links found; want more than 500", links)
	}
}

func checkLink(t *testing.T, files map[string][]byte, page, link string) {
	t.Helper()
	if strings.Contains(link, "://") {
		return
	}
	name, heading, _ := strings.Cut(link, "#")
	if name == "" {
		name = page
	}
	content, ok := files[name]
	if !ok {
		t.Errorf("%s links to %s, which is not there", page, link)
	} else if heading != "" && !strings.Contains(string(content), ` id="`+heading+`"`) {
		t.Errorf("%s links to %s, which has no such heading", page, link)
	}
}

// Each diagnosis has a heading of its own, to which the dashboard links.
func TestSiteHasEachDiagnosis(t *testing.T) {
	files, err := build("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range diagnosis.Catalogue() {
		want := e.Action != ""
		if got := strings.Contains(string(files["hangs.html"]), ` id="`+string(e.Code)+`"`); got != want {
			t.Errorf("hangs.html has a heading %s: %t; want %t", e.Code, got, want)
		}
	}
	for _, text := range []string{`"page":"configuration.html#tftpport"`, `"heading":"tftp.port"`, `"page":"hangs.html#no_offer"`} {
		if !strings.Contains(string(files["search.js"]), text) {
			t.Errorf("search has no %s", text)
		}
	}
}
