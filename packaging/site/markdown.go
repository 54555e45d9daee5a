package main

import (
	"bytes"
	"html/template"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// A markdown renders a page. Links to other pages lead to these in the site;
// other files that it links to are copied into the site.
type markdown struct {
	top      string
	page     page
	pages    []page
	files    map[string][]byte
	sections []section
}

func newMarkdown(top string, p page, pages []page) *markdown {
	if p.Source == "" { // its links are as in docs/
		p.Source = "docs/" + p.Name
	}
	return &markdown{top: top, page: p, pages: pages, files: map[string][]byte{}}
}

func (m *markdown) render(p *page) error {
	engine := goldmark.New(goldmark.WithExtensions(extension.GFM), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	context := parser.NewContext(parser.WithIDs(&anchors{seen: map[string]int{}}))
	tree := engine.Parser().Parse(text.NewReader(p.text), parser.WithContext(context))
	err := ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		var err error
		switch n := n.(type) {
		case *ast.Link:
			n.Destination, err = m.link(n.Destination)
		case *ast.Image:
			n.Destination, err = m.link(n.Destination)
		}
		return ast.WalkContinue, err
	})
	if err != nil {
		return err
	}
	m.sections = sectionsOf(*p, tree)
	var out bytes.Buffer
	if err := engine.Renderer().Render(&out, p.text, tree); err != nil {
		return err
	}
	p.Body = template.HTML(out.String()) // of our own pages
	return nil
}

// link returns where a link leads to in the site.
func (m *markdown) link(to []byte) ([]byte, error) {
	target, heading, found := strings.Cut(string(to), "#")
	if target == "" || strings.Contains(target, ":") {
		return to, nil
	}
	if found {
		heading = "#" + heading
	}
	source := path.Join(path.Dir(m.page.Source), target)
	for _, p := range m.pages {
		if p.Source == source {
			return []byte(p.Name + heading), nil
		}
	}
	info, err := os.Stat(filepath.Join(m.top, source))
	if err != nil {
		return nil, err
	}
	if info.IsDir() { // docs/ itself
		return []byte("index.html" + heading), nil
	}
	name := path.Base(source)
	m.files[name], err = os.ReadFile(filepath.Join(m.top, source))
	return []byte(name), err
}

// anchors makes the names of headings as GitHub does, so that links to them work
// in both places.
type anchors struct{ seen map[string]int }

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// Generate implements parser.IDs.
func (a *anchors) Generate(heading []byte, _ ast.NodeKind) []byte {
	name := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(string(heading))), ""), " ", "-")
	n := a.seen[name]
	a.seen[name]++
	if n > 0 {
		name += "-" + string(rune('0'+n%10))
	}
	return []byte(name)
}

// Put implements parser.IDs.
func (a *anchors) Put(value []byte) { a.seen[string(value)]++ }
