package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// pages returns the text of each page of documentation by its path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, "../../README.md", "../../CHANGELOG.md", "../../CONTRIBUTING.md")
	texts := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return texts
}

// maxDocLine is in letters. A table's row cannot be broken.
const maxDocLine = 120

func TestDocLinesAreShort(t *testing.T) {
	for file, text := range pages(t) {
		n := 0
		for line := range strings.Lines(text) {
			n++
			length := utf8.RuneCountInString(strings.TrimRight(line, "\n"))
			if length > maxDocLine && !strings.HasPrefix(line, "|") {
				t.Errorf("%s:%d: %d letters; want at most %d", file, n, length, maxDocLine)
			}
		}
	}
}

// Every page is in the index, and every link leads to a page and a heading.
func TestDocLinks(t *testing.T) {
	texts := pages(t)
	for file, text := range texts {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			checkLink(t, texts, file, link[1])
		}
		inDocs := filepath.Dir(file) == "../../docs" && filepath.Base(file) != "README.md"
		if inDocs && !strings.Contains(texts["../../docs/README.md"], "("+filepath.Base(file)+")") {
			t.Errorf("docs/README.md has no link to %s", file)
		}
	}
}

func checkLink(t *testing.T, texts map[string]string, file, link string) {
	t.Helper()
	if strings.Contains(link, "://") {
		return
	}
	path, heading, _ := strings.Cut(link, "#")
	target := file
	if path != "" {
		target = filepath.Join(filepath.Dir(file), path)
	}
	if _, err := os.Stat(target); err != nil {
		t.Errorf("%s links to %s: %v", file, link, err)
	}
	if heading != "" && !headings(texts[target])[heading] {
		t.Errorf("%s links to %s: no such heading there", file, link)
	}
}

// headings returns the anchors of a page's headings, as GitHub makes them.
func headings(text string) map[string]bool {
	anchors := map[string]bool{}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			heading := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
			heading = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(heading, "")
			anchors[strings.ReplaceAll(heading, " ", "-")] = true
		}
	}
	return anchors
}

// Code, messages and pages name no page that has moved.
func TestMentionedPagesExist(t *testing.T) {
	texts := pages(t)
	mention := regexp.MustCompile(`docs/[a-z]+\.md`)
	eachSource(t, func(path, text string) {
		for _, page := range mention.FindAllString(text, -1) {
			if _, ok := texts["../../"+page]; !ok {
				t.Errorf("%s mentions %s, which does not exist", path, page)
			}
		}
	})
}
