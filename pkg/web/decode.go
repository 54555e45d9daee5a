package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"pibootd/pkg/pi"
)

// decode parses a JSON body into the value that v points to. It refuses unknown
// fields, because a misspelt setting would silently do nothing.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	text, err := readBody(w, r)
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	if err := strictly(text, v); err != nil {
		return pi.InvalidField(wrongField(text, v, err), fmt.Errorf("reading the request: %w", inJSON(err)))
	}
	return nil
}

// readBody reads a body that is small and arrives soon.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(sent{http.MaxBytesReader(w, r.Body, maxBody)})
	return text, errors.Join(err, control.SetReadDeadline(time.Time{})) // what follows may take longer
}

// strictly parses one JSON value into the value that v points to.
func strictly(text []byte, v any) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8, as JSON has to be") // encoding/json would replace what is not
	}
	body := json.NewDecoder(bytes.NewReader(text))
	body.DisallowUnknownFields()
	if err := body.Decode(v); err != nil {
		return err
	}
	if _, err := body.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it; want one JSON value")
	}
	return nil
}

// unknownField is the beginning of the error about an unknown field. That error has
// no type of its own.
const unknownField = "json: unknown field "

// inJSON words an error of encoding/json for the author of the JSON.
func inJSON(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("got a JSON %s; want %s", kind.Value, kindOf(kind.Type))
	}
	if name, ok := strings.CutPrefix(err.Error(), unknownField); ok {
		return fmt.Errorf("there is no field %.100s", name)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early; want one JSON object")
	}
	return err
}

// kindOf names the JSON that a Go type is parsed from.
func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice:
		return "a list"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	}
	return "an object"
}

// wrongField returns the field of an object that err is about, or "". If err does
// not name it, wrongField decodes each field alone and returns the only one that
// fails.
func wrongField(text []byte, v any, err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return kind.Field[strings.LastIndexByte(kind.Field, '.')+1:]
	}
	var name string
	if quoted, ok := strings.CutPrefix(err.Error(), unknownField); ok && json.Unmarshal([]byte(quoted), &name) == nil {
		return name
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(text, &fields) != nil {
		return ""
	}
	wrong := ""
	for name, value := range fields {
		alone, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err != nil || strictly(alone, reflect.New(reflect.TypeOf(v).Elem()).Interface()) == nil {
			continue
		}
		if wrong != "" {
			return ""
		}
		wrong = name
	}
	return wrong
}
