package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/daemon"
	"pibootd/pkg/store"
)

func dbCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "db", Usage: "take the database back to an earlier version of pibootd",
		Subcommands: []*cli.Command{{
			Name: "downgrade", Usage: "take the database back to an earlier schema, before an earlier pibootd is installed",
			Description: "The daemon must not run. A copy of the database is made first, beside it. The earlier pibootd names the schema that it knows when it refuses the database.",
			Flags: []cli.Flag{
				&cli.IntFlag{Name: "to", Usage: "take it back to schema `N`"},
				&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask for confirmation"},
				stateDirFlag(),
			},
			Action: func(c *cli.Context) error { return downgrade(c, std) },
		}},
		Action: unknownCommand,
	}
}

func downgrade(c *cli.Context, std streams) (err error) {
	if _, err := arguments(c); err != nil {
		return err
	}
	if !c.IsSet("to") {
		return usageError{hintedError{errors.New("no schema given"), "give --to N; the earlier pibootd names its schema when it refuses the database"}}
	}
	if err := needRoot("the database is root's"); err != nil {
		return err
	}
	unlock, err := daemon.LockState(c.String("state-dir"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	file := filepath.Join(c.String("state-dir"), daemon.Database)
	plan, err := store.PlanDowngrade(c.Context, file, c.Int("to"))
	if err != nil {
		return err
	}
	if plan.From == plan.To {
		fmt.Fprintf(std.out, "%s has schema %d already\n", file, plan.To)
		return nil
	}
	if len(plan.Refused) > 0 {
		return hintedError{fmt.Errorf("schema %d cannot have what is there: %s", plan.To, strings.Join(plan.Refused, ", ")), "start pibootd again, let jobs end or cancel them, and stop it"}
	}
	for _, lost := range plan.Lost {
		fmt.Fprintf(std.err, "Schema %d has no place for this, which is deleted: %s\n", plan.To, lost)
	}
	if !c.Bool("yes") {
		if err := confirm(std, fmt.Sprintf("Take %s back from schema %d to %d?", file, plan.From, plan.To)); err != nil {
			return err
		}
	}
	copied, err := plan.Downgrade(c.Context, file)
	if err != nil {
		return err
	}
	fmt.Fprintf(std.out, "%s has schema %d now; as it was, it is in %s\nInstall the earlier pibootd and start it.\n", file, plan.To, copied)
	return nil
}
