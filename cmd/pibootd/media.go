package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/transcode/trash"
	"pibootd/pkg/web"
)

func mediaCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:   "media",
		Usage:  "list and delete published videos, and put deleted ones back",
		Action: unknownCommand,
		Subcommands: []*cli.Command{
			mediaListCommand(std), mediaDeleteCommand(std), mediaTrashCommand(std),
			onTrash(std, "restore", "put a deleted video back where it was", "put back", (*web.Client).Restore),
			onTrash(std, "purge", "delete a video of the trash for good", "deleted for good", (*web.Client).RemoveTrash),
		},
	}
}

func mediaListCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the published videos", Flags: daemonFlags(),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			all, err := client(c).Media(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, all)
			}
			rows := [][]string{{"PATH", "SIZE", "LENGTH", "MADE"}}
			for _, one := range all {
				length := time.Duration(one.Seconds * float64(time.Second)).Round(time.Second)
				rows = append(rows, []string{one.Path, byteText(one.Bytes), orNone(length.String(), length == 0), since(one.Modified)})
			}
			return printList(std.out, rows, "nothing is published; pibootd transcode makes a video")
		},
	}
}

func mediaDeleteCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "move a published video to the trash", ArgsUsage: "PATH", Flags: daemonFlags(),
		Description: "PATH is as media list shows it. The video stays in the trash for media.trash_keep.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PATH")
			if err != nil {
				return err
			}
			item, err := client(c).DeleteMedia(c.Context, args[0])
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, item)
			}
			_, err = fmt.Fprintf(std.out, "%s is in the trash until %s; pibootd media restore %s puts it back\n", printable(item.Path), expiry(item), item.ID)
			return err
		},
	}
}

func expiry(i trash.Item) string {
	if i.Expires.IsZero() {
		return "it is purged"
	}
	return i.Expires.Local().Format(time.DateTime)
}

func mediaTrashCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "trash", Usage: "list the deleted videos", Flags: daemonFlags(),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			items, err := client(c).Trash(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, items)
			}
			rows := [][]string{{"ID", "PATH", "SIZE", "DELETED", "STAYS UNTIL"}}
			for _, i := range items {
				rows = append(rows, []string{i.ID, i.Path, byteText(i.Bytes), since(i.Deleted), expiry(i)})
			}
			return printList(std.out, rows, "the trash is empty")
		},
	}
}

// onTrash returns a command that does something with an item of the trash.
func onTrash(std streams, name, usage, done string, do func(*web.Client, context.Context, string) (trash.Item, error)) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, ArgsUsage: "ID", Flags: daemonFlags(), Description: "ID is as media trash shows it.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "ID")
			if err != nil {
				return err
			}
			item, err := do(client(c), c.Context, args[0])
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, item)
			}
			_, err = fmt.Fprintf(std.out, "%s %s\n", printable(item.Path), done)
			return err
		},
	}
}
