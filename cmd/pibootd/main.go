// Command pibootd boots Raspberry Pis over the network and transcodes video on
// them. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"pibootd/pkg/web"
)

// version is set by the linker: make build.
var version string

func main() {
	std := streams{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd())),
		screen: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("TERM") != "dumb", width: terminalWidth(os.Stdout, os.Stderr),
	}
	os.Exit(run(os.Args, std))
}

// streams is where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
	terminal bool // err is one: progress is drawn over itself
	screen   bool // out is one, and understands control sequences
	width    int  // of the terminal in columns; 0: unknown
}

// terminalWidth returns the width of the first of the files that is a terminal;
// 0 if none is.
func terminalWidth(files ...*os.File) int {
	for _, file := range files {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// helpWidth returns the columns that help is wrapped at.
func (s streams) helpWidth() int {
	if s.width == 0 {
		return defaultWidth
	}
	return min(max(s.width, minWidth), maxWidth)
}

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitSignal = 128 // and the signal's number, as shells have it
)

// run is the whole program except for the exit.
func run(args []string, std streams) int {
	ctx, stop := untilSignal()
	defer stop()
	app := newApp(std)
	err := app.RunContext(ctx, flagsFirst(app, args))
	if by, ok := interruptionOf(ctx); ok && errors.Is(err, context.Canceled) {
		err = by // what it was about to do says nothing to people
	}
	return report(std.err, err)
}

// An interruption is the signal that ended a command.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string {
	if i.signal == syscall.SIGTERM {
		return "terminated"
	}
	return "interrupted"
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, of which its cause is an
// interruption.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case got := <-signals:
			by, _ := got.(syscall.Signal)
			cancel(interruption{by})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

// interruptionOf returns what has ended a context that untilSignal has made.
func interruptionOf(ctx context.Context) (by interruption, ok bool) {
	ok = errors.As(context.Cause(ctx), &by)
	return by, ok
}

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A hintedError says what the user can do about it.
type hintedError struct {
	error
	hint string
}

func (e hintedError) Unwrap() error { return e.error }

// Hint is what the user can do about the error.
func (e hintedError) Hint() string { return e.hint }

// report prints err as one line, and a hint where there is one, and returns
// the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(w, "pibootd: %v\n", err)
	var hinted interface{ Hint() string } // this package's, or pkg/daemon's
	if errors.As(err, &hinted) {
		fmt.Fprintf(w, "hint: %s\n", hinted.Hint())
	} else if errors.Is(err, web.ErrNotRunning) {
		fmt.Fprintln(w, "hint: is `pibootd serve` running, and with the same --state-dir or --socket?")
	}
	var by interruption
	switch {
	case errors.As(err, new(usageError)):
		return exitUsage
	case errors.As(err, &by):
		return exitSignal + int(by.signal)
	}
	return exitFailed
}

func newApp(std streams) *cli.App {
	app := &cli.App{
		Name:                 "pibootd",
		Usage:                "boot Raspberry Pis over the network and transcode video on them",
		Version:              buildVersion(),
		Reader:               std.in,
		Writer:               std.out,
		ErrWriter:            std.err,
		EnableBashCompletion: true,
		HideHelpCommand:      true,
		HideVersion:          true,

		DisableSliceFlagSeparator: true,                         // kernel arguments have commas: console=ttyAMA0,115200
		ExitErrHandler:            func(*cli.Context, error) {}, // report prints and run exits
		Action:                    unknownCommand,
	}
	categories := commandCategories(std)
	for _, c := range categories {
		app.Commands = append(app.Commands, c.commands...)
	}
	app.Commands = append(app.Commands, handOverMountsCommand()) // for systemd, so help does not list it
	setUsageErrors(app)
	setCompletion(app)
	setHelp(app, categories, std.helpWidth())
	return app
}

// commandCategories returns all commands in the order in which help lists them.
func commandCategories(std streams) []category {
	return []category{
		{"Boards", []*cli.Command{
			addPiCommand(std), approvePiCommand(std), listPisCommand(std), showPiCommand(std), editPiCommand(std), removePiCommand(std),
			resetPiCommand(std), upgradePiCommand(std), rollbackPiCommand(std), keptRootsCommand(std), driftPiCommand(std),
			watchCommand(std), rehearseCommand(std), reportCommand(std), importHowtoCommand(std),
		}},
		{"Templates", []*cli.Command{templateCommand(std)}},
		{"Transcoding", []*cli.Command{transcodeCommand(std), liveCommand(std), jobsCommand(std), mediaCommand(std), drainCommand(std), undrainCommand(std)}},
		{"Other machines", []*cli.Command{addWorkerCommand(std), listWorkersCommand(std), editWorkerCommand(std), removeWorkerCommand(std)}},
		{"Daemon", []*cli.Command{
			serveCommand(std), keepCommand(std), adminLinkCommand(std), tokenCommand(std), doctorCommand(std), healthCommand(std), backupCommand(std), restoreCommand(std), dbCommand(std), configCommand(std), versionCommand(std), completionCommand(std), manCommand(std),
		}},
	}
}

// setUsageErrors makes every command report an unknown flag in one line, without
// pages of help around it.
func setUsageErrors(app *cli.App) {
	wrong := func(c *cli.Context, err error, _ bool) error {
		if isAboutServer(err) {
			return usageError{errHere(c)}
		}
		return usageError{hintedError{err, helpHint(c)}}
	}
	app.OnUsageError = wrong
	walk(app.Commands, app.Name, func(_ string, command *cli.Command) {
		command.OnUsageError = wrong
		command.HideHelpCommand = true
	})
}

// unknownCommand is the action of a command with subcommands if the command line
// names none of them: it shows help, or refuses a name that it does not know.
func unknownCommand(c *cli.Context) error {
	if !c.Args().Present() {
		if err := cli.ShowSubcommandHelp(c); err != nil {
			return err
		}
		return usageError{errors.New("no command given")}
	}
	return usageError{hintedError{fmt.Errorf("no command %q", c.Args().First()), helpHint(c)}}
}

func helpHint(c *cli.Context) string { return c.Command.HelpName + " --help" }

// arguments returns the positional arguments if there are as many as names.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	if got := c.Args().Len(); got != len(names) {
		want := "no arguments"
		if len(names) > 0 {
			want = fmt.Sprint(names)
		}
		return nil, usageError{hintedError{fmt.Errorf("got %d arguments %q; want %s", got, c.Args().Slice(), want), helpHint(c)}}
	}
	return c.Args().Slice(), nil
}

// buildVersion returns the version that the linker set, or else the revision that
// Go recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return setting.Value
		}
	}
	return info.Main.Version
}
