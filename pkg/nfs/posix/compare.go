package posix

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Compare returns what differs between the notes of a local file system and those of a mounted
// export, without what is known, and the rules of known differences that it has met.
func Compare(local, mounted string) (differences []string, met map[string]bool) {
	met = map[string]bool{}
	rules := Rules()
	want, got := byCase(local), byCase(mounted)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, g := want[name], got[name]
		for i := range max(len(w), len(g)) {
			if lineAt(w, i) == lineAt(g, i) {
				continue
			}
			if rule := ruleFor(rules, name, lineAt(w, i), lineAt(g, i)); rule != "" {
				met[rule] = true
				continue
			}
			differences = append(differences, fmt.Sprintf("%s: %s; want %s", name, lineAt(g, i), lineAt(w, i)))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			differences = append(differences, name+": only over NFS")
		}
	}
	return differences, met
}

func byCase(notes string) map[string][]string {
	all := map[string][]string{}
	for line := range strings.Lines(notes) {
		name, note, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		all[name] = append(all[name], note)
	}
	return all
}

func lineAt(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
