package registry

import (
	"reflect"
	"strings"
	"testing"
)

// Every field of Settings is in the table, exactly once and with its name in JSON,
// so that a new field is not forgotten.
func TestTableHasAllSettings(t *testing.T) {
	var s Settings
	rows := map[uintptr]string{}
	for _, setting := range s.Table() {
		at := reflect.ValueOf(setting.value()).Pointer()
		if other, ok := rows[at]; ok {
			t.Errorf("%s and %s are the same field", setting.Field, other)
		}
		rows[at] = setting.Field
		if setting.Flag == "" || setting.Name == "" || setting.Usage == "" {
			t.Errorf("%+v; want a flag, a name and what it does", setting)
		}
	}
	fields := reflect.ValueOf(&s).Elem()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Type().Field(i).Tag.Get("json"), ",")
		if got := rows[fields.Field(i).Addr().Pointer()]; got != name {
			t.Errorf("the table calls the field %s %q; want %q", fields.Type().Field(i).Name, got, name)
		}
	}
	if fields.NumField() != len(rows) {
		t.Errorf("%d settings are in the table; want all %d", len(rows), fields.NumField())
	}
}
