// Package debian builds root file systems from Debian packages: a minimal one whose
// packages are only unpacked, and a full one whose packages are installed, by QEMU
// where this machine cannot run them.
package debian

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/progress"
	"pibootd/pkg/rootfs/sshkeys"
	"pibootd/pkg/rootfs/stage"
)

// Options says what a Debian template is made from, and for what. The
// zero value is Debian 12 for 64-bit boards.
type Options struct {
	BuildOptions
	Arch           pi.Arch  // arm64, or armv7, Debian's armhf; "" means arm64
	Packages       []string // beside the recipe's
	AuthorizedKeys string   // lines for root's authorized_keys (sshd(8)); "" adds none
}

// Build installs a Debian root file system in tree, which is below the
// staging directory, and leaves floor bytes of its file system free.
func Build(ctx context.Context, o Options, staging *stage.Dir, tree string, floor int64, p progress.Func) error {
	d := &debian{options: o, stage: staging, tree: tree, progress: p, floor: floor}
	return d.build(ctx)
}

func (o *Options) Complete() error {
	if o.Arch == "" {
		o.Arch = pi.ARM64
	}
	if _, ok := debianArches()[o.Arch]; !ok {
		return fmt.Errorf("rootfs: a Debian template for %s; want arm64 or armhf", o.Arch)
	}
	for _, name := range o.Packages {
		if !packageWord.MatchString(name) {
			return fmt.Errorf("rootfs: %q cannot name a Debian package; want e.g. htop", name)
		}
	}
	return errors.Join(o.BuildOptions.Complete(), sshkeys.CheckAuthorized(o.AuthorizedKeys))
}

// A debianArch is an architecture as Debian has it.
type debianArch struct {
	name, kernel string
	emulator     string // that runs its programs elsewhere
	magic        string // of its programs, the first bytes of an ELF file, for binfmt_misc
}

func debianArches() map[pi.Arch]debianArch {
	// Little-endian ELF, either a program or a shared object, as which most
	// programs are linked; class and machine tell the architectures apart.
	const magic = `\x7fELF\x%s\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x%s\x00`
	return map[pi.Arch]debianArch{
		pi.ARM64: {name: "arm64", kernel: kernelPackage, emulator: "qemu-aarch64-static", magic: fmt.Sprintf(magic, "02", "b7")},
		pi.ARMv7: {name: "armhf", kernel: "linux-image-armmp", emulator: "qemu-arm-static", magic: fmt.Sprintf(magic, "01", "28")},
	}
}

// needsEmulation reports whether the host cannot run an architecture's programs.
func needsEmulation(arch pi.Arch) bool {
	return arch == pi.ARM64 && runtime.GOARCH != "arm64" || arch == pi.ARMv7 && runtime.GOARCH != "arm"
}

// NeedTools says in one line what to install.
func NeedTools(arch pi.Arch) error {
	packages := map[string]string{
		"mmdebstrap": "mmdebstrap", "apt-get": "apt", "dpkg-deb": "dpkg", "mount": "mount", "chroot": "coreutils",
	}
	if needsEmulation(arch) {
		packages[debianArches()[arch].emulator] = "qemu-user-static"
	}
	missing := missingTools(packages)
	if _, err := os.Stat(debianKeyring); err != nil {
		missing = append(missing, "debian-archive-keyring")
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("rootfs: a Debian template is built by tools that are not installed; install them (apt-get install %s), or import an image", strings.Join(slices.Compact(missing), " "))
}

// A debian is a Debian template in the making.
type debian struct {
	options  Options
	stage    *stage.Dir
	tree     string
	progress progress.Func
	floor    int64 // bytes of the file system to leave free

	names []string // packages to install by name
	count int      // of all packages
}

func (d *debian) build(ctx context.Context) error {
	a, lock, err := d.cache()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := d.fetch(ctx, a); err != nil {
		return err
	}
	if err := d.recipe(); err != nil {
		return err
	}
	arch := debianArches()[d.options.Arch]
	if needsEmulation(d.options.Arch) {
		emulation, err := emulate(ctx, arch)
		if err != nil {
			return err
		}
		return errors.Join(d.install(ctx, a, arch), emulation.end())
	}
	return d.install(ctx, a, arch)
}

// cache opens the cache of packages. It is not the minimal template's, since
// each build removes what it has no use for.
func (d *debian) cache() (*apt, *os.File, error) {
	arch := debianArches()[d.options.Arch].name
	return d.options.apt(arch, d.options.Release+"-"+arch+"-full", filepath.Join(d.stage.Path, "apt"))
}

// fetch downloads all packages, so that the installation has them at hand.
func (d *debian) fetch(ctx context.Context, a *apt) error {
	d.progress.Report("package lists", 0, 0)
	if err := errors.Join(a.prepare(), a.update(ctx)); err != nil {
		return err
	}
	listed, err := images.DebianPackages()
	if err != nil {
		return err
	}
	d.names = slices.Concat(listed, []string{debianArches()[d.options.Arch].kernel}, d.options.Packages)
	// What mmdebstrap begins with.
	packages, err := a.closure(ctx, append([]string{"?essential", "apt", "usr-is-merged"}, d.names...))
	if err != nil {
		return err
	}
	debs, err := a.files(ctx, packages)
	if err != nil {
		return err
	}
	d.count = len(debs)
	if err := stage.CheckSpace(d.stage.Path, d.floor, installedSize(debs)); err != nil {
		return err
	}
	return a.download(ctx, debs, d.progress)
}

// recipeDir is where the recipe is in a stage.
const recipeDir = "recipe"

// recipe writes what the hooks of mmdebstrap need into the stage.
func (d *debian) recipe() error {
	dir := filepath.Join(d.stage.Path, recipeDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	modules, err := fs.ReadFile(images.Minimal(), "modules")
	if err != nil {
		return err
	}
	return errors.Join(
		confine.PutFS(root, ".", images.Debian(), "."),
		confine.PutFS(root, "initramfs", images.Initramfs(), "."),
		confine.PutFile(root, "modules", modules, 0o644),
	)
}
