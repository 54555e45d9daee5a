package filetree

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pibootd/pkg/rootfs/confine"
)

// A Packer writes trees into a tar archive, from which an Extractor makes them again. A board
// may be changing a tree meanwhile: entries that disappear are left out, and a file has the
// length that it had when it was opened. It opens only regular files and directories, and never
// leaves the tree. Sockets are left out without a word, because what listened on them is gone.
type Packer struct {
	To     *tar.Writer
	Prefix string                 // before each name; "" or one that ends with "/"
	Keep   func(name string) bool // nil keeps every entry; a directory that is not kept keeps its entries
	Tick   func(bytes int64)      // after each entry, with the bytes of its content; may be nil
	Lost   func(name, why string) // called with what cannot be packed; may be nil

	links map[inode]string
	holes int64 // bytes of holes that can still be packed
}

// Pack writes the directory tree, its own attributes included.
func (p *Packer) Pack(ctx context.Context, tree string) error {
	p.links, p.holes = make(map[inode]string), maxHoles
	top, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer top.Close()
	return p.entry(ctx, top, ".", ".")
}

// entry writes the entry base of dir, and everything below it. name is its name in the tree.
func (p *Packer) entry(ctx context.Context, dir *os.File, base, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var stat unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), base, &stat, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return p.directory(ctx, dir, base, name, &stat)
		case unix.S_IFSOCK: // tar has none
			return nil
		case unix.S_IFREG:
			err = p.file(dir, base, name, &stat)
		default:
			err = p.special(dir, base, name, &stat)
		}
	}
	if isGone(err) {
		return nil
	}
	return err
}

func (p *Packer) keeps(name string) bool { return p.Keep == nil || p.Keep(name) }

func (p *Packer) special(dir *os.File, base, name string, stat *unix.Stat_t) error {
	if !p.keeps(name) {
		return nil
	}
	n, err := nodeAt(dir, base, stat)
	if err != nil {
		return err
	}
	return p.write(n, name, 0, nil)
}

func (p *Packer) directory(ctx context.Context, dir *os.File, base, name string, stat *unix.Stat_t) error {
	opened, err := confine.OpenAt(dir, base, unix.O_DIRECTORY, 0)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer opened.Close()
	if p.keeps(name) {
		n, err := nodeAt(dir, base, stat)
		if err == nil {
			err = p.write(n, name, 0, nil)
		}
		if err != nil {
			return err
		}
	}
	if strings.Count(name, "/") >= MaxDepth {
		p.lost(name, fmt.Sprintf("it is below %d other directories", MaxDepth))
		return nil
	}
	for {
		names, err := opened.Readdirnames(confine.MaxEntries)
		slices.Sort(names)
		for _, below := range names {
			if err := p.entry(ctx, opened, below, path.Join(name, below)); err != nil {
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

func (p *Packer) file(dir *os.File, base, name string, stat *unix.Stat_t) error {
	if !p.keeps(name) {
		return nil
	}
	if holes := stat.Size - stat.Blocks*512; holes > p.holes {
		p.lost(name, fmt.Sprintf("it has %d GB of holes", holes>>30))
		return nil
	} else if holes > 0 {
		p.holes -= holes
	}
	file, err := confine.OpenRegularAt(dir, base)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := nodeOfFile(file, dir, base, stat)
	if err != nil {
		return err
	}
	if stat.Nlink > 1 {
		id := inode{stat.Dev, stat.Ino}
		if first, ok := p.links[id]; ok {
			return p.To.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: p.Prefix + name, Linkname: p.Prefix + first, Format: tar.FormatPAX})
		}
		p.links[id] = name
	}
	return p.write(n, name, stat.Size, file)
}

func (p *Packer) lost(name, why string) {
	if p.Lost != nil {
		p.Lost(p.Prefix+name, why)
	}
}

// write writes one member. Content that is shorter than size by now is filled up with zeros.
func (p *Packer) write(n node, name string, size int64, content io.Reader) error {
	header := n.header()
	header.Name, header.Size = p.Prefix+name, size
	if err := p.To.WriteHeader(header); err != nil {
		return err
	}
	if content != nil {
		written, err := io.Copy(p.To, io.LimitReader(content, size))
		if err == nil {
			_, err = io.CopyN(p.To, zeros{}, size-written)
		}
		if err != nil {
			return err
		}
	}
	if p.Tick != nil {
		p.Tick(size)
	}
	return nil
}

// zeros reads as zeros without end.
type zeros struct{}

func (zeros) Read(buf []byte) (int, error) {
	clear(buf)
	return len(buf), nil
}

// header returns the header of a tar member with the node's attributes, without name and size.
func (n node) header() *tar.Header {
	h := &tar.Header{
		Mode: int64(n.mode & 0o7777), Uid: n.uid, Gid: n.gid, Linkname: n.target,
		Devmajor: int64(unix.Major(n.device)), Devminor: int64(unix.Minor(n.device)),
		ModTime: time.Unix(n.modified.Unix()), Format: tar.FormatPAX,
	}
	for flag, kind := range tarKinds {
		if kind == n.kind() && flag != tar.TypeGNUSparse {
			h.Typeflag = flag
		}
	}
	for name, value := range n.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[paxXattr+name] = value
	}
	return h
}
