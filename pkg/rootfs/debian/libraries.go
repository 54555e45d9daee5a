package debian

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"pibootd/pkg/rootfs/confine"
)

// A linker completes the shared libraries of a root in which no maintainer script has run, and
// checks that its programs find theirs. Libraries such as libblas have several variants in
// directories below the library directory; update-alternatives would have linked one of them
// into it.
type linker struct {
	root *os.Root
	dir  string // usr/lib/aarch64-linux-gnu
	seen map[string]bool
}

// linkLibraries completes the libraries of the named programs.
func linkLibraries(root *os.Root, programs ...string) error {
	dirs, err := fs.Glob(root.FS(), "usr/lib/*-linux-gnu*")
	if err != nil || len(dirs) != 1 {
		return errors.Join(err, fmt.Errorf("library directories are %q; want one", dirs))
	}
	l := &linker{root: root, dir: dirs[0], seen: make(map[string]bool)}
	for _, program := range programs {
		if err := l.complete(program); err != nil {
			return err
		}
	}
	return nil
}

// complete makes every library that file needs findable, and does the same for these libraries.
func (l *linker) complete(file string) error {
	real, err := confine.Resolve(l.root, file)
	if err != nil {
		return err
	}
	if l.seen[real] {
		return nil
	}
	l.seen[real] = true
	needed, dirs, err := l.dynamic(real)
	if err != nil {
		return fmt.Errorf("%s: %w", real, err)
	}
	for _, name := range needed {
		found, err := l.find(name, dirs)
		if err != nil {
			return fmt.Errorf("%s: %w", real, err)
		}
		if err := l.complete(found); err != nil {
			return err
		}
	}
	return nil
}

// dynamic returns the libraries that a file needs, and the directories besides the library
// directory where it looks for them.
func (l *linker) dynamic(name string) (needed, dirs []string, err error) {
	file, err := l.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	program, err := elf.NewFile(file)
	if err != nil {
		return nil, nil, err
	}
	needed, err = program.DynString(elf.DT_NEEDED)
	if err != nil {
		return nil, nil, err
	}
	paths, err := program.DynString(elf.DT_RUNPATH)
	for _, list := range paths {
		for dir := range strings.SplitSeq(list, ":") {
			dirs = append(dirs, strings.TrimPrefix(strings.ReplaceAll(dir, "$ORIGIN", path.Dir(name)), "/"))
		}
	}
	return needed, dirs, err
}

func (l *linker) find(name string, dirs []string) (string, error) {
	if strings.Contains(name, "/") {
		return "", fmt.Errorf("needs the library %q; want a name without a directory", name)
	}
	for _, dir := range append(dirs, l.dir, "usr/lib") {
		if file := path.Join(dir, name); confine.Exists(l.root, file) {
			return file, nil
		}
	}
	variants, err := fs.Glob(l.root.FS(), path.Join(l.dir, "*", name))
	if err != nil || len(variants) == 0 {
		return "", errors.Join(err, fmt.Errorf("needs the library %s, which no package brought", name))
	}
	file := path.Join(l.dir, name)
	return file, confine.PutSymlink(l.root, file, strings.TrimPrefix(variants[0], l.dir+"/"))
}
