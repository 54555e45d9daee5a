// Command pibootd-worker transcodes for pibootd on a board or on any other machine.
// If it cannot continue it prints the reason and exits with 1, and its supervisor
// is expected to restart it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"pibootd/pkg/transcode/worker"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "unknown"

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("pibootd-worker", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run prints errors and help
	o := addFlags(flags)
	debug := flags.Bool("debug", false, "log debug messages")
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			printHelp(stdout, flags)
			return 0
		}
		fmt.Fprintf(stderr, "pibootd-worker: %v; pibootd-worker --help lists the options\n", err)
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "pibootd-worker: unexpected argument %q\n", flags.Arg(0))
		return 2
	}
	if *showVersion {
		fmt.Fprintln(stdout, "pibootd-worker", version)
		return 0
	}
	config, boot, err := o.read(flags)
	if errors.As(err, new(usageError)) {
		fmt.Fprintf(stderr, "pibootd-worker: %v\n", err)
		return 2
	}
	if err == nil {
		err = work(config, boot, *debug, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "pibootd-worker: %v\n", err)
		return 1
	}
	return 0
}

// work runs the worker until SIGTERM or SIGINT, when it returns its unfinished
// units.
func work(config worker.Config, boot worker.Boot, debug bool, stderr io.Writer) error {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	own := worker.NewOwnLog()
	w := &worker.Worker{
		Config:  config,
		Boot:    boot,
		Version: version,
		Own:     own,
		Log:     slog.New(slog.NewTextHandler(io.MultiWriter(stderr, own), &slog.HandlerOptions{Level: level})),
	}
	if config.Daemon == "" {
		w.LogRoot = "/" // a board's; the log of another machine is not pibootd's
	}
	return w.Run(ctx)
}
