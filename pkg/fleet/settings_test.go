package fleet

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pibootd/pkg/registry"
)

// sample gives a setting a value that is not its zero.
func sample(s registry.Setting) {
	switch {
	case s.Int != nil:
		*s.Int = 128
	case s.Bool != nil:
		*s.Bool = true
	case s.Word != nil:
		*s.Word = "raw"
	case s.Share != nil:
		*s.Share = 0.5
	case s.Words != nil:
		*s.Words = []string{"a=1"}
	}
}

// Each setting of the table is compared, edited alone over JSON, and named in what
// is said of the change.
func TestEverySettingIsEdited(t *testing.T) {
	for i, setting := range new(registry.Settings).Table() {
		var asked registry.Settings
		sample(asked.Table()[i])
		if differs := settingsDiffer(registry.Settings{}, asked); len(differs) != 1 || !strings.HasPrefix(differs[0], setting.Name+" ") {
			t.Errorf("%s: differences are %q; want one, of %s", setting.Field, differs, setting.Name)
		}
		text, err := json.Marshal(Edit{Settings: asked, Fields: []string{setting.Field}})
		if err != nil || !strings.HasPrefix(string(text), `{"`+setting.Field+`":`) {
			t.Errorf("%s: the edit in JSON is %s, %v", setting.Field, text, err)
		}
		var edit Edit
		if err := json.Unmarshal(text, &edit); err != nil || !edit.Sets(setting.Field) {
			t.Errorf("%s: the edit is read as %+v, %v", setting.Field, edit, err)
		}
		var was, is registry.Pi
		edit.apply(&is)
		if left := settingsDiffer(is.Settings, asked); len(left) != 0 {
			t.Errorf("%s: after the edit %q", setting.Field, left)
		}
		if said := changes(was, is); len(said) != 1 || !strings.HasPrefix(said[0], setting.Name+" ") {
			t.Errorf("%s: the changes are %q; want one, of %s", setting.Field, said, setting.Name)
		}
		if edit = (Edit{}); json.Unmarshal([]byte(`{"`+setting.Field+`":null}`), &edit) != nil || len(edit.Fields) != 0 {
			t.Errorf("%s: null changes it", setting.Field)
		}
	}
}

// What an edit does not name stays, and is not in its JSON.
func TestEditKeepsTheRest(t *testing.T) {
	var all registry.Settings
	for _, setting := range all.Table() {
		sample(setting)
	}
	board := registry.Pi{Name: "hlspi1", Settings: all}
	Edit{Settings: registry.Settings{GPUMem: 16}, Fields: []string{"gpu_mem"}}.apply(&board)
	if differs := settingsDiffer(all, board.Settings); !slices.Equal(differs, []string{"gpu-mem 128, not 16"}) || board.Name != "hlspi1" {
		t.Errorf("an edit of gpu_mem alone changed %q, name %s", differs, board.Name)
	}
	if text, err := json.Marshal(Edit{Settings: all}); err != nil || string(text) != "{}" {
		t.Errorf("an edit of nothing is %s, %v", text, err)
	}
}

// An edit that is accepted is read back from its own JSON as it was.
func FuzzEdit(f *testing.F) {
	f.Add(`{"name":"hlspi1","ip":"10.0.0.11","force":true,"args":["quiet"],"labels":[],"weight":0.5,"mux_id":null}`)
	f.Add(`{"gpu_men":16}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, text string) {
		var edit, again Edit
		if json.Unmarshal([]byte(text), &edit) != nil {
			return
		}
		written, err := json.Marshal(edit)
		if err != nil {
			t.Fatalf("writing what was read from %q: %v", text, err)
		}
		if err := json.Unmarshal(written, &again); err != nil {
			t.Fatalf("%q became %s, which is not read: %v", text, written, err)
		}
		slices.Sort(edit.Fields)
		slices.Sort(again.Fields)
		if diff := cmp.Diff(edit, again, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%q is read back differently (-was +is):\n%s", text, diff)
		}
	})
}

// An error of an edit in JSON says which field is wrong.
func TestEditInJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"gpu_men":16}`:   `json: unknown field "gpu_men"`,
		`{"gpu_mem":"16"}`: "gpu_mem",
		`{"force":1}`:      "force",
		`{"ip":"10.0.0"}`:  "10.0.0",
		`[]`:               "array",
	} {
		var edit Edit
		if err := json.Unmarshal([]byte(text), &edit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is read as %+v, %v; want an error with %s", text, edit, err, want)
		}
	}
}
