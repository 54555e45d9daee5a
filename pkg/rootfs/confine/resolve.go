package confine

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxLinks is how many symbolic links Resolve follows, as in path_resolution(7).
const maxLinks = 40

// Resolve returns the name of a file without symbolic links, as a process would
// resolve it whose root directory is root. Another process that changes root can
// invalidate the result, so Resolve is not for a root that is in use.
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
