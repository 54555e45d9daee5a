package web

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// apiTypes are the types of the dashboard that are answers of the API, by the names of the
// API's schemas.
var apiTypes = map[string]string{
	"Stage": "DiagnosisTimed", "Diagnosis": "DiagnosisDiagnosis", "Event": "TimelineEvent", "Speed": "TranscodeSpeed", "Hello": "TranscodeHello", "MachineCondition": "TranscodeMachine",
	"Worker": "QueueWorker", "BoardSettings": "RegistrySettings", "Board": "Pi", "Machine": "Machine", "Discovered": "RegistryDiscovered", "Rung": "TranscodeRung", "Unit": "QueueUnitState",
	"Job": "QueueJob", "Rendition": "Rendition", "Video": "Published", "Deleted": "TrashItem", "Template": "Template", "LogLine": "BoardlogLine", "Operation": "OperationOperation",
	"LiveStream": "LiveStream", "StreamKey": "StreamKey", "ShareDir": "ShareDir", "ShareFile": "ShareFile", "Finding": "DoctorFinding",
}

var (
	tsInterface = regexp.MustCompile(`(?s)export interface (\w+) \{(.*?)\n?\}\n`)
	tsField     = regexp.MustCompile(`(?:^|[;\n{])\s*(\w+)\??:`)
)

// What the dashboard shows of an answer is in the API's description: a field that no answer
// has would be shown nowhere.
func TestTypesOfThePage(t *testing.T) {
	text, err := os.ReadFile("ui/src/model/types.ts")
	if err != nil {
		t.Fatal(err)
	}
	var doc apiDocument
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, one := range tsInterface.FindAllStringSubmatch(withoutComments(string(text)), -1) {
		name, body := one[1], one[2]
		schema, ok := apiTypes[name]
		if !ok {
			continue
		}
		found[name] = true
		properties, _ := doc.Components.Schemas[schema]["properties"].(map[string]any)
		for _, field := range tsField.FindAllStringSubmatch(topLevel(body), -1) {
			if properties[field[1]] == nil {
				t.Errorf("%s of the dashboard has %s, which %s of the API does not have", name, field[1], schema)
			}
		}
	}
	for name := range apiTypes {
		if !found[name] {
			t.Errorf("the dashboard has no type %s", name)
		}
	}
}

func withoutComments(text string) string {
	return regexp.MustCompile(`//[^\n]*`).ReplaceAllString(text, "")
}

// topLevel leaves out what is within braces.
func topLevel(body string) string {
	depth := 0
	return strings.Map(func(r rune) rune {
		switch r {
		case '{':
			depth++
		case '}':
			depth--
		}
		if depth > 0 {
			return -1
		}
		return r
	}, body)
}
