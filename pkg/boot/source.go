package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// maxText bounds the cmdline.txt and config.txt that a root may have.
const maxText = 64 << 10

// Open implements tftp.Source. A board sees its own root's boot directory,
// with or without a directory named by its serial number or Ethernet address
// before it, and nothing else; other clients see nothing, see ownerOf.
// Files that may contain a password or a key are served to nobody.
func (p *Policy) Open(ctx context.Context, client netip.Addr, name string) (io.ReadCloser, int64, error) {
	board, file, ok := p.ownerOf(ctx, client, name)
	if !ok {
		return nil, 0, fmt.Errorf("boot: %s is no address of the board whose file it wants: %w", client, fs.ErrNotExist)
	}
	t, err := p.openTree(board)
	if err != nil {
		return nil, 0, err
	}
	defer t.close()
	if file == name { // without a board's name before it
		file = t.withoutText(file)
	}
	if t.isGenerated(file) {
		return p.generate(t, file, board)
	}
	return t.content(file)
}

// withoutText strips the directory that a board puts before its files with
// TFTP_PREFIX=1, a text of its owner's choice: one that is no directory of its
// boot directory, and no board's name either.
func (t *tree) withoutText(name string) string {
	first, rest, inDir := strings.Cut(name, "/")
	if !inDir {
		return name
	}
	if _, err := pi.ParseSerial(first); err == nil {
		return name
	}
	if _, err := pi.ParseMAC(first); err == nil {
		return name
	}
	if t.has(first) {
		return name
	}
	return rest
}

// isGenerated reports whether a file is one that pibootd makes. With os_prefix in
// config.txt, as Ubuntu has it, cmdline.txt is in another directory.
func (t *tree) isGenerated(name string) bool {
	if name == "config.txt" || name == "cmdline.txt" {
		return true
	}
	return path.Base(name) == "cmdline.txt" && t.has(name)
}

func (p *Policy) generate(t *tree, name string, board registry.Pi) (io.ReadCloser, int64, error) {
	base, err := t.text(name)
	if err != nil {
		return nil, 0, err
	}
	text := p.Server.ConfigTxt(base, board)
	if path.Base(name) == "cmdline.txt" {
		text = servedAt(time.Now(), p.Server.CommandLine(base, board))
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

// text reads a text file of the boot directory; one that does not exist is
// empty.
func (t *tree) text(name string) (string, error) {
	file, info, err := t.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	if size := info.Size(); size > maxText {
		return "", fmt.Errorf("boot: %s has %d bytes; want at most %d", name, size, maxText)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxText))
	if err != nil {
		return "", fmt.Errorf("boot: reading %s: %w", name, err)
	}
	return string(text), nil
}

// content opens a file of the boot directory, and returns its size.
func (t *tree) content(name string) (io.ReadCloser, int64, error) {
	file, info, err := t.open(name)
	if err != nil {
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// Preview returns the cmdline.txt and config.txt that the board would be
// served now.
func (p *Policy) Preview(board registry.Pi) (cmdline, config string, err error) {
	t, err := p.openTree(board)
	if err != nil {
		return "", "", err
	}
	defer t.close()
	base, err := t.text("cmdline.txt")
	if err != nil {
		return "", "", err
	}
	cmdline = servedAt(time.Now(), p.Server.CommandLine(base, board))
	if base, err = t.text("config.txt"); err != nil {
		return "", "", err
	}
	return cmdline, p.Server.ConfigTxt(base, board), nil
}
