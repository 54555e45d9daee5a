package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/rootfs"
)

// cloneFlags say how a root is made of its template.
func cloneFlags(otherwise string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "clone", Usage: "`WAY` to make the root: auto, btrfs, reflink, overlay or copy (default: " + otherwise + ")"},
		&cli.BoolFlag{Name: "shared", Usage: "the root shares the template's files, none is copied: an overlay, on btrfs a snapshot; see --volatile, too"},
	}
}

// cloneWay is the way that cloneFlags ask for; "" leaves it open.
func cloneWay(c *cli.Context) (string, error) {
	way, err := rootfs.ParseWay(c.String("clone"))
	switch {
	case err != nil:
		return "", fmt.Errorf("--clone: %w", err)
	case !c.Bool("shared"):
		return c.String("clone"), nil
	case way == rootfs.Auto:
		return string(rootfs.Shared), nil
	case !rootfs.Shared.Allows(way) && way != rootfs.Shared:
		return "", fmt.Errorf("--shared with --clone %s, which gives the root files of its own; want one of them", way)
	}
	return string(way), nil
}
