package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/access"
	"pibootd/pkg/web"
)

func adminLinkCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "admin-link",
		Usage:       "make a link to set the admin's password",
		Description: "The link works once, for an hour. It replaces an earlier link. A new password ends all sessions; tokens keep working.",
		Flags:       daemonFlags(),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			link, err := client(c).SetupLink(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, link)
			}
			fmt.Fprintf(std.out, "%s\n\nIt works once, until %s.\n", link.URL, link.Expires.Format(time.TimeOnly))
			if link.Fingerprint != "" {
				fmt.Fprintf(std.out, "The certificate's SHA-256 fingerprint is %s.\n", link.Fingerprint)
			}
			return nil
		},
	}
}

func tokenCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "token",
		Usage:       "add, list and revoke tokens by which programs use the HTTP API",
		Action:      unknownCommand,
		Subcommands: []*cli.Command{tokenAddCommand(std), tokenListCommand(std), tokenRevokeCommand(std)},
	}
}

func tokenAddCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "add",
		Usage:       "add a token and print it, once",
		ArgsUsage:   "NAME",
		Description: "Programs send it as Authorization: Bearer TOKEN. Standard output has the token alone, so that it can be written to a file.",
		Flags: daemonFlags(
			&cli.StringFlag{Name: "scope", Usage: "what it permits: `SCOPE` read, submit (uploads and jobs, too) or admin", Value: string(access.Read)},
		),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "NAME")
			if err != nil {
				return err
			}
			added, err := client(c).AddToken(c.Context, web.NewToken{Name: args[0], Scope: access.Scope(c.String("scope"))})
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, added)
			}
			fmt.Fprintf(std.err, "token %s, scope %s; it is not shown again:\n", added.Name, added.Scope)
			_, err = fmt.Fprintln(std.out, added.Secret)
			return err
		},
	}
}

func tokenListCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the tokens",
		Flags: daemonFlags(),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			tokens, err := client(c).Tokens(c.Context)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, tokens)
			}
			rows := [][]string{{"NAME", "SCOPE", "ADDED"}}
			for _, t := range tokens {
				rows = append(rows, []string{t.Name, string(t.Scope), since(t.Added)})
			}
			return printList(std.out, rows, "no tokens; pibootd token add makes one")
		},
	}
}

func tokenRevokeCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "revoke",
		Usage:     "remove a token, which is refused from then on",
		ArgsUsage: "NAME",
		Flags:     daemonFlags(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "NAME")
			if err != nil {
				return err
			}
			token, err := client(c).RevokeToken(c.Context, args[0])
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, token)
			}
			_, err = fmt.Fprintf(std.out, "token %s revoked\n", token.Name)
			return err
		},
	}
}
