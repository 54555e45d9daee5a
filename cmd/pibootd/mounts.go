package main

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/daemon"
)

func handOverMountsCommand() *cli.Command {
	return &cli.Command{
		Name: "hand-over-mounts", Hidden: true,
		Usage: "for pibootd.service: let the daemon mount overlay roots where the whole machine sees them",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			socket := os.Getenv("NOTIFY_SOCKET")
			if socket == "" {
				return usageError{errors.New("$NOTIFY_SOCKET is not set; systemd sets it for ExecStartPre= with NotifyAccess=exec")}
			}
			return daemon.HandOverMounts(socket, daemon.MachineNamespace)
		},
	}
}
