package confine

import (
	"os"
	"path"
	"slices"
	"strings"
)

func MatchesAny(file string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, file)
		return ok && err == nil
	})
}

// Glob returns the entries of a root that a pattern matches, as fs.Glob does,
// but opens nothing that is not a directory: a FIFO would be waited for.
func Glob(root *os.Root, pattern string) []string {
	found := []string{"."}
	for element := range strings.SplitSeq(pattern, "/") {
		var next []string
		for _, dir := range found {
			entries, err := ReadDir(root, dir)
			if err != nil {
				continue // no directory, so nothing is in it
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
