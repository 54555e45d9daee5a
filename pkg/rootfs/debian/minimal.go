package debian

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"pibootd/images"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/progress"
	"pibootd/pkg/rootfs/stage"
)

// BuildOptions are the sources of a minimal template. The zero value means Debian 12 from
// Debian's own servers.
type BuildOptions struct {
	Mirror   string // "" means deb.debian.org, with its security updates
	Release  string // "" means bookworm
	CacheDir string // keeps packages between builds; "" keeps none

	Keyring string // verifies the mirror's lists; "" means Debian's
}

const (
	defaultMirror   = "http://deb.debian.org/debian"
	securityMirror  = "http://deb.debian.org/debian-security"
	defaultRelease  = "bookworm"
	debianKeyring   = "/usr/share/keyrings/debian-archive-keyring.gpg"
	kernelPackage   = "linux-image-arm64"
	firmwarePackage = "raspi-firmware"
	firmwareDir     = "usr/lib/raspi-firmware"
	minimalBootDir  = "boot/firmware"
)

func (o *BuildOptions) Complete() error {
	if o.Release == "" {
		o.Release = defaultRelease
	}
	if !packageWord.MatchString(o.Release) || strings.ContainsAny(o.Mirror, " \t\n[]") {
		return fmt.Errorf("rootfs: release %q of mirror %q; want e.g. bookworm of %s", o.Release, o.Mirror, defaultMirror)
	}
	return nil
}

// apt opens the package cache called name, or uses the directory scratch if there is no cache.
// The cache is locked until the caller closes the file.
func (o *BuildOptions) apt(arch, name, scratch string) (*apt, *os.File, error) {
	dir := scratch
	if o.CacheDir != "" {
		dir = filepath.Join(o.CacheDir, name)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	lock, err := stage.Lock(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("the package cache is in use by another build: %w", err)
	}
	return &apt{dir: dir, arch: arch, sources: o.sources(), keyring: cmp.Or(o.Keyring, debianKeyring)}, lock, nil
}

// sources returns the package sources in the format of sources.list.
func (o *BuildOptions) sources() []string {
	if o.Mirror != "" && o.Mirror != defaultMirror {
		return []string{o.Mirror + " " + o.Release}
	}
	return []string{defaultMirror + " " + o.Release, securityMirror + " " + o.Release + "-security"}
}

func NeedMinimalTools() error {
	if missing := missingTools(map[string]string{"apt-get": "apt", "apt-cache": "apt", "dpkg-deb": "dpkg", "depmod": "kmod"}); len(missing) > 0 {
		return fmt.Errorf("rootfs: building a template needs the Debian packages %s; elsewhere, import one", strings.Join(missing, " "))
	}
	if _, err := os.Stat(debianKeyring); err != nil {
		return fmt.Errorf("rootfs: building a template needs Debian's signing keys (package debian-archive-keyring): %w", err)
	}
	return nil
}

// missingTools returns the packages of the tools that are not installed.
func missingTools(packages map[string]string) (missing []string) {
	for tool, from := range packages {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, from)
		}
	}
	return missing
}

// A build is a minimal template while it is being made.
type build struct {
	options  BuildOptions
	progress progress.Func
	room     func(need int64) error // returns an error if there is no room for so many bytes
	root     *os.Root               // the template's tree
	hardware *os.Root               // kernel and firmware, unpacked from their packages
	debs     []debFile
	kernel   string // version of its modules
}

// BuildMinimal builds a minimal root file system in tree, which must be below the staging
// directory, and leaves floor bytes of its file system free.
func BuildMinimal(ctx context.Context, o BuildOptions, staging *stage.Dir, tree string, floor int64, p progress.Func) error {
	b := &build{options: o, progress: p, room: func(need int64) error { return stage.CheckSpace(staging.Path, floor, need) }}
	var err error
	if b.root, err = mergedTree(tree); err != nil {
		return err
	}
	defer b.root.Close()
	if b.hardware, err = mergedTree(filepath.Join(staging.Path, "hardware")); err != nil {
		return err
	}
	defer b.hardware.Close()
	for _, step := range []func(context.Context) error{
		func(ctx context.Context) error { return b.fetch(ctx, filepath.Join(staging.Path, "apt")) },
		b.unpack, b.userland, b.modules, b.boot,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// mergedTree makes a directory with Debian's links of /bin, /sbin and /lib into /usr, which
// packages rely on.
func mergedTree(dir string) (*os.Root, error) {
	if err := filetree.Make(dir); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"bin", "sbin", "lib"} {
		err = errors.Join(err, root.MkdirAll(path.Join("usr", name), 0o755), root.Symlink(path.Join("usr", name), name))
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// fetch downloads the packages. It uses scratch if there is no cache.
func (b *build) fetch(ctx context.Context, scratch string) error {
	const arch = "arm64"
	a, lock, err := b.options.apt(arch, b.options.Release+"-"+arch, scratch)
	if err != nil {
		return err
	}
	defer lock.Close()
	if b.debs, b.kernel, err = b.choose(ctx, a); err != nil {
		return err
	}
	if err := b.room(installedSize(b.debs)); err != nil {
		return err
	}
	return a.download(ctx, b.debs, b.progress)
}

// choose updates the package lists and returns the packages to download.
func (b *build) choose(ctx context.Context, a *apt) (debs []debFile, kernel string, err error) {
	b.progress.Report("package lists", 0, 0)
	if err := errors.Join(a.prepare(), a.update(ctx)); err != nil {
		return nil, "", err
	}
	names, err := images.List("packages")
	if err != nil {
		return nil, "", err
	}
	packages, err := a.closure(ctx, names)
	if err != nil {
		return nil, "", err
	}
	meta, err := a.show(ctx, []string{kernelPackage})
	if err != nil || len(meta) != 1 {
		return nil, "", errors.Join(err, fmt.Errorf("%s is in the package list %d times; want once", kernelPackage, len(meta)))
	}
	kernelImage, kernel, err := meta[0].kernel()
	if err != nil {
		return nil, "", err
	}
	debs, err = a.files(ctx, append(packages, kernelImage, firmwarePackage))
	return debs, kernel, err
}

// userland makes a root from the packages' files.
func (b *build) userland(context.Context) error {
	for _, dir := range []string{"dev", "proc", "sys", "run", "mnt", "media", "srv", "home", "var/log", "var/lib/pibootd"} {
		if err := b.root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for dir, mode := range map[string]fs.FileMode{"tmp": 0o777 | fs.ModeSticky, "var/tmp": 0o777 | fs.ModeSticky, "root": 0o700} {
		if err := errors.Join(b.root.MkdirAll(dir, 0o755), b.root.Chmod(dir, mode)); err != nil {
			return err
		}
	}
	release := fmt.Sprintf("PRETTY_NAME=\"minimal Debian %[1]s\"\nNAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_CODENAME=%[1]s\n", b.options.Release)
	return errors.Join(
		confine.PutFile(b.root, "usr/lib/os-release", []byte(release), 0o644),
		confine.PutSymlink(b.root, "etc/os-release", "../usr/lib/os-release"),
		confine.PutFS(b.root, ".", images.Minimal(), "root"),
		b.root.Chmod("etc/init.d/rcS", 0o755),
		b.root.Chmod("etc/init.d/clock", 0o755),
		b.root.Chmod("etc/init.d/lease", 0o755),
		b.root.Chmod("etc/udhcpc.sh", 0o755),
		b.applets(),
		linkLibraries(b.root, "usr/bin/ffmpeg", "usr/bin/ffprobe"),
	)
}

// applets links busybox's names, except those of which a package has the real program.
func (b *build) applets() error {
	busybox, err := confine.Resolve(b.root, "bin/busybox")
	if err != nil || busybox != "usr/bin/busybox" {
		return errors.Join(err, fmt.Errorf("busybox is %q; want usr/bin/busybox", busybox))
	}
	links, err := appletLinks()
	for _, link := range links {
		if err == nil && !confine.Exists(b.root, link.name) {
			err = confine.PutSymlink(b.root, link.name, link.target)
		}
	}
	return err
}

// modules copies the modules that a board needs into the root.
func (b *build) modules(ctx context.Context) error {
	b.progress.Report("kernel modules", 0, 0)
	names, err := images.List("modules")
	if err != nil {
		return err
	}
	if err := depmod(ctx, b.hardware.Name(), b.kernel); err != nil {
		return err
	}
	dir := path.Join("usr/lib/modules", b.kernel)
	all, err := readModules(filepath.Join(b.hardware.Name(), dir))
	if err != nil {
		return err
	}
	if err := all.copyTo(filepath.Join(b.root.Name(), dir), names); err != nil {
		return err
	}
	return depmod(ctx, b.root.Name(), b.kernel)
}

// boot fills the boot directory. Debian's arm64 kernel is not compressed, so the firmware can
// load it unchanged.
func (b *build) boot(context.Context) error {
	b.progress.Report("boot files", 0, 0)
	if err := b.root.MkdirAll(minimalBootDir, 0o755); err != nil {
		return err
	}
	from := map[string]string{"kernel8.img": path.Join("boot", "vmlinuz-"+b.kernel)}
	for _, pattern := range []string{
		firmwareDir + "/*.bin", firmwareDir + "/start*.elf", firmwareDir + "/fixup*.dat",
		path.Join("usr/lib", "linux-image-"+b.kernel, "broadcom/bcm2[78]*.dtb"),
	} {
		files, err := fs.Glob(b.hardware.FS(), pattern)
		if err != nil || len(files) == 0 {
			return errors.Join(err, fmt.Errorf("no package brought %s", pattern))
		}
		for _, file := range files {
			from[path.Base(file)] = file
		}
	}
	for name, file := range from {
		content, err := b.hardware.ReadFile(file)
		if err != nil {
			return err
		}
		if err := confine.PutFile(b.root, path.Join(minimalBootDir, name), content, 0o644); err != nil {
			return err
		}
	}
	packed, err := buildInitramfs(b.root)
	if err != nil {
		return err
	}
	return errors.Join(
		confine.PutFile(b.root, path.Join(minimalBootDir, "initrd.img"), packed, 0o644),
		confine.PutFS(b.root, minimalBootDir, images.Minimal(), "boot"),
	)
}
