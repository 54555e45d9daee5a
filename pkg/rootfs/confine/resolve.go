package confine

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links resolve follows, as in path_resolution(7).
const maxLinks = 40

// Resolve follows symbolic links as a process would whose root is root: an
// absolute one starts there. The result is relative and has no links left, which
// is so as long as nobody writes there: a root that is in use is no place for it.
func Resolve(root *os.Root, name string) (string, error) {
	rest := strings.Split(name, "/")
	at := "."
	for links := 0; len(rest) > 0; {
		next := path.Join("/", at, rest[0])[1:] // ".." stops at the top
		rest = rest[1:]
		if next == "" {
			at = "."
			continue
		}
		info, err := root.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%q: more than %d symbolic links", name, maxLinks)
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, nil
}
