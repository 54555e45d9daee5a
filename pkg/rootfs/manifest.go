package rootfs

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// manifestFile lists a template's tree, beside it: a line for each entry, with
// all that belongs to it, and its quoted name.
const manifestFile = "manifest"

// A manifest is what a tree is made of: by name, a line of type and mode,
// owner, device, and the hashes of content and extended attributes. Times are
// left out: they tell no damage.
type manifest map[string]string

// readTree makes the manifest of a tree, which may be a board's that changes it
// meanwhile: what is gone when its turn comes is left out, and nothing leads out
// of the tree or is opened but regular files and directories.
func readTree(ctx context.Context, tree string, tick func(files int)) (manifest, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	r := treeReader{root: root, made: make(manifest), tick: tick}
	r.reading, ctx = errgroup.WithContext(ctx)
	r.reading.SetLimit(copyWorkers)
	walked := r.entry(ctx, ".")
	if err := r.reading.Wait(); err != nil {
		return nil, err
	}
	return r.made, walked
}

type treeReader struct {
	root    *os.Root
	reading *errgroup.Group
	tick    func(files int)

	mu   sync.Mutex
	made manifest
}

// entry reads an entry, and what is below it.
func (r *treeReader) entry(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := r.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	r.reading.Go(func() error { return r.describe(name) })
	if !info.IsDir() {
		return nil
	}
	dir, err := r.root.OpenFile(name, unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err = errors.Join(err, dir.Close()); err != nil {
		return err
	}
	for _, below := range names {
		if err := r.entry(ctx, path.Join(name, below)); err != nil {
			return err
		}
	}
	return nil
}

func (r *treeReader) describe(name string) error {
	line, err := describeEntry(r.root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made[name] = line
	if r.tick != nil {
		r.tick(len(r.made))
	}
	return nil
}

func describeEntry(root *os.Root, name string) (string, error) {
	dir, err := root.OpenFile(path.Dir(name), unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	base := path.Base(name)
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return "", err
	}
	n, err := nodeAt(dir, base, &stat)
	if err != nil {
		return "", err
	}
	content := "-"
	switch n.kind() {
	case unix.S_IFREG:
		if content, err = hashFile(root, name); err != nil {
			return "", err
		}
	case unix.S_IFLNK:
		content = hashText(n.target)
	}
	return fmt.Sprintf("%o %d:%d %d %s %s", stat.Mode, stat.Uid, stat.Gid, stat.Rdev, content, hashXattrs(n.xattrs)), nil
}

func hashFile(root *os.Root, name string) (string, error) {
	file, _, err := openRegular(root, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func hashXattrs(xattrs map[string]string) string {
	if len(xattrs) == 0 {
		return "-"
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		fmt.Fprintf(&all, "%q=%q\n", name, xattrs[name])
	}
	return hashText(all.String())
}

func writeManifest(file string, m manifest) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&text, "%s %s\n", m[name], strconv.Quote(name))
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

func loadManifest(name string) (manifest, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseManifest(file)
}

func parseManifest(from io.Reader) (manifest, error) {
	m := make(manifest)
	lines := bufio.NewScanner(from)
	for number := 1; lines.Scan(); number++ {
		line, quoted, ok := strings.Cut(lines.Text(), ` "`)
		name, err := strconv.Unquote(`"` + quoted)
		if !ok || err != nil {
			return nil, fmt.Errorf("line %d is damaged", number)
		}
		m[name] = line
	}
	return m, lines.Err()
}

// added is What of an entry that was not there.
const added = "added"

// compare lists what is not the same in two manifests, by name.
func compare(before, after manifest) []Change {
	var changes []Change
	for name, was := range before {
		is, ok := after[name]
		switch {
		case !ok:
			changes = append(changes, Change{File: name, What: "removed"})
		case is != was:
			changes = append(changes, Change{File: name, What: "changed: " + differing(was, is)})
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			changes = append(changes, Change{File: name, What: added})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.File, b.File) })
	return changes
}

// differing names the parts of two lines that are not the same.
func differing(a, b string) string {
	parts := []string{"mode", "owner", "device", "content", "extended attributes"}
	was, is := strings.Fields(a), strings.Fields(b)
	var words []string
	for i, part := range parts {
		if i >= len(was) || i >= len(is) || was[i] != is[i] {
			words = append(words, part)
		}
	}
	return strings.Join(words, ", ")
}

// ErrNoManifest reports that a template is older than manifests are.
var ErrNoManifest = errors.New("it has no manifest: it was made by an earlier pibootd; import or build it again")

func (t *Templates) manifest(of Template) (manifest, error) {
	m, err := loadManifest(filepath.Join(filepath.Dir(t.Root(of)), manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoManifest
	}
	if err != nil {
		return nil, fmt.Errorf("rootfs: manifest of template %s: %w", of, err)
	}
	return m, nil
}

// Verify compares a template's files with what they were when it was made, and
// returns what is not the same.
func (t *Templates) Verify(ctx context.Context, of Template, p Progress) ([]Change, error) {
	made, err := t.manifest(of)
	if err != nil {
		return nil, err
	}
	is, err := readTree(ctx, t.Root(of), func(files int) { p.report("verify", int64(files), int64(len(made))) })
	if err != nil {
		return nil, fmt.Errorf("rootfs: verifying template %s: %w", of, err)
	}
	return compare(made, is), nil
}

// Diff returns what would have to be changed in one template to make it the
// other, times and what clones get of their own aside.
func (t *Templates) Diff(from, to Template) ([]Change, error) {
	before, err := t.manifest(from)
	if err != nil {
		return nil, err
	}
	after, err := t.manifest(to)
	if err != nil {
		return nil, err
	}
	return compare(before, after), nil
}
