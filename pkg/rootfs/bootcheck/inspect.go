package bootcheck

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
)

// ErrNotRoot reports that a directory is not a root file system.
var ErrNotRoot = errors.New("not a root file system: it has neither sbin/init nor usr/lib/systemd")

// A System is the operating system in a root.
type System struct {
	Arch    pi.Arch
	OS      string   // PRETTY_NAME of its os-release
	Kernels []string // versions under lib/modules
	BootDir string   // relative to the root; "" if it has no boot files
}

// Inspect finds out which system root holds. The error matches ErrNotRoot if it
// holds none.
func Inspect(root *os.Root) (System, error) {
	if !IsRoot(root) {
		return System{}, ErrNotRoot
	}
	release, err := readRelease(root)
	if err != nil {
		return System{}, err
	}
	arch, err := readArch(root)
	if err != nil {
		return System{}, err
	}
	if arch == pi.ARMv7 && release["ID"] == "raspbian" {
		arch = pi.ARMv6 // Raspbian's armhf runs on every Pi, Debian's from the Pi 2 on
	}
	return System{
		Arch:    arch,
		OS:      osName(release),
		Kernels: kernels(root),
		BootDir: BootDir(root),
	}, nil
}

// IsRoot reports whether root has an init.
func IsRoot(root *os.Root) bool {
	for _, name := range []string{"sbin/init", "usr/sbin/init", "usr/lib/systemd/systemd", "lib/systemd/systemd"} {
		if confine.Exists(root, name) {
			return true
		}
	}
	return false
}

// UsesSystemd reports whether the init of root is systemd.
func UsesSystemd(root *os.Root) bool {
	for _, name := range []string{"usr/lib/systemd/systemd", "lib/systemd/systemd"} {
		if confine.Exists(root, name) {
			return true
		}
	}
	return false
}

// UsesOpenRC reports whether OpenRC starts the services of root, as on Alpine.
func UsesOpenRC(root *os.Root) bool {
	return confine.Exists(root, "sbin/openrc-run") || confine.Exists(root, "usr/sbin/openrc-run")
}

// readRelease reads os-release(5). A root without it has no fields.
func readRelease(root *os.Root) (map[string]string, error) {
	text, err := confine.ReadText(root, "etc/os-release")
	if errors.Is(err, fs.ErrNotExist) {
		text, err = confine.ReadText(root, "usr/lib/os-release")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseRelease(text), nil
}

func parseRelease(text []byte) map[string]string {
	fields := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			fields[key] = strings.ToValidUTF8(strings.Trim(value, `"'`), "?")
		}
	}
	return fields
}

func osName(release map[string]string) string {
	if name := release["PRETTY_NAME"]; name != "" {
		return name
	}
	return "unknown"
}

// readArch reads the architecture from the header of a program.
func readArch(root *os.Root) (pi.Arch, error) {
	for _, name := range []string{"bin/sh", "bin/busybox", "usr/bin/dash", "usr/bin/bash", "usr/lib/systemd/systemd", "lib/systemd/systemd", "sbin/init"} {
		arch, err := programArch(root, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("architecture by %s: %w", name, err)
		}
		return arch, nil
	}
	return "", errors.New("cannot tell the architecture: the root has no bin/sh")
}

func programArch(root *os.Root, name string) (pi.Arch, error) {
	file, _, err := confine.OpenRegular(root, name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	header := make([]byte, elfHeaderBytes)
	if _, err := io.ReadFull(bufio.NewReader(file), header); err != nil {
		return "", fmt.Errorf("reading its ELF header: %w", err)
	}
	return elfArch(header)
}

// Offsets and values of the ELF header (elf(5)). elfFlagsAt is for 32-bit programs.
const (
	elfHeaderBytes = 52
	elfMachineAt   = 18
	elfFlagsAt     = 36
	elfLittle      = 1

	elfARM       = 40
	elfX8664     = 62
	elfAArch64   = 183
	elfHardFloat = 0x400
)

func elfArch(header []byte) (pi.Arch, error) {
	const dataAt = 5
	if len(header) < elfHeaderBytes || !bytes.HasPrefix(header, []byte("\x7fELF")) || header[dataAt] != elfLittle {
		return "", errors.New("not a little-endian ELF program")
	}
	switch machine := binary.LittleEndian.Uint16(header[elfMachineAt:]); machine {
	case elfAArch64:
		return pi.ARM64, nil
	case elfX8664:
		return pi.AMD64, nil
	case elfARM:
		if binary.LittleEndian.Uint32(header[elfFlagsAt:])&elfHardFloat == 0 {
			return "", errors.New("it is for ARM without floating point (armel); want arm64 or armhf")
		}
		return pi.ARMv7, nil
	default:
		return "", fmt.Errorf("it is for ELF machine %d; want arm64 (%d), armhf (%d) or amd64 (%d)", machine, elfAArch64, elfARM, elfX8664)
	}
}

// kernels returns the versions of the kernels that root has modules for.
func kernels(root *os.Root) []string {
	versions := []string{}
	entries, err := confine.ReadDir(root, "lib/modules")
	if err != nil {
		return versions
	}
	for _, entry := range entries {
		if entry.IsDir() {
			versions = append(versions, entry.Name())
		}
	}
	slices.Sort(versions)
	return versions
}

// BootDir returns the directory that the firmware boots from: boot/firmware since
// Debian 12 and on Ubuntu, boot before. It returns "" if neither has boot files.
func BootDir(root *os.Root) string {
	for _, dir := range []string{"boot/firmware", "boot"} {
		entries, err := confine.ReadDir(root, dir)
		if err == nil && slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return IsBootFile(entry.Name()) }) {
			return dir
		}
	}
	return ""
}

// IsBootFile reports whether only a boot directory has a file of this name.
func IsBootFile(name string) bool {
	return confine.MatchesAny(strings.ToLower(name), []string{"kernel*.img", "start*.elf", "config.txt"})
}
