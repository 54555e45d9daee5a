package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// maxText bounds the cmdline.txt and config.txt that a root may have.
const maxText = bootconfig.MaxBytes

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
		file = t.withoutPrefix(file)
	}
	file = canonical(file)
	if file == bootconfig.AutoBootFile { // there is no partition to choose
		return nil, 0, fmt.Errorf("boot: %s is not served, because it would choose a partition: %w", file, fs.ErrNotExist)
	}
	if t.isGenerated(file) {
		return p.generate(t, file, board)
	}
	return t.content(file)
}

// withoutPrefix strips the directory that a board puts before its files with
// TFTP_PREFIX=1, a text of its owner's choice: one that is no directory of its
// boot directory, and no board's name either.
func (t *tree) withoutPrefix(name string) string {
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

// canonical returns the name of a file that pibootd treats in a way of its own in
// lower case.
func canonical(name string) string {
	for _, known := range []string{bootconfig.File, bootconfig.TryBootFile, bootconfig.AutoBootFile, commandLineFile} {
		if dir, base := path.Split(name); strings.EqualFold(base, known) && (dir == "" || known == commandLineFile) {
			return dir + known
		}
	}
	return name
}

// commandLineFile is the name of the file with the kernel arguments, after os_prefix.
const commandLineFile = "cmdline.txt"

// isGenerated reports whether a file is one that pibootd makes. With os_prefix in
// config.txt, as Ubuntu has it, cmdline.txt has another name.
func (t *tree) isGenerated(name string) bool {
	switch name {
	case bootconfig.File, commandLineFile:
		return true
	case bootconfig.TryBootFile: // without it, the board reads config.txt
		return t.has(name)
	}
	prefix, ok := strings.CutSuffix(name, commandLineFile)
	return ok && (path.Base(name) == commandLineFile && t.has(name) || t.isPrefix(prefix))
}

// isPrefix reports whether the root's config.txt has an os_prefix, for any board.
func (t *tree) isPrefix(prefix string) bool {
	for _, file := range []string{bootconfig.File, bootconfig.TryBootFile} {
		text, err := t.include(file)
		if err == nil && slices.Contains(bootconfig.Values(text, "os_prefix", t.include), prefix) {
			return true
		}
	}
	return false
}

// include implements bootconfig.Include.
func (t *tree) include(name string) ([]byte, error) {
	text, err := t.text(name)
	return []byte(text), err
}

func (p *Policy) generate(t *tree, name string, board registry.Pi) (io.ReadCloser, int64, error) {
	text, err := p.generated(t, name, board)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

// generated makes a file of which isGenerated is true. A file of kernel arguments that
// the root lacks where os_prefix has it is made of its cmdline.txt.
func (p *Policy) generated(t *tree, name string, board registry.Pi) (string, error) {
	isConfig := name == bootconfig.File || name == bootconfig.TryBootFile
	if !isConfig && !t.has(name) {
		name = commandLineFile
	}
	base, err := t.text(name)
	if err != nil {
		return "", err
	}
	if isConfig {
		return p.Server.ConfigTxt(base, t.include, board), nil
	}
	return servedAt(time.Now(), p.Server.CommandLine(base, board, p.hasInitramfs(t, board))), nil
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

// A Preview is what boot code would read of a board's generated files.
type Preview struct {
	CommandLineFile string // its name, with os_prefix
	CommandLine     string
	Config          string
}

// Preview returns the generated files that the board would be served now.
func (p *Policy) Preview(board registry.Pi) (Preview, error) {
	t, err := p.openTree(board)
	if err != nil {
		return Preview{}, err
	}
	defer t.close()
	config, err := p.generated(t, bootconfig.File, board)
	if err != nil {
		return Preview{}, err
	}
	file := p.loads(t, board).Names.Cmdline
	cmdline, err := p.generated(t, file, board)
	return Preview{CommandLineFile: file, CommandLine: cmdline, Config: config}, err
}

// Loads returns what the board would load now, as far as its model is known.
func (p *Policy) Loads(board registry.Pi) (bootconfig.Load, error) { return p.LoadsAs(board) }

// LoadsAs is like Loads for a board that is one of these models; none: whichever it can be.
func (p *Policy) LoadsAs(board registry.Pi, models ...bootconfig.Model) (bootconfig.Load, error) {
	if len(models) == 0 {
		models = bootconfig.ModelsAt(board.MAC)
	}
	t, err := p.openTree(board)
	if err != nil {
		return bootconfig.Load{}, err
	}
	defer t.close()
	return p.dir(t, board).Closest(models, board.Serial), nil
}

// hasInitramfs reports whether the board loads an initramfs, whichever it is of the models
// that can boot.
func (p *Policy) hasInitramfs(t *tree, board registry.Pi) bool {
	dir := p.dir(t, board)
	with, without := false, false
	for _, model := range bootconfig.ModelsAt(board.MAC) {
		names := dir.Load(bootconfig.Board{Model: model, Serial: board.Serial})
		switch {
		case len(names.Missing(t.has)) > 0:
		case slices.ContainsFunc(names.Initramfs, t.has):
			with = true
		default:
			without = true
		}
	}
	return with && !without
}

func (p *Policy) loads(t *tree, board registry.Pi) bootconfig.Load {
	return p.dir(t, board).Closest(bootconfig.ModelsAt(board.MAC), board.Serial)
}

// dir is the boot directory with the files that pibootd makes.
func (p *Policy) dir(t *tree, board registry.Pi) bootconfig.Dir {
	text := func(name string) ([]byte, error) {
		// Nothing else: an include of cmdline.txt, which depends on what is loaded, would
		// never end.
		if name == bootconfig.File || name == bootconfig.TryBootFile {
			text, err := p.generated(t, name, board)
			return []byte(text), err
		}
		return t.include(name)
	}
	return bootconfig.Dir{Text: text, Has: t.has}
}

// TakesRamdisk reports whether the board would load all its files from boot.img, of
// which pibootd makes none.
func (p *Policy) TakesRamdisk(board registry.Pi) (bool, error) {
	t, err := p.openTree(board)
	if err != nil {
		return false, err
	}
	defer t.close()
	return p.dir(t, board).Ramdisk(bootconfig.ModelsAt(board.MAC), board.Serial), nil
}
