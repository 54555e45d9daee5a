package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A reader goes through a file once and collects what is wrong with it.
type reader struct {
	file     string
	data     []byte
	keys     []key
	lines    map[string]int // path of a key or section → line where it was given
	problems []problem
}

type problem struct {
	line int
	text string // key: got; want
}

func parse(file string, data []byte) (Config, error) {
	c := Default()
	// The parser tells places in data by what capacity slices have left.
	data = slices.Clip(data)
	r := &reader{file: file, data: data, keys: keys(&c), lines: map[string]int{}}
	r.readAll()
	r.checkPorts(&c)
	r.checkPool(&c)
	r.checkPair("queue.url", c.Queue.URL, "queue.credentials", c.Queue.Credentials)
	r.checkPair("http.tls_cert_file", c.HTTP.TLSCertFile, "http.tls_key_file", c.HTTP.TLSKeyFile)
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (r *reader) problem(line int, format string, args ...any) {
	r.problems = append(r.problems, problem{line, fmt.Sprintf(format, args...)})
}

// err returns the problems in the order of the file.
func (r *reader) err() error {
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, p := range r.problems {
		errs = append(errs, fmt.Errorf("%s:%d: %s", r.file, p.line, p.text))
	}
	return errors.Join(errs...)
}

// readAll reads the file up to its first syntax error.
func (r *reader) readAll() {
	var p unstable.Parser
	p.Reset(r.data)
	section, known := "", true
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			section, known = r.section(e)
		case unstable.KeyValue:
			// The keys of a section that does not exist are no news.
			if known {
				r.keyValue(section, e)
			}
		}
	}
	if err := p.Error(); err != nil {
		r.problem(r.errorLine(err), "syntax: %v; want TOML, as key = value", err)
	}
}

// errorLine returns the line that the parser's error is about.
func (r *reader) errorLine(err error) int {
	var at *unstable.ParserError
	if !errors.As(err, &at) {
		return r.line(len(r.data))
	}
	return r.line(cap(r.data) - cap(at.Highlight))
}

// line returns the line, from 1, of the byte at offset.
func (r *reader) line(offset int) int {
	offset = min(max(offset, 0), len(r.data))
	return 1 + bytes.Count(r.data[:offset], []byte("\n"))
}

// section enters the section whose header e is, and reports whether there is
// one of that name.
func (r *reader) section(e *unstable.Node) (string, bool) {
	name, line := r.name(e)
	header := "[" + name + "]"
	if e.Kind == unstable.ArrayTable {
		header = "[" + header + "]"
	}
	if e.Kind == unstable.ArrayTable || !slices.Contains(r.sections(), name) {
		r.problem(line, "%s: no such section; want one of [%s]", header, strings.Join(r.sections(), "], ["))
		return "", false
	}
	if first, ok := r.lines[name]; ok {
		r.problem(line, "%s: again, first in line %d; want each section once", header, first)
	} else {
		r.lines[name] = line
	}
	return name, true
}

// keyValue reads a key of section, or a whole section in inline form.
func (r *reader) keyValue(section string, e *unstable.Node) {
	name, line := r.name(e)
	name = join(section, name)
	n := e.Value()
	if n.Kind == unstable.InlineTable && slices.Contains(r.sections(), name) {
		for it := n.Children(); it.Next(); {
			r.keyValue(name, it.Node())
		}
		return
	}
	k, ok := r.key(name)
	if !ok {
		r.problem(line, "%s: no such key; want %s", name, r.choices(name))
		return
	}
	if first, ok := r.lines[name]; ok {
		r.problem(line, "%s: set again, first in line %d; want each key once", name, first)
		return
	}
	r.lines[name] = line
	if !k.value.read(n) {
		r.problem(line, "%s: %s; want %s", name, r.got(e), k.value.want())
	}
}

// name returns the dotted key of e and its line.
func (r *reader) name(e *unstable.Node) (string, int) {
	var parts []string
	line := 0
	for it := e.Key(); it.Next(); {
		part := it.Node()
		if line == 0 {
			line = r.line(int(part.Raw.Offset))
		}
		parts = append(parts, bare(string(part.Data)))
	}
	return strings.Join(parts, "."), line
}

// bare returns a part of a key as it is, or quoted if it needs quotes, so that
// "dhcp.port" is not taken for dhcp.port.
func bare(part string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	}
	if part == "" || strings.ContainsFunc(part, odd) {
		return strconv.Quote(part)
	}
	return part
}

// got returns the value of e as it stands in the file, cut short.
func (r *reader) got(e *unstable.Node) string {
	const most = 60
	var last unstable.Range
	for it := e.Key(); it.Next(); {
		last = it.Node().Raw
	}
	raw := r.data[last.Offset+last.Length : e.Raw.Offset+e.Raw.Length]
	value := strings.Join(strings.Fields(strings.TrimLeft(string(raw), " \t=")), " ")
	if letters := []rune(value); len(letters) > most {
		return string(letters[:most]) + "..."
	}
	return value
}

func (r *reader) key(path string) (key, bool) {
	for _, k := range r.keys {
		if k.path() == path {
			return k, true
		}
	}
	return key{}, false
}

// sections returns the names of the sections in their order.
func (r *reader) sections() []string {
	var names []string
	for _, k := range r.keys {
		if k.section != "" && !slices.Contains(names, k.section) {
			names = append(names, k.section)
		}
	}
	return names
}

// choices names the keys that could have been meant by path: those of its
// section, or of the top level if it has none that exists.
func (r *reader) choices(path string) string {
	section, _, _ := strings.Cut(path, ".")
	if !slices.Contains(r.sections(), section) {
		section = ""
	}
	var names []string
	for _, k := range r.keys {
		if k.section == section {
			names = append(names, k.name)
		}
	}
	choices := "one of " + strings.Join(names, ", ")
	if section == "" {
		choices += ", or a section"
	}
	return choices
}

// checkPair reports the one of two keys that is set if the other is not.
func (r *reader) checkPair(a, aValue, b, bValue string) {
	if (aValue == "") == (bValue == "") {
		return
	}
	has, lacks := a, b
	if aValue == "" {
		has, lacks = b, a
	}
	r.problem(r.lines[has], "%s: set; want %s too", has, lacks)
}
