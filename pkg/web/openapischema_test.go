package web

import (
	"encoding"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/access"
	"pibootd/pkg/boardlog"
	"pibootd/pkg/doctor"
	"pibootd/pkg/fleet"
	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/timeline"
	"pibootd/pkg/transcode"
	"pibootd/pkg/transcode/queue"
	"pibootd/pkg/transcode/trash"
)

// answered are the types of the API's bodies. Their fields, and the comments on
// these, become the schemas of openapi.json.
var answered = []any{
	Problem{}, Session{}, NoSession{}, Credential{}, SetupLink{}, NewToken{}, AddedToken{}, access.Token{}, access.Change{},
	Info{}, doctor.Finding{}, timeline.Event{}, boardlog.Line{}, Report{}, Pi{}, fleet.Request{}, fleet.Edit{}, fleet.Edited{}, Removed{}, RootChange{},
	Step[fleet.Added]{}, Step[fleet.Replaced]{}, Step[[]filetree.Change]{}, rootfs.ArchivedRoot{}, Drained{}, registry.Discovered{},
	Machine{}, NewMachine{}, MachineEdit{}, AddedMachine{}, registry.Machine{}, queue.Job{}, transcode.Request{}, queue.Change{}, queue.Preview{}, Submitted{}, Uploaded{}, Pending{},
	Template{}, NewTemplate{}, rootfs.Template{}, operation.Operation{}, Published{}, ShareDir{}, trash.Item{}, Login{}, LiveStream{}, StreamKey{},
}

// A schemas has what the types of answered are in JSON.
type schemas struct {
	t        *testing.T
	all      map[string]map[string]any
	comments map[string]map[string]string // of types: of themselves under "", and of their fields
}

func newSchemas(t *testing.T) *schemas {
	s := &schemas{t: t, all: map[string]map[string]any{}, comments: map[string]map[string]string{}}
	for _, v := range answered {
		s.of(reflect.TypeOf(v))
	}
	return s
}

// name returns the name of a type's schema: as in Go, with the package in front
// where another one is of this package.
func (s *schemas) name(t reflect.Type) string {
	name, of, generic := strings.Cut(t.Name(), "[")
	if generic {
		of = strings.TrimSuffix(of, "]")
		return name + "Of" + strings.ReplaceAll(of[strings.LastIndex(of, ".")+1:], "]", "") + map[bool]string{true: "s"}[strings.HasPrefix(of, "[]")]
	}
	if t.PkgPath() == reflect.TypeFor[Pi]().PkgPath() {
		return name
	}
	of = path.Base(t.PkgPath())
	return strings.ToUpper(of[:1]) + of[1:] + name
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// of returns the schema of a type.
func (s *schemas) of(t reflect.Type) map[string]any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return map[string]any{"type": "integer", "description": "nanoseconds"}
	case reflect.TypeFor[pi.MAC]():
		return map[string]any{"type": "string", "pattern": "^([0-9a-f]{2}:){5}[0-9a-f]{2}$"}
	case reflect.TypeFor[pi.Serial]():
		return map[string]any{"type": "string", "pattern": "^[0-9a-f]{8}([0-9a-f]{8})?$"}
	case reflect.TypeFor[queue.Priority]():
		return map[string]any{"type": "string", "enum": []string{"low", "normal", "hi"}}
	case reflect.TypeFor[access.Scope]():
		return map[string]any{"type": "string", "enum": []string{"read", "submit", "admin"}}
	case reflect.TypeFor[fleet.Edit]():
		return s.edit()
	}
	if t.Implements(textMarshaler) {
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Slice, reflect.Array:
		return map[string]any{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.object(t)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	}
	s.t.Fatalf("%s cannot be in the API's schemas", t)
	return nil
}

// edit is the schema of a board's changes, which has code of its own for JSON.
func (s *schemas) edit() map[string]any {
	properties := map[string]any{
		"name": map[string]any{"type": "string"}, "ip": map[string]any{"type": "string"},
		"force": map[string]any{"type": "boolean", "description": "even if the address is another host's, or the board is running"},
	}
	settings := s.fields(reflect.TypeFor[registry.Settings]())
	for _, setting := range new(registry.Settings).Table() {
		properties[setting.Field] = settings[setting.Field]
	}
	s.all["FleetEdit"] = map[string]any{"type": "object", "description": "A change of a board. Fields that are left out stay as they are.", "properties": properties}
	return map[string]any{"$ref": "#/components/schemas/FleetEdit"}
}

// object adds the schema of a struct, and returns a reference to it.
func (s *schemas) object(t reflect.Type) map[string]any {
	name := s.name(t)
	ref := map[string]any{"$ref": "#/components/schemas/" + name}
	if _, ok := s.all[name]; ok {
		return ref
	}
	schema := map[string]any{"type": "object"}
	s.all[name] = schema
	schema["properties"] = s.fields(t)
	if text := s.comment(t, ""); text != "" {
		schema["description"] = text
	}
	if required := requiredOf(t); len(required) > 0 {
		schema["required"] = required
	}
	return ref
}

// fields returns the schemas of a struct's fields, with those of embedded structs.
func (s *schemas) fields(t reflect.Type) map[string]any {
	all := map[string]any{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			for name, schema := range s.fields(field.Type) {
				all[name] = schema
			}
			continue
		case !field.IsExported() || name == "-":
			continue
		case name == "":
			name = field.Name
		}
		schema := s.of(field.Type)
		if text := s.comment(t, field.Name); text != "" {
			schema["description"] = text
		}
		all[name] = schema
	}
	return all
}

// requiredOf returns the fields that a struct always has in JSON.
func requiredOf(t reflect.Type) (required []string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			required = append(required, requiredOf(field.Type)...)
			continue
		}
		if field.IsExported() && name != "-" && !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	return required
}

// comment returns the comment on a type, or on one of its fields.
func (s *schemas) comment(t reflect.Type, field string) string {
	dir := strings.TrimPrefix(t.PkgPath(), "pibootd/")
	name, _, _ := strings.Cut(t.Name(), "[")
	key := dir + "." + name
	if s.comments[key] == nil {
		s.readComments(dir)
	}
	return s.comments[key][field]
}

func (s *schemas) readComments(dir string) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			s.t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if decl, ok := n.(*ast.GenDecl); ok && decl.Tok == token.TYPE && len(decl.Specs) == 1 {
				spec := decl.Specs[0].(*ast.TypeSpec)
				s.comments[dir+"."+spec.Name.Name] = commentsOf(decl, spec)
			}
			return true
		})
	}
}

func commentsOf(decl *ast.GenDecl, spec *ast.TypeSpec) map[string]string {
	all := map[string]string{"": oneLine(decl.Doc)}
	object, ok := spec.Type.(*ast.StructType)
	if !ok {
		return all
	}
	for _, field := range object.Fields.List {
		text := oneLine(field.Comment)
		if text == "" {
			text = oneLine(field.Doc)
		}
		for _, name := range field.Names {
			all[name.Name] = text
		}
	}
	return all
}

var spaces = regexp.MustCompile(`\s+`)

func oneLine(group *ast.CommentGroup) string {
	return spaces.ReplaceAllString(strings.TrimSpace(group.Text()), " ")
}
