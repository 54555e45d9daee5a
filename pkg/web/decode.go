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

	"pibootd/pkg/pi"
)

// decode reads a JSON body into what v points to. Unknown fields are refused: a
// misspelt one would be a setting that silently does nothing.
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

// readBody reads a body that is small and comes soon.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(sent{http.MaxBytesReader(w, r.Body, maxBody)})
	return text, errors.Join(err, control.SetReadDeadline(time.Time{})) // what follows may take its time
}

// strictly decodes one JSON value into what v points to.
func strictly(text []byte, v any) error {
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

// unknownField begins the text of the error about one, which has no type.
const unknownField = "json: unknown field "

// inJSON says an error of encoding/json in words of who wrote the JSON.
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

// kindOf says what JSON a Go type is read from.
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

// wrongField returns which field of an object err is about, if it is about one:
// the one that is wrong also where it stands alone.
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
