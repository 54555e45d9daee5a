package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/operation"
	"pibootd/pkg/pi"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/debian"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/web"
)

// minimalRecipe is the argument of template build for the minimal template. Any
// other is the name of a full Debian.
const minimalRecipe = "minimal"

func buildTemplate(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME")
	if err != nil {
		return err
	}
	if err := onlyFor(c, args[0]); err != nil {
		return err
	}
	if isRemote(c) {
		return buildRemotely(c, std, args[0])
	}
	if err := needRoot("template build preserves owners and device nodes"); err != nil {
		return err
	}
	o := debian.BuildOptions{Mirror: c.String("mirror"), Release: c.String("release"), CacheDir: c.String("cache")}
	if o.CacheDir == "" {
		o.CacheDir = filepath.Join(c.String("state-dir"), "cache")
	}
	to, err := newTemplates(c, std)
	if err != nil {
		return err
	}
	m := newMeter(std)
	m.describe = describeBuild
	var built rootfs.Template
	var changes []filetree.Change
	if args[0] == minimalRecipe {
		built, err = to.BuildMinimal(c.Context, minimalName(c), o, templateProgress(c, m))
	} else {
		built, changes, err = buildDebian(c, to, args[0], o, m)
	}
	m.clear()
	if err != nil {
		return err
	}
	return printTemplate(c, std, built, changes)
}

// buildRemotely has the daemon on another machine build a template.
func buildRemotely(c *cli.Context, std streams, name string) (err error) {
	if err := notFor(c, "cache", "config"); err != nil {
		return err
	}
	t := web.NewTemplate{
		Name: name, Recipe: operation.Debian, Release: c.String("release"), Mirror: c.String("mirror"),
		Arch: c.String("arch"), Packages: packages(c),
	}
	if name == minimalRecipe {
		t.Name, t.Recipe = minimalName(c), operation.Minimal
	}
	if t.AuthorizedKeys, err = authorizedKeys(c); err != nil {
		return err
	}
	m := newMeter(std)
	m.describe = describeBuild
	return makeRemotely(c, std, m, t)
}

// minimalName is the name of a minimal template.
func minimalName(c *cli.Context) string {
	if name := c.String("name"); name != "" {
		return name
	}
	return minimalRecipe
}

// packages are those to add to a full Debian.
func packages(c *cli.Context) []string {
	return strings.FieldsFunc(c.String("packages"), func(r rune) bool { return r == ',' || r == ' ' })
}

// describeBuild is describeStep, except for the step that unpacks packages.
func describeBuild(step string) (string, unit) {
	if step == "unpack" {
		return "unpacking packages", packagesUnit
	}
	return describeStep(step)
}

// onlyFor refuses the flags that only the other kind of template has.
func onlyFor(c *cli.Context, name string) error {
	others, kind := []string{"name"}, "a full Debian is named by its argument"
	if name == minimalRecipe {
		others, kind = []string{"arch", "packages", "authorized-keys"}, "only a full Debian has this choice; any other name than minimal builds one"
	}
	for _, flag := range others {
		if c.IsSet(flag) {
			return usageError{fmt.Errorf("--%s with %s: %s", flag, name, kind)}
		}
	}
	return nil
}

func buildDebian(c *cli.Context, to *rootfs.Templates, name string, build debian.BuildOptions, m *meter) (rootfs.Template, []filetree.Change, error) {
	o := debian.Options{BuildOptions: build}
	switch arch := c.String("arch"); arch {
	case "", "arm64":
		o.Arch = pi.ARM64
	case "armhf":
		o.Arch = pi.ARMv7
	default:
		return rootfs.Template{}, nil, usageError{fmt.Errorf("--arch: got %q; want arm64 or armhf", arch)}
	}
	o.Packages = packages(c)
	var err error
	if o.AuthorizedKeys, err = authorizedKeys(c); err != nil {
		return rootfs.Template{}, nil, err
	}
	return to.BuildDebian(c.Context, name, o, templateProgress(c, m))
}
