package debian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// moduleLists are the files of a kernel package that depmod reads.
var moduleLists = []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"}

// depmod writes the dependency lists of a kernel's modules below base/lib/modules. The host's
// depmod works for any architecture.
func depmod(ctx context.Context, base, version string) error {
	_, err := output(ctx, exec.CommandContext(ctx, "depmod", "-b", base, version))
	return err
}

// A moduleTree holds the modules of one kernel version, with the lists of depmod and of the
// kernel's package.
type moduleTree struct {
	dir     string
	needs   map[string][]string // by file: the files it depends on
	file    map[string]string   // by module name
	builtin map[string]bool     // by module name
}

func readModules(dir string) (*moduleTree, error) {
	deps, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	tree := &moduleTree{dir: dir, needs: parseDeps(deps), file: make(map[string]string), builtin: make(map[string]bool)}
	for file := range tree.needs {
		tree.file[moduleName(file)] = file
	}
	for file := range strings.FieldsSeq(string(builtin)) {
		tree.builtin[moduleName(file)] = true
	}
	return tree, nil
}

// parseDeps reads modules.dep, which lists every direct and indirect dependency: "kernel/a.ko:
// kernel/b.ko kernel/c.ko".
func parseDeps(text []byte) map[string][]string {
	needs := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		if file, list, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			needs[file] = strings.Fields(list)
		}
	}
	return needs
}

// moduleName returns the name of the module in a file. The kernel treats dashes as underscores.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// pick returns the files of the named modules and of all their dependencies. A name that starts
// with "?" is optional.
func (m *moduleTree) pick(names []string) ([]string, error) {
	var files []string
	for _, entry := range names {
		name, optional := strings.CutPrefix(entry, "?")
		key := moduleName(name)
		file, ok := m.file[key]
		if !ok {
			if optional || m.builtin[key] {
				continue
			}
			return nil, fmt.Errorf("kernel %s has no module %q", filepath.Base(m.dir), name)
		}
		files = append(files, file)
		files = append(files, m.needs[file]...)
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// copyTo copies the named modules to the directory of the same kernel version in another root.
// It uncompresses them, because busybox cannot load compressed modules.
func (m *moduleTree) copyTo(dir string, names []string) error {
	files, err := m.pick(names)
	if err != nil {
		return err
	}
	for _, file := range append(files, moduleLists...) {
		from := filepath.Join(m.dir, file)
		to := filepath.Join(dir, strings.TrimSuffix(strings.TrimSuffix(file, ".xz"), ".zst"))
		if err := unpackTo(to, from); err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
	}
	return nil
}

// maxModuleBytes is far above the largest module.
const maxModuleBytes = 64 << 20

func unpackTo(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var plain io.Reader = bytes.NewReader(content)
	switch path.Ext(from) {
	case ".xz":
		plain, err = xz.NewReader(plain)
	case ".zst":
		plain, err = zstd.NewReader(plain, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		return err
	}
	if content, err = io.ReadAll(io.LimitReader(plain, maxModuleBytes)); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
