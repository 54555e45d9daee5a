package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pibootd/pkg/transcode"
)

// A requestMaker makes requests as openapi.json describes them, and some that are
// wrong in one place or another.
type requestMaker struct {
	*rand.Rand
	doc map[string]any
}

// resolve follows a reference.
func (m requestMaker) resolve(v any) map[string]any {
	schema, _ := v.(map[string]any)
	ref, ok := schema["$ref"].(string)
	if !ok {
		return schema
	}
	at := any(m.doc)
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		at = at.(map[string]any)[part]
	}
	return m.resolve(at)
}

func (m requestMaker) oneIn(n int) bool { return m.IntN(n) == 0 }

// odd are values that parsers have failed at.
var odd = []any{
	nil, true, "", "\x00", "../../etc/passwd", "é́", strings.Repeat("x", 5000), -1, 0, 1 << 40, 1e300, 0.5, []any{}, []any{nil}, map[string]any{}, map[string]any{"x": 1},
	"hlspi1", "3333347a", "a.mp4", "nobody", "-", "%s%n", "'; DROP TABLE jobs; --", "2026-11-30T09:00:00Z",
}

// value makes a value of a schema, and now and then another one.
func (m requestMaker) value(of any, depth int) any {
	schema := m.resolve(of)
	if m.oneIn(12) || depth > 5 {
		return odd[m.IntN(len(odd))]
	}
	if all, ok := schema["enum"].([]any); ok {
		return all[m.IntN(len(all))]
	}
	switch schema["type"] {
	case "boolean":
		return m.oneIn(2)
	case "integer":
		return m.IntN(2000) - 10
	case "number":
		return m.Float64() * 10
	case "array":
		list := []any{}
		for range m.IntN(3) {
			list = append(list, m.value(schema["items"], depth+1))
		}
		return list
	case "object":
		return m.object(schema, depth)
	}
	return []string{"hlspi1", "a.mp4", "b.mp4", "minimal", "x", "10.9.0.5", "dc:a6:32:01:02:03", "00000007"}[m.IntN(8)]
}

func (m requestMaker) object(schema map[string]any, depth int) map[string]any {
	out := map[string]any{}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) { // so that a seed makes the same again
		if m.oneIn(2) {
			out[name] = m.value(properties[name], depth+1)
		}
	}
	if m.oneIn(20) {
		out["unknown"] = 1
	}
	return out
}

// request makes a request of an operation.
func (m requestMaker) request(pattern string, o apiOperation) (method, target string, header http.Header, body []byte) {
	method, path, _ := strings.Cut(pattern, " ")
	query, header := url.Values{}, http.Header{}
	for _, p := range o.Parameters {
		p := m.resolve(p)
		name, text := p["name"].(string), fmt.Sprint(m.value(p["schema"], 0))
		switch {
		case name == "follow":
		case pattern == "GET /api/v1/doctor":
			query.Set(name, "nobody") // all boards would take seconds
		case p["in"] == "path":
			if name == "id" && m.oneIn(2) {
				text = strconv.Itoa(1 + m.IntN(3))
			}
			path = strings.Replace(path, "{"+name+"}", url.PathEscape(text), 1)
		case p["in"] == "header":
			header.Set(name, strings.Map(printable, text))
		case m.oneIn(2):
			query.Set(name, text)
		}
	}
	if header.Get("Tus-Resumable") != "" {
		header.Set("Tus-Resumable", tusVersion)
	}
	if o.RequestBody != nil {
		body = m.body(o)
	}
	return method, path + "?" + query.Encode(), header, body
}

func printable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

func (m requestMaker) body(o apiOperation) []byte {
	content, _ := o.RequestBody.Content["application/json"].(map[string]any)
	if content == nil {
		return []byte("some bytes")
	}
	text, err := json.Marshal(m.value(content["schema"], 0))
	if err != nil {
		return nil
	}
	if m.oneIn(20) {
		text = text[:m.IntN(len(text))]
	}
	return text
}

// needsMore are the requests that this package's tests have no network, templates
// or root file systems for: they may fail there.
func needsMore(pattern string) bool {
	return strings.HasPrefix(pattern, "PATCH /api/v1/pis") || strings.HasPrefix(pattern, "POST /api/v1/pis") || strings.HasPrefix(pattern, "DELETE /api/v1/pis")
}

// Whatever a request has in it that openapi.json describes, or nearly, its answer is
// described too (checked compares all), and none is a fault of the server.
func TestRequestsMadeFromOpenAPI(t *testing.T) {
	const each = 60
	d := start(t)
	for _, name := range []string{"a.mp4", "b.mp4"} {
		write(t, filepath.Join(d.media, name), "a video "+name)
		if _, err := d.client.Submit(t.Context(), transcode.Request{Source: name}, false); err != nil {
			t.Fatal(err)
		}
	}
	described, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	m := requestMaker{Rand: rand.New(rand.NewPCG(1, 2))}
	if err := json.Unmarshal(openAPI, &m.doc); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range slices.Sorted(maps.Keys(described)) {
		if strings.Contains(pattern, "/live") || strings.Contains(pattern, "dry_run") {
			continue // streams that do not end
		}
		for range each {
			d.wantAnswer(t, m, pattern, described[pattern])
		}
	}
	if _, err := d.client.Info(t.Context()); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// wantAnswer makes a request by the control socket, which permits everything.
func (d daemon) wantAnswer(t *testing.T, m requestMaker, pattern string, o apiOperation) {
	t.Helper()
	method, target, header, body := m.request(pattern, o)
	if strings.Contains(target, "dry_run=true") {
		return // waits for a worker
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://pibootd"+target, bytes.NewReader(body))
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	maps.Copy(r.Header, header)
	response, err := d.client.http.Transport.RoundTrip(r)
	if err != nil {
		t.Errorf("%s %s %s: %v", method, target, body, err)
		return
	}
	defer response.Body.Close()
	if response.Header.Get("Content-Type") != "application/x-ndjson" || needsMore(pattern) {
		_, _ = io.Copy(io.Discard, response.Body)
	}
	if response.StatusCode == http.StatusInternalServerError && !needsMore(pattern) {
		t.Errorf("%s %s %.300s is answered 500", method, target, body)
	}
}
