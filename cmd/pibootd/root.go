package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
	"pibootd/pkg/web"
)

func resetPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "reset-pi",
		Usage:     "give a Pi a fresh clone of its template",
		ArgsUsage: "PI", Description: describePi + archivesRoot,
		Flags: daemonFlags(append(cloneFlags("that of the Pi's root"), forceFlag())...),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PI")
			if err != nil {
				return err
			}
			method, err := cloneMethod(c)
			if err != nil {
				return usageError{hintedError{err, helpHint(c)}}
			}
			return changeRoots(c, std, args, web.RootChange{Clone: method})
		},
	}
}

func upgradePiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "upgrade-pi",
		Usage:     "give Pis a clone of another template",
		ArgsUsage: "[PI...]", Description: "The Pis are upgraded one after the other, and the first failure stops the upgrade. " + describePi + archivesRoot,
		Flags: daemonFlags(append(cloneFlags("that of the Pi's root"), forceFlag(),
			&cli.StringFlag{Name: "to", Usage: "clone `TEMPLATE`, NAME for its newest version or NAME@VERSION", Required: true},
			&cli.StringFlag{Name: "label", Usage: "upgrade all Pis that have the `LABEL` and another template"},
		)...),
		Action: func(c *cli.Context) error { return upgradePis(c, std) },
	}
}

func rollbackPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "rollback-pi",
		Usage:     "give a Pi back the root that it had before a reset or upgrade",
		ArgsUsage: "PI", Description: describePi,
		Flags: daemonFlags(forceFlag(),
			&cli.StringFlag{Name: "to", Usage: "restore the root `NAME`, as kept-roots lists it", DefaultText: "the latest"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PI")
			if err != nil {
				return err
			}
			return changeRoots(c, std, args, web.RootChange{Rollback: true, Kept: c.String("to")})
		},
	}
}

// archivesRoot describes the commands that replace a root.
const archivesRoot = " Its present root is archived, and rollback-pi restores it."

func forceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "force", Usage: "replace the root of a running Pi, which loses it at once and must be power-cycled"}
}

// upgradePis upgrades the boards that are named, or those with a label.
func upgradePis(c *cli.Context, std streams) error {
	refs := c.Args().Slice()
	label := c.String("label")
	if (len(refs) == 0) == (label == "") {
		return usageError{hintedError{errors.New("no Pis given; want their names, or --label"), helpHint(c)}}
	}
	method, err := cloneMethod(c)
	if err != nil {
		return usageError{hintedError{err, helpHint(c)}}
	}
	if label != "" {
		to, err := templates(c, std).Find(c.String("to"))
		if err != nil {
			return err
		}
		boards, err := client(c).Pis(c.Context)
		if err != nil {
			return err
		}
		labelled := 0
		for _, b := range boards {
			if !slices.Contains(b.Settings.Labels, label) {
				continue
			}
			labelled++
			if b.Template != to.Name || b.Version != to.Version {
				refs = append(refs, b.Name)
			}
		}
		if labelled == 0 {
			return hintedError{fmt.Errorf("no Pi has the label %q", label), "to give a Pi the label: pibootd edit-pi PI --label " + label}
		}
	}
	for _, ref := range c.Args().Slice() {
		if _, err := client(c).Pi(c.Context, ref); err != nil {
			return err // before the first of them is touched
		}
	}
	return changeRoots(c, std, refs, web.RootChange{Template: c.String("to"), Clone: method})
}

// changeRoots changes the roots of boards one after the other and stops at the
// first failure, so that a bad template reaches one board only.
func changeRoots(c *cli.Context, std streams, refs []string, change web.RootChange) error {
	change.Force = c.Bool("force")
	m := newMeter(std)
	done := []fleet.Replaced{}
	var err error
	for i, ref := range refs {
		var one fleet.Replaced
		m.label = "replacing the root of " + ref
		one, err = client(c).ChangeRoot(c.Context, ref, change, m.onTerminal(c))
		m.clear()
		if one.Pi.ID != 0 {
			done = append(done, one)
			if !c.Bool("json") {
				err = errors.Join(printReplaced(std.out, one), err)
			}
		}
		if err != nil {
			if left := refs[i+1:]; len(left) > 0 {
				err = fmt.Errorf("%w; not touched: %s", err, strings.Join(left, ", "))
			}
			break
		}
	}
	if c.Bool("json") {
		return errors.Join(printJSON(std.out, done), err)
	}
	if len(refs) == 0 {
		fmt.Fprintln(std.out, "all have this template already: nothing changed")
	}
	return err
}

func printReplaced(w io.Writer, r fleet.Replaced) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s has a new root\n", r.Pi.Name)
	if r.Clone != "" {
		fmt.Fprintf(&out, "  root     %s@%d cloned by %s: %d files, %s\n", r.Pi.Template, r.Pi.Version, r.Clone, r.Files, byteText(r.Bytes))
	} else {
		fmt.Fprintf(&out, "  root     of %s@%d, restored from the archive\n", r.Pi.Template, r.Pi.Version)
	}
	if r.Kept.Name != "" {
		fmt.Fprintf(&out, "  archived %s, of %s; pibootd rollback-pi %s restores it\n", r.Kept.Name, r.Kept.Origin, r.Pi.Name)
	}
	if len(r.Proof) > 0 {
		fmt.Fprintf(&out, "  export   to %s only, proved by a mount\n", r.Pi.IP)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func driftPiCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "drift-pi",
		Usage:     "list differences between a Pi's root and its template",
		ArgsUsage: "PI", Description: describePi,
		Flags: daemonFlags(),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PI")
			if err != nil {
				return err
			}
			m := newMeter(std)
			changes, err := client(c).Drift(c.Context, args[0], m.onTerminal(c))
			m.clear()
			if err != nil {
				return err
			}
			return printChanges(c, std, changes)
		},
	}
}

func keptRootsCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:      "kept-roots",
		Usage:     "list or delete a Pi's archived roots",
		ArgsUsage: "PI", Description: describePi + " Name a removed Pi by its serial number. reset-pi, upgrade-pi, rollback-pi and remove-pi --keep-root archive roots.",
		Flags: daemonFlags(&cli.StringFlag{Name: "remove", Usage: "delete the archived root `NAME`"}),
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "PI")
			if err != nil {
				return err
			}
			if c.IsSet("remove") {
				return removeKept(c, std, args[0])
			}
			return listKept(c, std, args[0])
		},
	}
}

func listKept(c *cli.Context, std streams, ref string) error {
	kept, err := client(c).KeptRoots(c.Context, ref)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, kept)
	}
	rows := [][]string{{"NAME", "TEMPLATE", "KEPT", "WHY"}}
	for _, k := range kept {
		rows = append(rows, []string{k.Name, k.Origin.String(), since(k.At), k.Why})
	}
	return printList(std.out, rows, "no archived root")
}

func removeKept(c *cli.Context, std streams, ref string) error {
	name := c.String("remove")
	if name == "" {
		return usageError{errors.New("--remove: want the name of a kept root, as kept-roots lists it")}
	}
	removed, err := client(c).RemoveKept(c.Context, ref, name)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, removed)
	}
	_, err = fmt.Fprintf(std.out, "%s deleted\n", removed.Name)
	return err
}
