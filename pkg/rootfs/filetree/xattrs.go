package filetree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxXattrFiles is how many files UnsupportedXattrs lists.
const maxXattrFiles = 100

// UnsupportedXattrs lists the files of a tree with extended attributes, such as file
// capabilities and access control lists. Boards do not see these, because NFSv3
// does not carry them.
func UnsupportedXattrs(ctx context.Context, tree string) ([]Change, error) {
	var found []Change
	more := 0
	err := filepath.WalkDir(tree, func(file string, _ fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		size, err := unix.Llistxattr(file, nil)
		if err != nil || size == 0 {
			return nil // none, or a file system without them
		}
		var n node
		if err := n.readXattrs(file); err != nil || len(n.xattrs) == 0 {
			return err
		}
		if len(found) == maxXattrFiles {
			more++
			return nil
		}
		name, err := filepath.Rel(tree, file)
		if err == nil {
			found = append(found, Change{File: name, What: "boards will not see its " + describeXattrs(n.xattrs) + ": NFSv3 does not carry them"})
		}
		return err
	})
	if more > 0 {
		found = append(found, Change{File: ".", What: fmt.Sprintf("%d more files have attributes that NFSv3 does not carry", more)})
	}
	return found, err
}

func describeXattrs(xattrs map[string]string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		switch name {
		case "security.capability":
			name = "capabilities (what needs them has to run as root)"
		case "system.posix_acl_access", "system.posix_acl_default":
			name = "access control list"
		}
		words = append(words, name)
	}
	return strings.Join(slices.Compact(words), ", ")
}
