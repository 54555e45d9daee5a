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

// A Manifest is what a tree is made of: by name, a line of type and mode,
// owner, device, and the hashes of content and extended attributes. Times are
// left out: they tell no damage.
type Manifest map[string]string

// Scan makes the manifest of a tree, which may be a board's that changes it
// meanwhile: what is gone when its turn comes is left out, and nothing leads out
// of the tree or is opened but regular files and directories. What is too deep,
// or is nothing but holes, has its content left out.
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
	// maxManifestBytes bounds what is kept of a tree, by far more than any takes
	// that a board works with.
	maxManifestBytes = 256 << 20
	// maxHoles is how much that was never written is read of the files of a tree: a
	// board makes a file of a million terabytes of it in no time.
	maxHoles = 16 << 30
)

type treeReader struct {
	hashing *errgroup.Group
	tick    func(files int)
	holes   int64 // that may still be read

	mu    sync.Mutex
	made  Manifest
	bytes int
}

// isGone reports whether an error says that an entry is not what it was when its
// directory was read.
func isGone(err error) bool {
	// EINVAL: the target of what is no link any more.
	return errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, confine.ErrNotRegular)
}

// entry reads an entry of dir, and what is below it. name is its own from the
// top of the tree.
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

// A treeEntry is what a manifest says of an entry.
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

// directory reads what is in a directory.
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

// file has the content of a file hashed.
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

// hashFile hashes as much of a file as there was when it was looked at: a board
// may make more of it all the time.
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

func WriteManifest(file string, m Manifest) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&text, "%s %s\n", m[name], strconv.Quote(name))
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

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

// Added is What of an entry that was not there.
const Added = "added"

// Compare lists what is not the same in two manifests, by name.
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

// A Change is something that an import altered so that the root can live on
// NFS and be cloned.
type Change struct {
	File string `json:"file"` // relative to the root
	What string `json:"what"`
}
