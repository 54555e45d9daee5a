package filetree

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
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/confine"
)

// A Manifest describes the entries of a tree: for each name a line with type and
// mode, owner, device, and the hashes of content and extended attributes. It has no
// times, because they do not show damage.
type Manifest map[string]string

// Scan returns the manifest of a tree, which a board may be changing meanwhile. It
// leaves out entries that disappear, never leaves the tree, and opens only regular
// files and directories. It records entries that are too deep, or that consist of
// holes, without their content.
func Scan(ctx context.Context, tree string, tick func(files int)) (Manifest, error) {
	top, err := os.Open(tree)
	if err != nil {
		return nil, err
	}
	r := treeReader{made: make(Manifest), tick: tick, holes: maxHoles}
	r.hashing, ctx = errgroup.WithContext(ctx)
	r.hashing.SetLimit(Workers)
	walked := errors.Join(r.entry(ctx, top, ".", "."), top.Close())
	if err := r.hashing.Wait(); err != nil {
		return nil, err
	}
	return r.made, walked
}

const (
	// maxManifestBytes is the size of the largest manifest, far more than that of any
	// real tree.
	maxManifestBytes = 256 << 20
	// maxHoles is how many bytes of holes Scan reads in one tree, because a board can
	// create a file with exabytes of them in no time.
	maxHoles = 16 << 30
)

type treeReader struct {
	hashing *errgroup.Group
	tick    func(files int)
	holes   int64 // bytes of holes that can still be read

	mu    sync.Mutex
	made  Manifest
	bytes int
}

// isGone reports whether err means that an entry was removed or replaced since its
// directory was read.
func isGone(err error) bool {
	// EINVAL: readlink(2) of an entry that is no longer a link.
	return errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, confine.ErrNotRegular)
}

// entry adds the entry base of dir, and everything below it. name is its name in the
// tree.
func (r *treeReader) entry(ctx context.Context, dir *os.File, base, name string) error {
	err := ctx.Err()
	if err == nil {
		err = r.read(ctx, dir, base, name)
	}
	if isGone(err) {
		return nil
	}
	return err
}

func (r *treeReader) read(ctx context.Context, dir *os.File, base, name string) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), base, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	n, err := nodeAt(dir, base, &stat)
	if err != nil {
		return err
	}
	e := treeEntry{name: name, content: "-", stat: stat, node: n}
	switch n.kind() {
	case unix.S_IFREG:
		return r.file(ctx, dir, base, e)
	case unix.S_IFDIR:
		return r.directory(ctx, dir, base, e)
	case unix.S_IFLNK:
		e.content = hashText(n.target)
	}
	return r.add(e)
}

// A treeEntry is an entry before it is added to the manifest.
type treeEntry struct {
	name    string
	content string // its hash
	stat    unix.Stat_t
	node    node
}

// add adds an entry to the manifest.
func (r *treeReader) add(e treeEntry) error {
	line := fmt.Sprintf("%o %d:%d %d %s %s", e.stat.Mode, e.stat.Uid, e.stat.Gid, e.stat.Rdev, e.content, hashXattrs(e.node.xattrs))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += len(e.name) + len(line)
	if r.bytes > maxManifestBytes {
		return fmt.Errorf("there are more than %d entries; want fewer, or shorter names", len(r.made))
	}
	r.made[e.name] = line
	if r.tick != nil {
		r.tick(len(r.made))
	}
	return nil
}

// directory adds a directory and its entries.
func (r *treeReader) directory(ctx context.Context, dir *os.File, base string, e treeEntry) error {
	opened, err := confine.OpenAt(dir, base, unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer opened.Close()
	deep := strings.Count(e.name, "/") >= MaxDepth
	if deep {
		e.content = "deep"
	}
	if err := r.add(e); err != nil || deep {
		return err
	}
	for {
		names, err := opened.Readdirnames(confine.MaxEntries)
		for _, below := range names {
			if err := r.entry(ctx, opened, below, path.Join(e.name, below)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// file adds a regular file; another goroutine hashes its content.
func (r *treeReader) file(ctx context.Context, dir *os.File, base string, e treeEntry) error {
	if holes := e.stat.Size - e.stat.Blocks*512; holes > r.holes {
		e.content = "holes"
		return r.add(e)
	} else if holes > 0 {
		r.holes -= holes
	}
	file, err := confine.OpenRegularAt(dir, base)
	if err != nil {
		return err
	}
	r.hashing.Go(func() (err error) {
		defer file.Close()
		if e.content, err = hashFile(ctx, file, e.stat.Size); err != nil {
			return fmt.Errorf("%q: %w", e.name, err)
		}
		return r.add(e)
	})
	return nil
}

// hashFile hashes the first size bytes of a file, because a board can append to it
// forever.
func hashFile(ctx context.Context, file *os.File, size int64) (string, error) {
	h := sha256.New()
	for left := size; left > 0 && ctx.Err() == nil; left -= copyBuffer {
		if _, err := io.CopyN(h, file, min(left, copyBuffer)); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), ctx.Err()
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

// WriteManifest writes m to a file.
func WriteManifest(file string, m Manifest) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&text, "%s %s\n", m[name], strconv.Quote(name))
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// LoadManifest reads what WriteManifest wrote.
func LoadManifest(name string) (Manifest, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseManifest(file)
}

func parseManifest(from io.Reader) (Manifest, error) {
	m := make(Manifest)
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

// Added is the What of an entry that is new.
const Added = "added"

// Compare returns the differences between two manifests, sorted by name.
func Compare(before, after Manifest) []Change {
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
			changes = append(changes, Change{File: name, What: Added})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.File, b.File) })
	return changes
}

// differing names the parts in which two lines differ.
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

// A Change is a difference between two trees, or a change that an import made so
// that a root can be on NFS and be cloned.
type Change struct {
	File string `json:"file"` // relative to the root
	What string `json:"what"`
}
