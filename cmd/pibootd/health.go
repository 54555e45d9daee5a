package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
)

// healthTimeout is how long a daemon that is well takes at most to answer.
const healthTimeout = 5 * time.Second

func healthCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "health", Usage: "ask whether the daemon answers, for health checks",
		Description: "health exits with 0 if the daemon answers within five seconds, and else with 1. All its servers are up if it answers: it ends when one of them fails.",
		Flags:       daemonFlags(),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, healthTimeout)
			defer cancel()
			info, err := client(c).Info(ctx)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(std.out, info)
			}
			_, err = fmt.Fprintln(std.out, "pibootd", info.Version, "serves")
			return err
		},
	}
}
