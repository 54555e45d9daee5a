package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/fleet"
	"pibootd/pkg/operation"
	"pibootd/pkg/registry"
	"pibootd/pkg/rootfs"
	"pibootd/pkg/rootfs/filetree"
	"pibootd/pkg/store"
	"pibootd/pkg/web"
)

// foundTemplates returns the templates that the arguments name.
func foundTemplates(c *cli.Context, std streams, names ...string) ([]rootfs.Template, error) {
	args, err := arguments(c, names...)
	if err == nil {
		err = onlyHere(c)
	}
	if err != nil {
		return nil, err
	}
	var found []rootfs.Template
	for _, ref := range args {
		one, err := templates(c, std).Find(ref)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

// templateUsers returns the names of the boards that use a version.
func templateUsers(ctx context.Context, stateDir string, of rootfs.Template) ([]string, error) {
	names := []string{}
	err := readRegistry(ctx, stateDir, func(boards *registry.Registry) error {
		for _, board := range boards.All() {
			if board.Template == of.Name && board.Version == of.Version {
				names = append(names, board.Name)
			}
		}
		return nil
	})
	return names, err
}

// readRegistry calls read with the registered boards, unless there is no database
// yet. It reads the database itself, so that it does not need the daemon.
func readRegistry(ctx context.Context, stateDir string, read func(*registry.Registry) error) (err error) {
	file := filepath.Join(stateDir, "pibootd.db")
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := store.Read(ctx, file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	boards, err := registry.Open(ctx, s)
	if err != nil {
		return err
	}
	return read(boards)
}

// templateFromPi imports the root of a board that is off.
func templateFromPi(c *cli.Context, std streams) error {
	args, err := arguments(c, "NAME", "PI")
	if err != nil {
		return err
	}
	if isRemote(c) {
		return fromPiRemotely(c, std, args[0], args[1])
	}
	if err := needRoot("template from-pi preserves owners and device nodes"); err != nil {
		return err
	}
	var board registry.Pi
	err = readRegistry(c.Context, c.String("state-dir"), func(boards *registry.Registry) (err error) {
		board, err = boards.Find(args[1])
		return err
	})
	if err == nil && board.ID == 0 {
		err = hintedError{fmt.Errorf("no Pi is registered in %s", c.String("state-dir")), "give the daemon's state directory with --state-dir"}
	}
	if err != nil {
		return err
	}
	now, err := client(c).Pi(c.Context, board.Serial.String())
	if err != nil && !isNotRunning(err) {
		return err
	}
	if now.Online && !c.Bool("force") {
		return hintedError{fmt.Errorf("%s is running and would change files while they are copied", board.Name), "shut it down first (ssh, then poweroff), or give --force"}
	}
	from := roots(c, std)
	if err := from.Mount(board.Serial); err != nil { // the daemon may not be running
		return err
	}
	return importWith(c, std, args[0], from.Path(board.Serial), rootfs.ImportOptions{
		FromBoard: true, KeepPassword: !c.Bool("lock-passwords"), AllowMismatch: c.Bool("allow-mismatch"),
	})
}

// fromPiRemotely has the daemon on another machine make a template of a board's root.
func fromPiRemotely(c *cli.Context, std streams, name, board string) error {
	if err := notFor(c, "config"); err != nil {
		return err
	}
	keys, err := authorizedKeys(c)
	if err != nil {
		return err
	}
	return makeRemotely(c, std, newMeter(std), web.NewTemplate{
		Name: name, Recipe: operation.FromPi, Board: board, Force: c.Bool("force"), AuthorizedKeys: keys,
		KeepPassword: !c.Bool("lock-passwords"), AllowMismatch: c.Bool("allow-mismatch"),
	})
}

func showTemplate(c *cli.Context, std streams) error {
	args, err := arguments(c, "TEMPLATE")
	if err != nil {
		return err
	}
	var t web.Template
	if isRemote(c) {
		t, err = client(c).Template(c.Context, args[0])
	} else {
		t, err = describeTemplate(c, std, args[0])
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, t)
	}
	var models []string
	for _, model := range t.Boards {
		models = append(models, string(model))
	}
	rows := [][]string{
		{"template", t.String()}, {"system", t.OS}, {"architecture", string(t.Arch)}, {"kernels", kernels(t.Template)},
		{"boot files", orNone("/"+t.BootDir, t.BootDir == "")}, {"complete for", orNone(strings.Join(models, ", "), len(models) == 0)},
		{"size", fmt.Sprintf("%s, %d files", byteText(t.SizeBytes), t.Files)}, {"made", since(t.Created)},
		{"boards", orNone(strings.Join(t.Users, " "), len(t.Users) == 0)},
	}
	if len(t.Kept) > 0 {
		rows = append(rows, []string{"kept roots", strings.Join(t.Kept, " ")})
	}
	for _, m := range t.Mismatches {
		rows = append(rows, []string{"mismatch", m.String()})
	}
	return printTable(std.out, rows)
}

// describeTemplate is what the daemon would answer about a template of this machine.
func describeTemplate(c *cli.Context, std streams, ref string) (t web.Template, err error) {
	all := templates(c, std)
	if t.Template, err = all.Find(ref); err != nil {
		return t, err
	}
	if t.Users, err = templateUsers(c.Context, c.String("state-dir"), t.Template); err != nil {
		return t, err
	}
	if t.Mismatches, err = all.CheckBoot(t.Template, ""); err != nil {
		return t, err
	}
	if t.Boards, err = all.Supported(t.Template); err != nil {
		return t, err
	}
	t.Kept, err = roots(c, std).ArchivedOver(t.Template)
	return t, err
}

func orNone(text string, none bool) string {
	if none {
		return "none"
	}
	return text
}

func diffTemplates(c *cli.Context, std streams) error {
	found, err := foundTemplates(c, std, "TEMPLATE", "TEMPLATE")
	if err != nil {
		return err
	}
	changes, err := templates(c, std).Diff(found[0], found[1])
	if err != nil {
		return err
	}
	return printChanges(c, std, changes)
}

func verifyTemplate(c *cli.Context, std streams) error {
	found, err := foundTemplates(c, std, "TEMPLATE")
	if err != nil {
		return err
	}
	if err := needRoot("template verify reads files of all users"); err != nil {
		return err
	}
	m := newMeter(std)
	changes, err := templates(c, std).Verify(c.Context, found[0], templateProgress(c, m))
	m.clear()
	if err != nil {
		return err
	}
	if err := printChanges(c, std, changes); err != nil {
		return err
	}
	if len(changes) > 0 {
		return hintedError{fmt.Errorf("template %s has changed in %d places", found[0], len(changes)), "templates must not change: check the disk, find who edited it, and import it again"}
	}
	return nil
}

// printChanges prints a line for each change, or says on standard error that there
// is none. It quotes names with characters that a terminal would interpret.
func printChanges(c *cli.Context, std streams, changes []filetree.Change) error {
	if c.Bool("json") {
		return printJSON(std.out, append([]filetree.Change{}, changes...))
	}
	if len(changes) == 0 {
		_, err := fmt.Fprintln(std.err, "no differences")
		return err
	}
	var out strings.Builder
	for _, change := range changes {
		fmt.Fprintf(&out, "%s: %s\n", printable(change.File), change.What)
	}
	_, err := io.WriteString(std.out, out.String())
	return err
}

func removeTemplate(c *cli.Context, std streams) error {
	args, err := arguments(c, "TEMPLATE@VERSION")
	if err != nil {
		return err
	}
	if !strings.Contains(args[0], "@") {
		return usageError{fmt.Errorf("%q names no version; want e.g. %s@1 (pibootd template list shows them)", args[0], args[0])}
	}
	t, err := client(c).RemoveTemplate(c.Context, args[0])
	if isNotRunning(err) && !isRemote(c) {
		t, err = removeStoppedTemplate(c, std, args[0])
	}
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(std.out, t)
	}
	_, err = fmt.Fprintf(std.out, "%s removed\n", t)
	return err
}

// removeStoppedTemplate is for a daemon that does not run.
func removeStoppedTemplate(c *cli.Context, std streams, ref string) (rootfs.Template, error) {
	if err := needRoot("template remove deletes files of all users"); err != nil {
		return rootfs.Template{}, err
	}
	users := func(t rootfs.Template) ([]string, error) { return templateUsers(c.Context, c.String("state-dir"), t) }
	return fleet.RemoveTemplate(templates(c, std), roots(c, std), ref, users)
}
