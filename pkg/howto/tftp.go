package howto

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"pibootd/pkg/bootconfig"
	"pibootd/pkg/config"
	"pibootd/pkg/pi"
	"pibootd/pkg/registry"
)

// A Directory is a board's directory in the TFTP server's.
type Directory struct {
	Serial   pi.Serial
	NFSRoot  string // the path of nfsroot= in its cmdline.txt
	Settings registry.Settings
	Odd      []string // a sentence for each thing that is not taken over
}

// Limits of a TFTP directory.
const (
	maxBoards    = 1024
	maxCmdline   = 4 << 10   // bytes, more than a kernel accepts
	maxConfigTxt = 64 << 10  // bytes
	maxBootFile  = 256 << 20 // bytes of a file that is compared
)

// serialDir matches the directories that boot ROMs ask for.
var serialDir = regexp.MustCompile(`^[0-9a-f]{8}$`)

// ReadTFTP reads the boards' directories of a TFTP server: <serial>/cmdline.txt and
// <serial>/config.txt. Symbolic links out of top are errors.
func ReadTFTP(top *os.Root) ([]Directory, error) {
	entries, err := fs.ReadDir(top.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("howto: %w", err)
	}
	var list []Directory
	for _, entry := range entries {
		serial, err := pi.ParseSerial(entry.Name())
		if err != nil || !serialDir.MatchString(entry.Name()) {
			continue
		}
		if info, err := top.Stat(entry.Name()); err != nil || !info.IsDir() {
			continue
		}
		if len(list) == maxBoards {
			return nil, fmt.Errorf("howto: %s has more than %d boards' directories", top.Name(), maxBoards)
		}
		list = append(list, readBoard(top, entry.Name(), serial))
	}
	return list, nil
}

func readBoard(top *os.Root, dir string, serial pi.Serial) Directory {
	d := Directory{Serial: serial}
	cmdline, err := readFile(top, path.Join(dir, "cmdline.txt"), maxCmdline)
	if err != nil {
		d.Odd = append(d.Odd, fmt.Sprintf("its cmdline.txt cannot be read (%v), so its root is not known", err))
	}
	d.setArgs(string(cmdline))
	configTxt, err := readFile(top, path.Join(dir, "config.txt"), maxConfigTxt)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Odd = append(d.Odd, fmt.Sprintf("its config.txt cannot be read: %v", err))
	}
	d.setConfig(string(configTxt))
	return d
}

// setArgs takes the kernel's arguments over, except for those that pibootd writes.
func (d *Directory) setArgs(cmdline string) {
	for _, arg := range strings.Fields(bootconfig.CommandLine(cmdline)) {
		key, value, _ := strings.Cut(arg, "=")
		switch {
		case key == "nfsroot":
			d.NFSRoot = nfsPath(value)
		case key == "muxid":
			var err error
			if d.Settings.MuxID, err = strconv.Atoi(value); err != nil {
				d.Settings.MuxID = 0
				d.Odd = append(d.Odd, fmt.Sprintf("kernel argument %.60q is no muxer's number", arg))
			}
		case key == "muxhwdec":
			d.Settings.HWDecode = value == "1"
		case slices.Contains(config.OwnArgs, key):
		case config.CheckArg(arg) != nil:
			d.Odd = append(d.Odd, fmt.Sprintf("kernel argument %.60q is not taken over: %v", arg, config.CheckArg(arg)))
		default:
			d.Settings.Args = append(d.Settings.Args, arg)
		}
	}
}

// nfsPath returns the path in an nfsroot=, [server:]path[,options].
func nfsPath(value string) string {
	value, _, _ = strings.Cut(value, ",")
	if server, dir, found := strings.Cut(value, ":"); found && !strings.Contains(server, "/") {
		return dir
	}
	return value
}

// setConfig takes the settings of a config.txt over that are for all boards.
func (d *Directory) setConfig(text string) {
	section := "[all]"
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, "=")
		memory, err := strconv.Atoi(value)
		switch {
		case line == "":
		case strings.HasPrefix(line, "["):
			section = line
		case section != "[all]":
			d.Odd = append(d.Odd, fmt.Sprintf("the line %.60q of its config.txt is for %.20s alone and not taken over", line, section))
		case key == "gpu_mem" && err == nil:
			d.Settings.GPUMem = memory
		case registry.CheckConfigLine(line) != nil:
			d.Odd = append(d.Odd, fmt.Sprintf("the line %.60q of its config.txt is not taken over: %v", line, registry.CheckConfigLine(line)))
		default:
			d.Settings.Config = append(d.Settings.Config, line)
		}
	}
}

// without removes what the root's own boot directory has already, because a
// board's settings are added to that.
func (d *Directory) without(boot *os.Root) {
	if text, err := readFile(boot, "cmdline.txt", maxCmdline); err == nil {
		have := strings.Fields(bootconfig.CommandLine(string(text)))
		d.Settings.Args = slices.DeleteFunc(d.Settings.Args, func(arg string) bool { return slices.Contains(have, arg) })
	}
	if text, err := readFile(boot, "config.txt", maxConfigTxt); err == nil {
		own := Directory{}
		own.setConfig(string(text))
		d.Settings.Config = slices.DeleteFunc(d.Settings.Config, func(line string) bool { return slices.Contains(own.Settings.Config, line) })
	}
}

// bootFiles match what firmware and kernel are made of.
var bootFiles = []string{"bootcode.bin", "start*.elf", "fixup*.dat", "kernel*.img", "bcm*.dtb", "initrd*", "initramfs*"}

// differences lists the boot files of a board's TFTP directory that its root's
// boot directory has not, or has otherwise.
func differences(top *os.Root, dir string, boot *os.Root) ([]string, error) {
	entries, err := fs.ReadDir(top.FS(), dir)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, entry := range entries {
		name := entry.Name()
		if !slices.ContainsFunc(bootFiles, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			continue
		}
		served, err := digest(top, path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if own, err := digest(boot, name); err != nil || own != served {
			list = append(list, name)
		}
	}
	return list, nil
}

func digest(in *os.Root, name string) (sum [sha256.Size]byte, err error) {
	file, err := in.Open(name)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(file, maxBootFile)); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// readFile reads a regular file of at most max bytes.
func readFile(in *os.Root, name string, max int64) ([]byte, error) {
	if info, err := in.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	file, err := in.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var text bytes.Buffer
	if n, err := io.Copy(&text, io.LimitReader(file, max+1)); err != nil {
		return nil, err
	} else if n > max {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, max)
	}
	return text.Bytes(), nil
}
