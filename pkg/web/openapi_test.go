package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"pibootd/pkg/access"
)

var update = flag.Bool("update", false, "write the schemas of openapi.json")

// An apiDocument is openapi.json. What this test does not write stays as it is.
type apiDocument struct {
	OpenAPI    json.RawMessage `json:"openapi"`
	Info       json.RawMessage `json:"info"`
	Servers    json.RawMessage `json:"servers"`
	Security   json.RawMessage `json:"security"`
	Tags       json.RawMessage `json:"tags"`
	Paths      json.RawMessage `json:"paths"`
	Components struct {
		SecuritySchemes json.RawMessage           `json:"securitySchemes"`
		Parameters      json.RawMessage           `json:"parameters"`
		Responses       json.RawMessage           `json:"responses"`
		Schemas         map[string]map[string]any `json:"schemas"`
	} `json:"components"`
}

// An apiOperation is a method of a path.
type apiOperation struct {
	Scope       string `json:"x-scope"`
	Parameters  []any  `json:"parameters"`
	RequestBody *struct {
		Content map[string]any `json:"content"`
	} `json:"requestBody"`
	Responses map[string]any `json:"responses"`
}

// isEmpty reports whether the answer with a status has no body.
func (o apiOperation) isEmpty(status int) bool {
	response, ok := o.Responses[strconv.Itoa(status)].(map[string]any)
	return ok && response["content"] == nil
}

// The schemas are those of the types that the API sends and accepts.
func TestOpenAPISchemas(t *testing.T) {
	var doc apiDocument
	if err := strictly(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	doc.Components.Schemas = newSchemas(t).all
	var want bytes.Buffer
	out := json.NewEncoder(&want)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(doc); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(openAPI, want.Bytes()) {
		t.Error("openapi.json does not have the types' schemas, or another indentation; run go test ./pkg/web -run TestOpenAPI -update")
	}
}

// operations returns the operations of openapi.json by "METHOD path".
func operations() (map[string]apiOperation, error) {
	var doc struct {
		Paths map[string]map[string]apiOperation `json:"paths"`
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		return nil, err
	}
	all := map[string]apiOperation{}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			all[strings.ToUpper(method)+" "+path] = o
		}
	}
	return all, nil
}

// Every route is described, with its scope, and nothing else is.
func TestOpenAPIRoutes(t *testing.T) {
	described, err := operations()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range new(Server).routes(nil) {
		pattern := strings.ReplaceAll(r.pattern, "...", "")
		o, ok := described[pattern]
		want := string(r.scope)
		switch {
		case r.socket:
			want = "socket"
		case r.scope == access.Nobody:
			want = "none"
		}
		if !ok || o.Scope != want {
			t.Errorf("%s is described: %v, with the scope %q; want %q", pattern, ok, o.Scope, want)
		}
		delete(described, pattern)
	}
	for pattern := range described {
		t.Errorf("%s is described, but is no route", pattern)
	}
}

// An apiChecker compares answers with openapi.json.
type apiChecker struct {
	compiler *jsonschema.Compiler
	mux      *http.ServeMux // finds the pattern of a request
	known    map[string]apiOperation

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema
	wrong   []string
}

// newAPIChecker returns a checker that also refuses fields that are not described.
func newAPIChecker() (*apiChecker, error) {
	known, err := operations()
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		return nil, err
	}
	forbidOthers(doc)
	c := &apiChecker{compiler: jsonschema.NewCompiler(), mux: http.NewServeMux(), known: known, schemas: map[string]*jsonschema.Schema{}}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("api", doc); err != nil {
		return nil, err
	}
	for pattern := range known {
		c.mux.HandleFunc(strings.Replace(pattern, "/media/{name}", "/media/{name...}", 1), func(http.ResponseWriter, *http.Request) {})
	}
	return c, nil
}

// forbidOthers adds to each object's schema that it has no other properties.
func forbidOthers(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		if v["type"] == "object" && v["properties"] != nil {
			v["additionalProperties"] = false
		}
		for _, value := range v {
			forbidOthers(value)
		}
	case []any:
		for _, value := range v {
			forbidOthers(value)
		}
	}
}

// check returns what is wrong with an answer.
func (c *apiChecker) check(r *http.Request, status int, header http.Header, body []byte) error {
	_, pattern := c.mux.Handler(r)
	pattern = strings.Replace(pattern, "{name...}", "{name}", 1)
	o, ok := c.known[pattern]
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case status == http.StatusMovedPermanently || status == http.StatusTemporaryRedirect: // to a cleaner path
		return nil
	case !ok && status < 400:
		return errors.New("it is not described")
	case o.isEmpty(status):
		if len(body) > 0 {
			return errors.New("it is not empty")
		}
		return nil
	case err != nil:
		return fmt.Errorf("its type is %q: %w", header.Get("Content-Type"), err)
	}
	at := "api#/components/responses/Problem/content/application~1json/schema"
	if o.Responses[strconv.Itoa(status)] != nil {
		at = fmt.Sprintf("api#/paths/%s/%s/responses/%d/content/%s/schema", escape(pattern[strings.Index(pattern, " ")+1:]), strings.ToLower(r.Method), status, escape(kind))
	} else if status < 400 {
		return errors.New("its status is not described")
	}
	return c.validate(at, kind, body)
}

func escape(part string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(part)
}

// validate compares a body with the schema at a place of the document.
func (c *apiChecker) validate(at, kind string, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	schema := c.schemas[at]
	if schema == nil {
		var err error
		if schema, err = c.compiler.Compile(at); err != nil {
			return err
		}
		c.schemas[at] = schema
	}
	values := [][]byte{body}
	if kind == "application/x-ndjson" {
		values = slices.Collect(bytes.Lines(body))
	}
	if kind == "text/event-stream" {
		return schema.Validate(string(body))
	}
	for _, text := range values {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		if err := schema.Validate(value); err != nil {
			return err
		}
	}
	return nil
}

// checked compares all answers of the API in this package's tests with openapi.json.
type checked struct {
	http.RoundTripper
	*apiChecker
}

func (c checked) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := c.RoundTripper.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/api/") && r.Method != http.MethodHead {
		stream := slices.Contains([]string{"application/x-ndjson", "text/event-stream"}, response.Header.Get("Content-Type"))
		response.Body = &checkedBody{ReadCloser: response.Body, stream: stream, done: func(body []byte) {
			if err := c.check(r, response.StatusCode, response.Header, body); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.wrong = append(c.wrong, fmt.Sprintf("%s %s is answered %d, %.500s\nwhich is not as openapi.json describes it: %v", r.Method, r.URL, response.StatusCode, body, err))
			}
		}}
	}
	return response, err
}

// A checkedBody is checked when it is closed, a stream as far as it was read.
type checkedBody struct {
	io.ReadCloser
	stream bool
	read   bytes.Buffer
	done   func(body []byte)
}

func (b *checkedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Write(p[:n])
	return n, err
}

func (b *checkedBody) Close() error {
	if b.done != nil {
		if !b.stream {
			_, _ = io.Copy(io.Discard, b) // an error leaves half an answer, which is wrong then
		}
		text := b.read.Bytes()
		b.done(text[:bytes.LastIndexByte(text, '\n')+1]) // an answer ends with its line
		b.done = nil
	}
	return b.ReadCloser.Close()
}

//nolint:gochecknoglobals // TestMain sets it before any test
var api *apiChecker

// TestMain has every answer of the API that a test gets compared with openapi.json.
func TestMain(m *testing.M) {
	var err error
	if api, err = newAPIChecker(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	http.DefaultTransport = checked{http.DefaultTransport, api}
	code := m.Run()
	if len(api.wrong) > 0 {
		fmt.Println(strings.Join(slices.Compact(api.wrong), "\n"))
		fmt.Printf("FAIL: %d answers are not as openapi.json describes them\n", len(api.wrong))
		code = 1
	}
	os.Exit(code)
}
