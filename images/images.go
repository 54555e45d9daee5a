// Package images holds what pibootd puts into a Pi's root, embedded in the binary: the worker for
// each architecture, the unit that starts it under systemd, and the recipes of the minimal and the
// Debian template. It also has the paths of these files in a root.
package images

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"pibootd/pkg/pi"
)

// The pattern stands for README and *.gz: one that named *.gz alone would match
// nothing in a fresh clone, and *.gz.new is what make is still writing.
//
//go:embed worker/*[Ez]
var workers embed.FS

//go:embed overlay openrc minimal initramfs debian volatile
var recipes embed.FS

// Paths in a root of the worker and of what belongs to it.
const (
	WorkerFile       = "usr/lib/pibootd/pibootd-worker"
	WorkerConfigFile = "etc/pibootd/worker.json"
	// FormerWorkerFile is the name that the previous worker keeps after an update. A board that
	// runs it reads it page by page and would fail if the file were deleted.
	FormerWorkerFile = "usr/lib/pibootd/.pibootd-worker.former"
	// WorkerUnit is in Overlay. The symbolic link WorkerUnitLink makes systemd start it.
	WorkerUnit     = "etc/systemd/system/pibootd-worker.service"
	WorkerUnitLink = "etc/systemd/system/multi-user.target.wants/pibootd-worker.service"
)

// maxWorkerBytes is far above what a worker binary takes.
const maxWorkerBytes = 256 << 20

// Worker returns the worker binary for arch. A pibootd that was built by a
// plain go build carries none; the error then says how to build one that does.
func Worker(arch pi.Arch) ([]byte, error) {
	name := fmt.Sprintf("worker/pibootd-worker-%s.gz", arch)
	packed, err := workers.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("images: this pibootd carries no worker for %q; build it with: make build", arch)
	}
	if err != nil {
		return nil, fmt.Errorf("images: reading %s: %w", name, err)
	}
	worker, err := unpack(packed)
	if err != nil {
		return nil, fmt.Errorf("images: unpacking %s: %w; build again with: make build", name, err)
	}
	return worker, nil
}

func unpack(packed []byte) ([]byte, error) {
	unzip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(unzip, maxWorkerBytes+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxWorkerBytes {
		return nil, fmt.Errorf("got more than %d bytes", maxWorkerBytes)
	}
	return out, nil
}

// Overlay returns what is laid over every systemd root; names are relative to
// the root.
func Overlay() fs.FS { return sub("overlay") }

// OpenRC returns what is laid over every root whose init is OpenRC; names are relative to the
// root.
func OpenRC() fs.FS { return sub("openrc") }

// The service that starts the worker under OpenRC, and the link that enables it.
const (
	WorkerService     = "etc/init.d/pibootd-worker"
	WorkerServiceLink = "etc/runlevels/default/pibootd-worker"
)

// Minimal returns the files of the minimal template's root, as they are named
// in it, under "root", its boot directory's under "boot", and beside those the lists
// applets, modules, packages and drop, which List reads.
func Minimal() fs.FS { return sub("minimal") }

// Debian returns the recipe of the full template: the hooks that mmdebstrap(1)
// calls, the files of its root, as they are named in it, under "root", dpkg's
// settings and the list of packages, which DebianPackages reads.
func Debian() fs.FS { return sub("debian") }

// DebianPackages returns the names of the full template's packages.
func DebianPackages() ([]string, error) { return list("debian/packages") }

// Initramfs returns the scripts of the initramfs that mounts a root over NFS,
// as they are named in it. All of them are executable.
func Initramfs() fs.FS { return sub("initramfs") }

// VolatileInitFile is where VolatileInit's script is in a root.
const VolatileInitFile = "usr/lib/pibootd/volatile-init"

// VolatileInit returns the program that is started before a root's own init
// where what the board changes is to stay in its memory.
func VolatileInit() ([]byte, error) {
	text, err := fs.ReadFile(recipes, "volatile/"+VolatileInitFile)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	return text, nil
}

// sub returns an embedded directory.
func sub(dir string) fs.FS {
	tree, err := fs.Sub(recipes, dir)
	if err != nil {
		// Sub refuses only names that are not valid paths.
		return embed.FS{}
	}
	return tree
}

// List returns the entries of one of Minimal's lists. An entry is a line's
// text; empty lines and those that begin with # are left out.
func List(name string) ([]string, error) { return list("minimal/" + name) }

func list(name string) ([]string, error) {
	text, err := fs.ReadFile(recipes, name)
	if err != nil {
		return nil, fmt.Errorf("images: list %q: %w", name, err)
	}
	var entries []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			entries = append(entries, line)
		}
	}
	return entries, nil
}
