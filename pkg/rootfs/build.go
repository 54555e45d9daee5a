package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"pibootd/pkg/rootfs/bootcheck"
	"pibootd/pkg/rootfs/debian"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/rootfs/stage"
)

// BuildMinimal makes the next version of the template called name: an arm64
// root of busybox, ffmpeg and the worker's place, with a Debian kernel, an
// initramfs that mounts the root over NFS, and the firmware of the Pi 3 and 4.
// It takes them from Debian packages, whose scripts do not run, so nothing
// needs to be emulated. The host needs apt-get, dpkg-deb and depmod, and
// Debian's keyring. A proxy is taken from http_proxy in the environment.
func (t *Templates) BuildMinimal(ctx context.Context, name string, o debian.BuildOptions, p Progress) (Template, error) {
	if err := errors.Join(CheckName(name), needRoot("building a template"), o.Complete(), debian.NeedMinimalTools()); err != nil {
		return Template{}, err
	}
	s, err := t.newStage()
	if err != nil {
		return Template{}, fmt.Errorf("rootfs: building %s: %w", name, err)
	}
	made, err := t.buildMinimal(ctx, s, name, o, p)
	if err = errors.Join(err, s.Discard()); err != nil {
		return Template{}, fmt.Errorf("rootfs: building %s: %w", name, err)
	}
	return made, nil
}

func (t *Templates) buildMinimal(ctx context.Context, s *stage.Dir, name string, o debian.BuildOptions, p Progress) (Template, error) {
	tree := filepath.Join(s.Tree(), treeDir)
	if err := debian.BuildMinimal(ctx, o, s, tree, t.MinFree, p); err != nil {
		return Template{}, err
	}
	root, err := os.OpenRoot(tree)
	if err != nil {
		return Template{}, err
	}
	defer root.Close()
	system, err := bootcheck.Inspect(root)
	if err != nil {
		return Template{}, err
	}
	return t.finish(ctx, s, newTemplate(name, system, bootcheck.New(root, system.BootDir).Supported()), p)
}

// BuildDebian makes the next version of the template called name from Debian's
// packages: systemd, ssh and ffmpeg, a kernel with the firmware of the Pi 3 and
// 4, and an initramfs that mounts the root over NFS. Unlike those of
// BuildMinimal the packages are installed, so that a board can upgrade them;
// their scripts run by QEMU where the host cannot run them. What Import has to
// change in an imported root is changed here, too, and returned.
//
// Everything that is mounted meanwhile is mounted where only the build sees it,
// and the build dies with this process.
func (t *Templates) BuildDebian(ctx context.Context, name string, o debian.Options, p Progress) (Template, []filetree.Change, error) {
	if err := errors.Join(CheckName(name), needRoot("building a template"), o.Complete()); err != nil {
		return Template{}, nil, err
	}
	if err := debian.NeedTools(o.Arch); err != nil {
		return Template{}, nil, err
	}
	s, err := t.newStage()
	if err != nil {
		return Template{}, nil, fmt.Errorf("rootfs: building %s: %w", name, err)
	}
	err = debian.Build(ctx, o, s, filepath.Join(s.Tree(), treeDir), t.MinFree, p)
	var made Template
	var changes []filetree.Change
	if err == nil {
		made, changes, err = t.finalize(ctx, s, name, ImportOptions{AuthorizedKeys: o.AuthorizedKeys, KeepPassword: true}, p)
	}
	if err = errors.Join(err, s.Discard()); err != nil {
		return Template{}, nil, fmt.Errorf("rootfs: building %s: %w", name, err)
	}
	return made, changes, nil
}
