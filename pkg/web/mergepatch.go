package web

import (
	"encoding/json"
	"maps"
	"reflect"
)

// mergePatch returns what makes is of was, both JSON objects, as a JSON merge patch
// (RFC 7396): members that differ, and null for those that are gone. It is empty if
// nothing differs. No object may have a member that is null.
func mergePatch(was, is map[string]any) map[string]any {
	patch := map[string]any{}
	for name := range was {
		if _, ok := is[name]; !ok {
			patch[name] = nil
		}
	}
	for name, value := range is {
		before, known := was[name]
		if known && reflect.DeepEqual(before, value) {
			continue
		}
		from, fromObject := before.(map[string]any)
		to, toObject := value.(map[string]any)
		if fromObject && toObject {
			value = mergePatch(from, to)
		}
		patch[name] = value
	}
	return patch
}

// asObject returns v, which is an object in JSON, without members that are null.
func asObject(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	dropNull(object)
	return object, nil
}

func dropNull(object map[string]any) {
	maps.DeleteFunc(object, func(_ string, value any) bool {
		if inner, ok := value.(map[string]any); ok {
			dropNull(inner)
		}
		return value == nil
	})
}
