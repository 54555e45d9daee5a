package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
	"pibootd/pkg/share"
)

// maxText bounds the cmdline.txt and config.txt that a root may have.
const maxText = 64 << 10

// Open implements tftp.Source. A board sees its own root's boot directory,
// with or without a directory named by its serial number or Ethernet address
// before it, and nothing else. An address that is no board's sees a board's
// files under that board's name: it is that board, with an address from its
// EEPROM. There is no secret in them, and the root itself is mounted from the
// registered address only, which the kernel asks for by DHCP.
func (p *Policy) Open(_ context.Context, client netip.Addr, name string) (io.ReadCloser, int64, error) {
	board, file, ok := p.ownerOf(client, name)
	if !ok {
		return nil, 0, fmt.Errorf("boot: %s is no registered board's address: %w", client, fs.ErrNotExist)
	}
	bootDir, err := p.openBootDir(board)
	if err != nil {
		return nil, 0, err
	}
	defer bootDir.Close()
	if file == name { // without a board's name before it
		file = withoutText(bootDir, file)
	}
	if isGenerated(bootDir, file) {
		return p.generate(bootDir, file, board)
	}
	return openRegular(bootDir, file)
}

// ownerOf returns whose file is asked for, and its name in that board's boot
// directory. Boot code puts the serial number before the names of its files, or
// its Ethernet address with TFTP_PREFIX=2. Another board's stays before the
// name, and is then not found.
func (p *Policy) ownerOf(client netip.Addr, name string) (board registry.Pi, file string, ok bool) {
	first, rest, inDir := strings.Cut(name, "/")
	named, isName := registry.Pi{}, false
	if inDir {
		named, isName = p.named(first)
	}
	board, ok = p.Registry.ByIP(client)
	switch {
	case isName && (!ok || named.Serial == board.Serial):
		return named, rest, true
	case ok:
		return board, name, true
	}
	return registry.Pi{}, "", false
}

// named returns the board whose serial number or address stands as dir.
func (p *Policy) named(dir string) (registry.Pi, bool) {
	if serial, err := pi.ParseSerial(dir); err == nil && strings.EqualFold(dir, serial.String()) {
		return p.Registry.BySerial(serial)
	}
	if mac, err := pi.ParseMAC(dir); err == nil && strings.EqualFold(dir, mac.Dashed()) {
		return p.Registry.ByMAC(mac)
	}
	return registry.Pi{}, false
}

// withoutText strips the directory that a board puts before its files with
// TFTP_PREFIX=1, a text of its owner's choice: one that is no directory of its
// boot directory, and no board's name either.
func withoutText(bootDir *os.Root, name string) string {
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
	if _, err := bootDir.Lstat(first); !errors.Is(err, fs.ErrNotExist) {
		return name
	}
	return rest
}

// bootDirs are where a root may keep its boot files, in the order of looking:
// Raspberry Pi OS has moved them in 2023.
var bootDirs = []string{"boot/firmware", "boot"}

// openBootDir opens the board's boot directory. It cannot be left by a link
// that the board made, neither by name nor by what the name leads to.
func (p *Policy) openBootDir(board registry.Pi) (*os.Root, error) {
	root, err := os.OpenRoot(p.Roots.Path(board.Serial))
	if err != nil {
		return nil, fmt.Errorf("boot: opening the root of %s: %w", board.Name, err)
	}
	defer root.Close()
	for _, dir := range bootDirs {
		if _, err := root.Stat(path.Join(dir, "config.txt")); err == nil {
			return root.OpenRoot(dir)
		}
	}
	for _, dir := range bootDirs {
		if bootDir, err := root.OpenRoot(dir); err == nil {
			return bootDir, nil
		}
	}
	return nil, fmt.Errorf("boot: the root of %s has no boot directory (%s): %w", board.Name, strings.Join(bootDirs, ", "), fs.ErrNotExist)
}

// isGenerated reports whether a file is one that pibootd makes. With os_prefix in
// config.txt, as Ubuntu has it, cmdline.txt is in another directory.
func isGenerated(bootDir *os.Root, name string) bool {
	if name == "config.txt" || name == "cmdline.txt" {
		return true
	}
	_, err := bootDir.Stat(name)
	return path.Base(name) == "cmdline.txt" && err == nil
}

func (p *Policy) generate(bootDir *os.Root, name string, board registry.Pi) (io.ReadCloser, int64, error) {
	base, err := readText(bootDir, name)
	if err != nil {
		return nil, 0, err
	}
	text := p.Server.ConfigTxt(base, board)
	if path.Base(name) == "cmdline.txt" {
		text = servedAt(time.Now(), p.Server.CommandLine(base, board))
	}
	return io.NopCloser(strings.NewReader(text)), int64(len(text)), nil
}

// readText reads a text file of the boot directory; one that does not exist is
// empty.
func readText(bootDir *os.Root, name string) (string, error) {
	file, size, err := openRegular(bootDir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	if size > maxText {
		return "", fmt.Errorf("boot: %s has %d bytes; want at most %d", name, size, maxText)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxText))
	if err != nil {
		return "", fmt.Errorf("boot: reading %s: %w", name, err)
	}
	return string(text), nil
}

// openRegular opens a regular file of dir; what else a board made there is not
// there.
func openRegular(dir *os.Root, name string) (io.ReadCloser, int64, error) {
	file, info, err := share.OpenRegular(dir, name)
	if err != nil {
		return nil, 0, fmt.Errorf("boot: %w", err)
	}
	return file, info.Size(), nil
}

// Preview returns the cmdline.txt and config.txt that the board would be
// served now.
func (p *Policy) Preview(board registry.Pi) (cmdline, config string, err error) {
	bootDir, err := p.openBootDir(board)
	if err != nil {
		return "", "", err
	}
	defer bootDir.Close()
	base, err := readText(bootDir, "cmdline.txt")
	if err != nil {
		return "", "", err
	}
	cmdline = servedAt(time.Now(), p.Server.CommandLine(base, board))
	if base, err = readText(bootDir, "config.txt"); err != nil {
		return "", "", err
	}
	return cmdline, p.Server.ConfigTxt(base, board), nil
}
