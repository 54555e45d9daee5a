package main

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pibootd/pkg/diagnosis"
)

// A page is a page of the site.
type page struct {
	Source string // its file in the tree; "" if it is generated
	Name   string // its file in the site
	Title  string
	Body   template.HTML
	text   []byte // Markdown
}

// others are pages outside of docs/, and what they are called in the site.
var others = map[string]string{"README.md": "overview.html", "CHANGELOG.md": "changelog.html", "CONTRIBUTING.md": "contributing.html"}

// build returns the files of the site by their names.
func build(top string) (map[string][]byte, error) {
	pages, err := readPages(top)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var sections []section
	for i := range pages {
		p := &pages[i]
		m := newMarkdown(top, *p, pages)
		if err := m.render(p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Source, err)
		}
		sections = append(sections, m.sections...)
		for name, content := range m.files {
			files[name] = content
		}
	}
	for _, p := range pages {
		if files[p.Name], err = p.html(pages); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	if files["search.js"], err = searchScript(sections); err != nil {
		return nil, err
	}
	files["site.css"], err = static.ReadFile("static/site.css")
	return files, err
}

// readPages reads all pages, the index first, and the others in its order.
func readPages(top string) ([]page, error) {
	sources, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	pages := []page{{Name: "hangs.html", text: hangs()}}
	for _, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".md") + ".html"
		if name == "README.html" {
			name = "index.html"
		}
		pages = append(pages, page{Source: "docs/" + filepath.Base(source), Name: name})
	}
	for source, name := range others {
		pages = append(pages, page{Source: source, Name: name})
	}
	var index []byte
	for i := range pages {
		p := &pages[i]
		if p.Source != "" {
			if p.text, err = os.ReadFile(filepath.Join(top, p.Source)); err != nil {
				return nil, err
			}
		}
		if p.Name == "index.html" {
			index = p.text
		}
		p.Title = titleOf(p.text)
	}
	slices.SortFunc(pages, func(a, b page) int {
		return cmp.Or(cmp.Compare(a.place(index), b.place(index)), cmp.Compare(a.Name, b.Name))
	})
	return pages, nil
}

// place is where a page stands in the list, which is in the order of the index.
func (p page) place(index []byte) int {
	switch p.Name {
	case "index.html":
		return -1
	case "hangs.html":
		return bytes.Index(index, []byte("(boot.md)"))
	}
	if at := bytes.Index(index, []byte("("+path.Base(p.Source)+")")); at >= 0 && strings.HasPrefix(p.Source, "docs/") {
		return at
	}
	return len(index)
}

// titleOf returns a page's first heading.
func titleOf(text []byte) string {
	_, after, _ := strings.Cut("\n"+string(text), "\n# ")
	title, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(title)
}

// hangs is a page of all that a diagnosis can say, with a heading for each code.
func hangs() []byte {
	var out strings.Builder
	out.WriteString("# My Pi hangs at…\n\npibootd says of each board how far it has come, what is wrong, and what to do: on its page, and by " +
		"`pibootd show-pi`. These are all its sentences, in the order of a boot. Words in capital letters stand for facts. " +
		"[boot.md](boot.md#my-pi-hangs-at) has what it cannot see.\n")
	for _, e := range diagnosis.Catalogue() {
		if e.Action != "" {
			fmt.Fprintf(&out, "\n## %s\n\n**%s**\n\n%s\n", e.Code, inWords(e.Sentence), inWords(e.Action))
		}
	}
	return []byte(out.String())
}

var fact = regexp.MustCompile(`\{[a-z]+\}`)

// inWords shows what is replaced by a fact in capital letters.
func inWords(text string) string {
	return fact.ReplaceAllStringFunc(text, func(word string) string { return strings.ToUpper(strings.Trim(word, "{}")) })
}

// html is the page with the list of all pages beside it.
func (p page) html(pages []page) ([]byte, error) {
	layout, err := template.ParseFS(static, "static/page.html")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = layout.Execute(&out, map[string]any{"Page": p, "Pages": pages})
	return out.Bytes(), err
}
