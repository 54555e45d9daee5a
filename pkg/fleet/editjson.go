package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"pibootd/pkg/registry"
)

// MarshalJSON implements json.Marshaler.
func (e Edit) MarshalJSON() ([]byte, error) {
	object := map[string]any{}
	if e.Name != nil {
		object["name"] = e.Name
	}
	if e.IP != nil {
		object["ip"] = e.IP
	}
	if e.Force {
		object["force"] = true
	}
	for _, setting := range e.Settings.Table() {
		if e.Sets(setting.Field) {
			object[setting.Field] = setting
		}
	}
	return json.Marshal(object)
}

// UnmarshalJSON implements json.Unmarshaler. A field that Edit does not have is an
// error, as with json.Decoder.DisallowUnknownFields.
func (e *Edit) UnmarshalJSON(text []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return err
	}
	for name, value := range object {
		if err := e.setField(name, value); err != nil {
			return inField(name, err)
		}
	}
	return nil
}

func (e *Edit) setField(name string, value json.RawMessage) error {
	switch name {
	case "name":
		return json.Unmarshal(value, &e.Name)
	case "ip":
		return json.Unmarshal(value, &e.IP)
	case "force":
		return json.Unmarshal(value, &e.Force)
	}
	table := e.Settings.Table()
	i := slices.IndexFunc(table, func(s registry.Setting) bool { return s.Field == name })
	if i < 0 {
		return fmt.Errorf("json: unknown field %q", name) // the text of encoding/json
	}
	if bytes.Equal(value, []byte("null")) {
		return nil // as with a pointer: it stays
	}
	e.Fields = append(e.Fields, name)
	return table[i].UnmarshalJSON(value)
}

// inField has an error about a JSON type name the field that it is about.
func inField(name string, err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field == "" {
		kind.Field = name
	}
	return err
}
