//go:build linux

package virtualpi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

const (
	// maxBoot limits the total size of all files of a boot.
	maxBoot = 768 << 20
	// maxConfig limits config.txt, which rarely has more than a few kilobytes.
	maxConfig = 64 << 10
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
	if err := l.fetch(ctx, l.model.firmware, l.model.tftp); err != nil {
		return err
	}
	text := l.have[configFile]
	if len(text) > maxConfig {
		return fmt.Errorf("%s has %d bytes; want at most %d", l.boot.Prefix+configFile, len(text), maxConfig)
	}
	l.boot.Config = string(text)
	if err := l.findNames(ctx, parseConfig(text, l.model, l.board.Serial)); err != nil {
		return err
	}
	if err := l.fetch(ctx, l.model.load(l.names), l.model.tftp); err != nil {
		return err
	}
	return l.finish()
}

// findPrefix decides whether the board requests all further files below its serial number, which
// it does only if there is a start file.
func (l *loader) findPrefix(ctx context.Context) error {
	l.boot.Prefix = l.board.Serial.String() + "/"
	there, err := l.probeAny(ctx, l.model.starters)
	if there == "" {
		l.boot.Prefix = ""
	}
	return err
}

// findNames probes for files to choose the names that config.txt does not set.
func (l *loader) findNames(ctx context.Context, c config) error {
	osPrefix, err := l.viable(ctx, c)
	if err != nil {
		return err
	}
	overlayPrefix := c.overlayPrefix
	if osPrefix != "" {
		readme, err := l.probeAny(ctx, []string{osPrefix + overlayPrefix + "README"})
		if err != nil {
			return err
		}
		if readme != "" {
			overlayPrefix = osPrefix + overlayPrefix
		}
	}
	kernels := c.kernels(l.model)
	kernel := kernels[len(kernels)-1]
	for _, name := range kernels[:len(kernels)-1] {
		there, err := l.probeAny(ctx, []string{withPrefix(osPrefix, name)})
		if err != nil {
			return err
		}
		if there != "" {
			kernel = name
			break
		}
	}
	l.names = c.names(l.model, kernel, osPrefix, overlayPrefix)
	return nil
}

// viable returns c's os_prefix, or "" if there is no kernel or no device tree below it.
func (l *loader) viable(ctx context.Context, c config) (string, error) {
	if c.osPrefix == "" {
		return "", nil
	}
	for _, candidates := range [][]string{c.kernels(l.model), c.dtbs(l.model)} {
		var prefixed []string
		for _, name := range candidates {
			prefixed = append(prefixed, withPrefix(c.osPrefix, name))
		}
		there, err := l.probeAny(ctx, prefixed)
		if there == "" {
			return "", err
		}
	}
	return c.osPrefix, nil
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
	l.boot.Kernel = l.have[l.names.kernel]
	for _, name := range l.names.initramfs {
		l.boot.Initramfs = append(l.boot.Initramfs, l.have[name]...)
	}
	for _, name := range l.names.dtbs {
		if data, ok := l.have[name]; ok {
			l.boot.DeviceTree = data
			break
		}
	}
	l.boot.Cmdline = kernelCmdline(l.have[l.names.cmdline])
	if n := len(l.boot.Cmdline); n > maxCmdline {
		return fmt.Errorf("the first line of %s has %d bytes; a kernel takes at most %d", l.boot.Prefix+l.names.cmdline, n, maxCmdline)
	}
	return nil
}
