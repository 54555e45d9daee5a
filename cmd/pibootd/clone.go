package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/rootfs"
)

// cloneFlags choose how a root is cloned from its template.
func cloneFlags(otherwise string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "clone", Usage: "clone the root by this `METHOD`: auto, btrfs, reflink, overlay or copy", DefaultText: otherwise},
		&cli.BoolFlag{Name: "shared", Usage: "share the template's files instead of copying them, by an overlay or a btrfs snapshot"},
	}
}

// cloneMethod returns the method that cloneFlags ask for; "" leaves the choice to
// the daemon.
func cloneMethod(c *cli.Context) (string, error) {
	method, err := rootfs.ParseCloneMethod(c.String("clone"))
	switch {
	case err != nil:
		return "", fmt.Errorf("--clone: %w", err)
	case !c.Bool("shared"):
		return c.String("clone"), nil
	case method == rootfs.Auto:
		return string(rootfs.Shared), nil
	case !rootfs.Shared.Allows(method) && method != rootfs.Shared:
		return "", fmt.Errorf("--shared with --clone %s, which gives the root files of its own; want one of them", method)
	}
	return string(method), nil
}
