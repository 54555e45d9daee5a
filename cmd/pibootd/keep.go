package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"pibootd/internal/fdstore"
)

func keepCommand(std streams) *cli.Command {
	return &cli.Command{
		Name: "keep", Usage: "run another command of pibootd, and keep its sockets open while it restarts", ArgsUsage: "-- serve [FLAGS]",
		Description: "For containers and other places without systemd, whose descriptor store does the same. The command is started again when it fails; SIGHUP has it restart at once, with the program that is installed then. No request is refused meanwhile. SIGTERM and SIGINT end both.",
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usageError{hintedError{errors.New("no command given"), "pibootd keep -- serve --interface eth0"}}
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
			defer signal.Stop(signals)
			k := &fdstore.Keeper{Args: append([]string{self}, c.Args().Slice()...), Log: slog.New(slog.NewTextHandler(std.err, nil))}
			code, err := k.Run(signals)
			if err == nil && code != exitDone {
				err = fmt.Errorf("pibootd %s ended with exit code %d", strings.Join(c.Args().Slice(), " "), code)
			}
			return err
		},
	}
}
