package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/registry"
	"pibootd/pkg/web"
)

// onCommandLine runs read in a command that has flags.
func onCommandLine(t *testing.T, flags []cli.Flag, args []string, read func(*cli.Context)) {
	t.Helper()
	app := &cli.App{Flags: flags, Action: func(c *cli.Context) error { read(c); return nil }, DisableSliceFlagSeparator: true}
	if err := app.Run(append([]string{"test"}, args...)); err != nil {
		t.Errorf("%q: %v", args, err)
	}
}

// flagValue is a value that a flag takes and that is not its default.
func flagValue(s registry.Setting) string {
	switch {
	case s.Int != nil:
		return "128"
	case s.Bool != nil:
		return "true"
	case s.Share != nil:
		return "0.5"
	}
	return "raw"
}

// Each setting of the table has a flag in add-pi, approve-pi and edit-pi, which
// sets it and nothing else, and lists can be emptied.
func TestEverySettingHasAFlag(t *testing.T) {
	commands := map[string]*cli.Command{}
	for _, command := range newApp(streams{}).Commands {
		commands[command.Name] = command
	}
	for i, setting := range new(registry.Settings).Table() {
		for _, name := range []string{"add-pi", "approve-pi", "edit-pi"} {
			if !slices.ContainsFunc(commands[name].Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), setting.Flag) }) {
				t.Errorf("%s has no flag --%s", name, setting.Flag)
			}
		}
		arg := fmt.Sprintf("--%s=%s", setting.Flag, flagValue(setting))
		onCommandLine(t, commands["edit-pi"].Flags, []string{arg}, func(c *cli.Context) {
			edit, err := editOf(c)
			checkSet(t, arg, i, edit.Settings)
			if err != nil || !slices.Equal(edit.Fields, []string{setting.Field}) {
				t.Errorf("%s edits %q, %v; want %s alone", arg, edit.Fields, err, setting.Field)
			}
		})
		args := []string{arg, "--mac=b8:27:eb:33:34:7a"}
		onCommandLine(t, commands["add-pi"].Flags, args, func(c *cli.Context) {
			r, err := addRequest(c, c.String("mac"), "3333347a")
			checkSet(t, arg, i, r.Settings)
			if err != nil {
				t.Error(err)
			}
		})
		if setting.Clear == "" {
			continue
		}
		onCommandLine(t, commands["edit-pi"].Flags, []string{"--" + setting.Clear}, func(c *cli.Context) {
			if edit, err := editOf(c); err != nil || !slices.Equal(edit.Fields, []string{setting.Field}) {
				t.Errorf("--%s edits %q, %v; want %s alone", setting.Clear, edit.Fields, err, setting.Field)
			}
		})
		onCommandLine(t, commands["edit-pi"].Flags, []string{arg, "--" + setting.Clear}, func(c *cli.Context) {
			if _, err := editOf(c); err == nil || !strings.Contains(err.Error(), "exclude each other") {
				t.Errorf("%s --%s: %v; want it refused", arg, setting.Clear, err)
			}
		})
	}
}

// show-pi shows each setting of the table where a board has it, and only there.
func TestEverySettingIsShown(t *testing.T) {
	for i, setting := range new(registry.Settings).Table() {
		var board web.Pi
		onCommandLine(t, flagsOf(board.Settings.Table()), []string{fmt.Sprintf("--%s=%s", setting.Flag, flagValue(setting))}, func(c *cli.Context) {
			readSettings(c, board.Settings.Table())
		})
		var text strings.Builder
		if err := printPi(&text, board); err != nil {
			t.Fatal(err)
		}
		for j, other := range board.Settings.Table() {
			shown := strings.Contains(text.String(), "\n  settings  "+other.Name)
			if shown != (i == j) || strings.Contains(text.String(), "\n            ") {
				t.Errorf("a board with %s is shown as\n%s; want this setting alone", setting.Name, text.String())
			}
		}
	}
	two := web.Pi{Pi: registry.Pi{Settings: registry.Settings{Labels: []string{"row1", "fast"}, Weight: 0.25}}}
	var text strings.Builder
	if err := printPi(&text, two); err != nil || !strings.Contains(text.String(), "\n  settings  labels row1 fast\n            weight 0.25\n") {
		t.Errorf("a board is shown as\n%s; want its settings one below the other", text.String())
	}
	text.Reset()
	relaxed := web.Pi{Pi: registry.Pi{Settings: registry.Settings{Durable: registry.Relaxed}}}
	if err := printPi(&text, relaxed); err != nil || !strings.Contains(text.String(), "durable relaxed\n            a power cut of the NAS can undo") {
		t.Errorf("a relaxed board is shown as\n%s; want what a power cut loses", text.String())
	}
}

// checkSet wants all but the ith setting to be unset.
func checkSet(t *testing.T, arg string, i int, got registry.Settings) {
	t.Helper()
	var unset registry.Settings
	for j, setting := range got.Table() {
		if changed := setting.String() != unset.Table()[j].String(); changed != (i == j) {
			t.Errorf("%s: the setting %s is %s", arg, setting.Field, setting)
		}
	}
}

// A setting that is added to the table has a flag that sets it.
func TestAddedSetting(t *testing.T) {
	var fan int
	table := append(new(registry.Settings).Table(), registry.Setting{Field: "fan", Flag: "fan-speed", Name: "fan", Usage: "run the fan at `PERCENT`", Int: &fan})
	onCommandLine(t, flagsOf(table), []string{"--fan-speed=70"}, func(c *cli.Context) {
		if fields := readSettings(c, table); fan != 70 || !slices.Equal(fields, []string{"fan"}) {
			t.Errorf("--fan-speed=70 sets %q, the fan to %d", fields, fan)
		}
	})
}

// When a change takes effect on a board that runs depends on the setting.
func TestTakesEffect(t *testing.T) {
	const boot = "it is running: this takes effect at its next boot\n"
	for changes, want := range map[string]string{
		"":                                   "",
		"muxid 1 to 2":                       boot,
		`labels [] to ["a"]`:                 "its worker applies the labels to the next unit that it requests\n",
		"weight 1 to 0.5":                    "its worker applies the weight within half a minute\n",
		"name a to b;weight 1 to 0.5":        boot + "its worker applies the weight within half a minute\n",
		`labels [] to ["a"];gpu-mem 0 to 16`: boot + "its worker applies the labels to the next unit that it requests\n",
	} {
		all := strings.FieldsFunc(changes, func(r rune) bool { return r == ';' })
		if got := takesEffect(all); got != want {
			t.Errorf("takesEffect(%q) = %q; want %q", all, got, want)
		}
	}
}
