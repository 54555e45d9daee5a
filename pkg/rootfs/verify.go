package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"pibootd/images"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs/adapt"
	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/confine"
	"pibootd/pkg/rootfs/filetree"
)

// ErrNoManifest reports that an older pibootd made a template, without a manifest.
var ErrNoManifest = errors.New("it has no manifest: it was made by an earlier pibootd; import or build it again")

func (t *Templates) manifest(of Template) (filetree.Manifest, error) {
	m, err := filetree.LoadManifest(filepath.Join(filepath.Dir(t.Root(of)), manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNoManifest
	}
	if err != nil {
		return nil, fmt.Errorf("rootfs: manifest of template %s: %w", of, err)
	}
	return m, nil
}

// Verify returns the differences between the files of a template and its manifest,
// which was written when it was made.
func (t *Templates) Verify(ctx context.Context, of Template, p Progress) ([]filetree.Change, error) {
	made, err := t.manifest(of)
	if err != nil {
		return nil, err
	}
	is, err := filetree.Scan(ctx, t.Root(of), func(files int) { p.Report("verify", int64(files), int64(len(made))) })
	if err != nil {
		return nil, fmt.Errorf("rootfs: verifying template %s: %w", of, err)
	}
	return filetree.Compare(made, is), nil
}

// Diff returns the differences between two templates, except times.
func (t *Templates) Diff(from, to Template) ([]filetree.Change, error) {
	before, err := t.manifest(from)
	if err != nil {
		return nil, err
	}
	after, err := t.manifest(to)
	if err != nil {
		return nil, err
	}
	return filetree.Compare(before, after), nil
}

// Drift returns the differences between a board's root and the template from: files
// added, removed, and changed in content, mode, owner or extended attributes. It
// leaves out what pibootd itself writes into a root. The board may be running; the
// result may lack what it changes meanwhile.
func (t *Templates) Drift(ctx context.Context, roots *Roots, serial pi.Serial, from Template, p Progress) ([]filetree.Change, error) {
	made, err := t.manifest(from)
	if err != nil {
		return nil, err
	}
	is, err := filetree.Scan(ctx, roots.Path(serial), func(files int) { p.Report("compare", int64(files), int64(len(made))) })
	if err != nil {
		return nil, fmt.Errorf("rootfs: comparing the root of %s with %s: %w", serial, from, err)
	}
	own, dirs, err := identityFiles()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(filetree.Compare(made, is), func(c filetree.Change) bool {
		return slices.Contains(own, c.File) || strings.HasPrefix(c.File, "etc/ssh/ssh_host_") || c.What == filetree.Added && slices.Contains(dirs, c.File)
	}), nil
}

// identityFiles returns the files that Clone writes into a root, and the directories
// that it creates for them.
func identityFiles() (files, dirs []string, err error) {
	files = []string{
		"etc/hostname", "etc/hosts", "etc/machine-id", images.WorkerFile, images.FormerWorkerFile, images.WorkerConfigFile, images.VolatileInitFile,
		images.WorkerUnitLink,
	}
	err = fs.WalkDir(images.Overlay(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, name)
		}
		return err
	})
	for _, file := range append(files, "etc/ssh/ssh_host_key") {
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	return files, dirs, err
}

// CheckBoot compares what TFTP would serve from a board's root with the root:
// each kernel with its modules, firmware with its second half and, if model is
// not "", whether everything is there that this model asks for. The root may be in
// use: whatever its board makes of it, no file but a regular one is opened, and
// only so much is read.
func (r *Roots) CheckBoot(serial pi.Serial, model pi.Model) ([]bootcheck.Mismatch, error) {
	found, err := bootcheck.CheckTree(r.Path(serial), model)
	if err != nil {
		return nil, fmt.Errorf("rootfs: boot files of %s: %w", serial, err)
	}
	return found, nil
}

// CheckBoot is like Roots.CheckBoot, for a template.
func (t *Templates) CheckBoot(of Template, model pi.Model) ([]bootcheck.Mismatch, error) {
	found, err := bootcheck.CheckTree(t.Root(of), model)
	if err != nil {
		return nil, fmt.Errorf("rootfs: boot files of template %s: %w", of, err)
	}
	return found, nil
}

// Supported returns the generations of boards that find every file they need in a template. It
// looks again, because Template.Boards is what the pibootd that made the template knew.
func (t *Templates) Supported(of Template) ([]pi.Model, error) {
	root, err := os.OpenRoot(t.Root(of))
	if err != nil {
		return nil, fmt.Errorf("rootfs: boot files of template %s: %w", of, err)
	}
	defer root.Close()
	return bootcheck.New(root, of.BootDir).Supported(), nil
}

// inits are what a kernel starts in its root, in its order.
var inits = []string{"sbin/init", "etc/init", "bin/init"}

// LacksInit reports whether there is nothing in a board's root that its kernel starts, with these
// kernel arguments.
func (r *Roots) LacksInit(serial pi.Serial, args string) (bool, error) {
	root, err := os.OpenRoot(r.Path(serial))
	if err != nil {
		return false, fmt.Errorf("rootfs: looking into the root of %s: %w", serial, err)
	}
	defer root.Close()
	names := slices.Clone(inits)
	for arg := range strings.FieldsSeq(args) {
		if name, ok := strings.CutPrefix(arg, "init="); ok {
			names = append(names, strings.TrimPrefix(name, "/"))
		}
	}
	return !slices.ContainsFunc(names, func(name string) bool { return name != "" && confine.Exists(root, name) }), nil
}

// LacksBootMount reports whether the packages of a board's root would not upgrade its kernel and
// firmware, and returns the line that its fstab(5) lacks.
func (r *Roots) LacksBootMount(serial pi.Serial) (line string, lacks bool, err error) {
	root, err := os.OpenRoot(r.Path(serial))
	if err != nil {
		return "", false, fmt.Errorf("rootfs: boot directory of %s: %w", serial, err)
	}
	defer root.Close()
	boot := bootcheck.BootDir(root)
	return adapt.BootMountLine(boot), adapt.LacksBootMount(root, boot), nil
}

// AsksForAddress returns the file by which a board's root asks any DHCP server for an address beside
// the one that it was booted with, and the command for the board that ends this; "" if there is none.
// dns are the name servers that the root would learn no longer.
func (r *Roots) AsksForAddress(serial pi.Serial, dns []netip.Addr) (file, command string, err error) {
	root, err := os.OpenRoot(r.Path(serial))
	if err != nil {
		return "", "", fmt.Errorf("rootfs: looking at the network of %s: %w", serial, err)
	}
	defer root.Close()
	file, command = adapt.AsksForAddress(root, dns)
	return file, command, nil
}
