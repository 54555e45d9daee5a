package confine

import (
	"os"
	"path"
	"slices"
	"strings"
)

// MatchesAny reports whether one of the patterns (path.Match) matches a file name.
func MatchesAny(file string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, file)
		return ok && err == nil
	})
}

// Glob returns the names in root that match pattern, as fs.Glob does, but opens
// only directories: opening a FIFO would block.
func Glob(root *os.Root, pattern string) []string {
	found := []string{"."}
	for element := range strings.SplitSeq(pattern, "/") {
		var next []string
		for _, dir := range found {
			entries, err := ReadDir(root, dir)
			if err != nil {
				continue // not a directory
			}
			for _, entry := range entries {
				if MatchesAny(entry.Name(), []string{element}) {
					next = append(next, path.Join(dir, entry.Name()))
				}
			}
		}
		found = next
	}
	return found
}
