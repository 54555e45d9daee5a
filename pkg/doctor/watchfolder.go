package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxRefusedShown is the number of entries of the watch folder that are named.
const maxRefusedShown = 5

// watchFolder reports the entries of the watch folder that never become jobs.
func (d *Doctor) watchFolder() []Finding {
	if d.Refused == nil {
		return nil
	}
	refused := d.Refused()
	if len(refused) == 0 {
		return []Finding{{Subject: "watch folder", Level: OK, Text: "every file in it is accepted once it has stopped growing"}}
	}
	var shown []string
	for _, name := range slices.Sorted(maps.Keys(refused))[:min(len(refused), maxRefusedShown)] {
		shown = append(shown, fmt.Sprintf("%q: %s", name, refused[name]))
	}
	text := strings.Join(shown, "; ")
	if more := len(refused) - len(shown); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return []Finding{{Subject: "watch folder", Level: Warning, Text: "never accepted: " + text, Todo: "move or rename them"}}
}
