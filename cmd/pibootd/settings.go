package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/registry"
)

// flagsOf are the flags that give a board the settings of a table.
func flagsOf(table []registry.Setting) []cli.Flag {
	var flags []cli.Flag
	for _, s := range table {
		switch {
		case s.Int != nil:
			flags = append(flags, &cli.IntFlag{Name: s.Flag, Usage: s.Usage, DefaultText: s.Unset})
		case s.Bool != nil:
			flags = append(flags, &cli.BoolFlag{Name: s.Flag, Usage: s.Usage})
		case s.Word != nil:
			flags = append(flags, &cli.StringFlag{Name: s.Flag, Usage: s.Usage, DefaultText: s.Unset})
		case s.Share != nil:
			flags = append(flags, &cli.Float64Flag{Name: s.Flag, Usage: s.Usage, DefaultText: s.Unset})
		case s.Words != nil:
			flags = append(flags, &cli.StringSliceFlag{Name: s.Flag, Usage: s.Usage})
		}
	}
	return flags
}

// withoutDefaults are flags of a change: what is not given stays as it is.
func withoutDefaults(flags []cli.Flag) []cli.Flag {
	for _, flag := range flags {
		switch f := flag.(type) {
		case *cli.IntFlag:
			f.DefaultText = ""
		case *cli.Float64Flag:
			f.DefaultText = ""
		case *cli.StringFlag:
			f.DefaultText = ""
		}
	}
	return flags
}

// clearFlags are the flags that empty the lists of a table.
func clearFlags(table []registry.Setting) []cli.Flag {
	var flags []cli.Flag
	for _, s := range table {
		if s.Clear != "" {
			flags = append(flags, &cli.BoolFlag{Name: s.Clear, Usage: "remove all " + s.Name + " that --" + s.Flag + " has added"})
		}
	}
	return flags
}

// readSettings reads the flags that were given into the settings of a table, and
// returns the fields that these are.
func readSettings(c *cli.Context, table []registry.Setting) (fields []string) {
	for _, s := range table {
		if !c.IsSet(s.Flag) {
			continue
		}
		fields = append(fields, s.Field)
		switch {
		case s.Int != nil:
			*s.Int = c.Int(s.Flag)
		case s.Bool != nil:
			*s.Bool = c.Bool(s.Flag)
		case s.Word != nil:
			*s.Word = c.String(s.Flag)
		case s.Share != nil:
			*s.Share = c.Float64(s.Flag)
		case s.Words != nil:
			*s.Words = c.StringSlice(s.Flag)
		}
	}
	return fields
}

// clearedSettings returns the fields of the lists that are to be emptied.
func clearedSettings(c *cli.Context, table []registry.Setting) (fields []string, err error) {
	for _, s := range table {
		if s.Clear == "" || !c.IsSet(s.Clear) {
			continue
		}
		if c.IsSet(s.Flag) {
			return nil, fmt.Errorf("--%s and --%s exclude each other", s.Flag, s.Clear)
		}
		fields = append(fields, s.Field)
	}
	return fields, nil
}

// takesEffect says when a board that runs applies changes, which begin with the
// names of settings.
func takesEffect(changes []string) string {
	var live strings.Builder
	boot := len(changes)
	for _, s := range new(registry.Settings).Table() {
		for _, change := range changes {
			if s.Live != "" && strings.HasPrefix(change, s.Name+" ") {
				fmt.Fprintln(&live, s.Live)
				boot--
			}
		}
	}
	if boot > 0 {
		return "it is running: this takes effect at its next boot\n" + live.String()
	}
	return live.String()
}

// describeSettings describes the settings that a board has.
func describeSettings(s registry.Settings) (texts []string) {
	for _, setting := range s.Table() {
		if text := setting.Describe(); text != "" {
			texts = append(texts, text)
		}
	}
	return texts
}
