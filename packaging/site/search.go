package main

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/yuin/goldmark/ast"
)

// A section is what search finds: a heading, and the text below it.
type section struct {
	Page    string `json:"page"` // its file and heading
	Title   string `json:"title"`
	Heading string `json:"heading"`
	Text    string `json:"text"`
}

// sectionsOf splits a page at its headings.
func sectionsOf(p page, tree ast.Node) []section {
	list := []section{{Page: p.Name, Title: p.Title}}
	for n := tree.FirstChild(); n != nil; n = n.NextSibling() {
		words := strings.Join(strings.Fields(textOf(n, p.text)), " ")
		if h, ok := n.(*ast.Heading); ok && h.Level > 1 {
			id, _ := h.AttributeString("id")
			name, _ := id.([]byte)
			list = append(list, section{Page: p.Name + "#" + string(name), Title: p.Title, Heading: words})
			continue
		}
		last := &list[len(list)-1]
		last.Text = strings.TrimSpace(last.Text + " " + words)
	}
	return list
}

// textOf returns the words of a node without markup.
func textOf(n ast.Node, source []byte) string {
	var out bytes.Buffer
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // the function returns no error
		switch n := n.(type) {
		case *ast.Text:
			if entering {
				out.Write(n.Value(source))
				if n.SoftLineBreak() {
					out.WriteByte(' ')
				}
			}
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			if entering {
				out.Write(n.Lines().Value(source))
			}
		}
		if !entering && n.Type() == ast.TypeBlock {
			out.WriteByte(' ')
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

// searchScript is the search with all that it finds, in one file, because a page
// on a disk may not read others.
func searchScript(sections []section) ([]byte, error) {
	script, err := static.ReadFile("static/search.js")
	if err != nil {
		return nil, err
	}
	index, err := json.Marshal(sections)
	return bytes.Replace(script, []byte("[/* sections */]"), index, 1), err
}
