//go:build linux

package virtualpi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"pibootd/pkg/bootconfig"
)

const (
	configFile = bootconfig.File
	// maxBoot limits the total size of all files of a boot.
	maxBoot = 768 << 20
	// maxCmdline is an arm64 kernel's COMMAND_LINE_SIZE less its NUL.
	maxCmdline = 2047
)

// A loader fetches what a board loads, in the board's order.
type loader struct {
	board *Board
	model profile
	tftp  *tftpClient
	boot  *Boot
	total int64             // bytes transferred
	have  map[string][]byte // the last transfer of each file, by name without prefix
	names names             // known after reading config.txt
}

func (l *loader) run(ctx context.Context) error {
	if err := l.fetch(ctx, l.model.rom, options{}); err != nil {
		return err
	}
	if err := l.findPrefix(ctx); err != nil {
		return err
	}
	if err := l.fetchFirmware(ctx); err != nil {
		return err
	}
	text := l.have[configFile]
	if len(text) > bootconfig.MaxBytes {
		return fmt.Errorf("%s has %d bytes; want at most %d", l.boot.Prefix+configFile, len(text), bootconfig.MaxBytes)
	}
	l.boot.Config = string(text)
	if err := l.findNames(ctx, l.readConfig(l.include(ctx))); err != nil {
		return err
	}
	if err := l.fetch(ctx, l.model.load(l.names), l.model.tftp); err != nil {
		return err
	}
	return l.finish()
}

// fetchFirmware executes the requests up to config.txt's last.
func (l *loader) fetchFirmware(ctx context.Context) error {
	for _, a := range l.model.firmware {
		if err := l.fetch(ctx, []ask{l.chosen(a)}, l.model.tftp); err != nil {
			return err
		}
	}
	return nil
}

// chosen replaces the usual start file and its second half by those that config.txt chooses, as
// far as it has been read. The boot code that does this does not read included files.
func (l *loader) chosen(a ask) ask {
	usual, usualFixup := bootconfig.Read(bootconfig.Board{Model: l.board.Model}, nil, nil).Start()
	start, fixup := l.readConfig(nil).Start()
	switch a.names[0] {
	case usual:
		a.names = []string{start}
	case usualFixup:
		a.names = []string{fixup}
	}
	return a
}

// findPrefix decides whether the board requests all further files below its prefix, which it does
// only if there is a start file.
func (l *loader) findPrefix(ctx context.Context) error {
	l.boot.Prefix = cmp.Or(l.board.Prefix, l.board.Serial.String()+"/")
	there, err := l.probeAny(ctx, l.model.starters)
	if there == "" {
		l.boot.Prefix = ""
	}
	return err
}

// readConfig reads config.txt as the board's firmware does, and what it includes.
func (l *loader) readConfig(include bootconfig.Include) bootconfig.Config {
	return bootconfig.Read(bootconfig.Board{Model: l.board.Model, Serial: l.board.Serial}, l.have[configFile], include)
}

// include fetches a file that config.txt includes. One that does not exist is none.
func (l *loader) include(ctx context.Context) bootconfig.Include {
	return func(name string) ([]byte, error) {
		err := l.get(ctx, name, l.model.tftp)
		return l.have[name], err
	}
}

// findNames probes for files to choose the names that config.txt does not set.
func (l *loader) findNames(ctx context.Context, c bootconfig.Config) error {
	found, err := c.Names(func(name string) (bool, error) {
		there, err := l.probeAny(ctx, []string{name})
		return there != "", err
	})
	l.names = names(found)
	return err
}

// fetch executes a list of requests.
func (l *loader) fetch(ctx context.Context, asks []ask, o options) error {
	for _, a := range asks {
		found := false
		for _, name := range a.names {
			err := l.ask(ctx, name, a.how, o)
			if err == nil {
				found = true
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("loading %s from %s: %w", l.boot.Prefix+name, l.boot.TFTP, err)
			}
		}
		if a.needed && !found {
			return fmt.Errorf("a Raspberry Pi %s does not boot without %s: %w on %s", l.board.Model,
				l.boot.Prefix+strings.Join(a.names, " or "+l.boot.Prefix), fs.ErrNotExist, l.boot.TFTP)
		}
	}
	return nil
}

func (l *loader) ask(ctx context.Context, name string, how manner, o options) error {
	if how != once {
		if err := l.probe(ctx, name); err != nil || how == sized {
			return err
		}
	}
	return l.get(ctx, name, o)
}

// probeAny returns the first of names that exists, or "".
func (l *loader) probeAny(ctx context.Context, names []string) (string, error) {
	for _, name := range names {
		err := l.probe(ctx, name)
		if err == nil {
			return name, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("looking for %s on %s: %w", l.boot.Prefix+name, l.boot.TFTP, err)
		}
	}
	return "", nil
}

func (l *loader) probe(ctx context.Context, name string) error {
	start := time.Now()
	size, err := l.tftp.probe(ctx, l.boot.Prefix+name, l.model.tftp)
	l.report(Probe, name, size, start, err)
	return err
}

func (l *loader) get(ctx context.Context, name string, o options) error {
	start := time.Now()
	data, err := l.tftp.get(ctx, l.boot.Prefix+name, o, min(maxFile, maxBoot-l.total))
	l.report(Fetched, name, int64(len(data)), start, err)
	if err != nil {
		return err
	}
	l.total += int64(len(data))
	l.have[name] = data
	l.boot.Files = append(l.boot.Files, File{Name: l.boot.Prefix + name, Bytes: int64(len(data)), SHA256: sha256.Sum256(data)})
	return nil
}

func (l *loader) report(step, name string, size int64, start time.Time, err error) {
	s := Step{Name: step, File: l.boot.Prefix + name, Bytes: size, Took: time.Since(start)}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Name, s.Detail = Missing, err.Error()
	case err != nil:
		return // ends the boot, which returns the error
	}
	l.board.step(s)
}

// finish copies what was loaded into the Boot.
func (l *loader) finish() error {
	l.boot.Kernel = l.have[l.names.Kernel]
	for _, name := range l.names.Initramfs {
		l.boot.Initramfs = append(l.boot.Initramfs, l.have[name]...)
	}
	for _, name := range l.names.DeviceTrees {
		if data, ok := l.have[name]; ok {
			l.boot.DeviceTree = data
			break
		}
	}
	l.boot.Cmdline = kernelCmdline(l.have[l.names.Cmdline])
	if n := len(l.boot.Cmdline); n > maxCmdline {
		return fmt.Errorf("the first line of %s has %d bytes; a kernel takes at most %d", l.boot.Prefix+l.names.Cmdline, n, maxCmdline)
	}
	return nil
}

// kernelCmdline returns the command line that the firmware makes from cmdline.txt: its first
// line, with serial0 replaced by the name of the board's first serial port, which is ttyAMA0 on
// QEMU's machine.
func kernelCmdline(text []byte) string {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	return strings.ReplaceAll(strings.TrimSpace(string(line)), "console=serial0", "console=ttyAMA0")
}
