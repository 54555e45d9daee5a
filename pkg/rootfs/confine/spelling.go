package confine

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// A Speller finds files of a root whose names differ by upper and lower case from what is asked for,
// as FAT does. It reads each directory once. It is not safe for concurrent use.
type Speller struct {
	Root *os.Root
	read map[string][]fs.DirEntry // by directory; none: it cannot be read
}

// Spelled returns a clean name in the directory dir as the root spells it; name itself if there is
// no such file. The exact spelling comes before others, and of those the first.
func (s *Speller) Spelled(dir, name string) string {
	spelled, ok := "", true
	for element := range strings.SplitSeq(name, "/") {
		if element, ok = s.entry(path.Join(dir, spelled), element); !ok {
			return name
		}
		spelled = path.Join(spelled, element)
	}
	return spelled
}

func (s *Speller) entry(dir, name string) (string, bool) {
	entries, ok := s.read[dir]
	if !ok {
		entries, _ = ReadDir(s.Root, dir)
		if s.read == nil {
			s.read = map[string][]fs.DirEntry{}
		}
		s.read[dir] = entries
	}
	for _, same := range []func(a, b string) bool{func(a, b string) bool { return a == b }, strings.EqualFold} {
		if i := slices.IndexFunc(entries, func(e fs.DirEntry) bool { return same(e.Name(), name) }); i >= 0 {
			return entries[i].Name(), true
		}
	}
	return "", false
}
