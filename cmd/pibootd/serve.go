package main

import (
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"pibootd/internal/fdstore"
	"pibootd/pkg/config"
	"pibootd/pkg/daemon"
)

func serveCommand(std streams) *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "run the daemon",
		Description: "The daemon serves DHCP, TFTP, NFS, the queue of transcoding jobs and the HTTP API until SIGTERM or SIGINT.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "serve the network `INTERFACE` of the Pis"},
			&cli.StringFlag{Name: "config", Usage: "read the configuration `FILE`; see pibootd config example"},
			&cli.StringFlag{Name: "state-dir", Usage: "use the state directory `DIR`", DefaultText: "state_dir of the configuration", EnvVars: []string{envStateDir}},
			&cli.StringFlag{Name: "socket", Usage: "listen on the control `SOCKET`", DefaultText: "socket of the configuration", EnvVars: []string{envSocket}},
		},
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := serveConfig(c)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(std.err, &slog.HandlerOptions{Level: cfg.Log.Level}))
			if err := needRoot("serve binds ports below 1024 and preserves the owners of boards' files"); err != nil {
				return err
			}
			o := daemon.Options{Config: cfg, Version: buildVersion(), Log: log, Kept: fdstore.Inherit()}
			if std.terminal {
				o.Terminal = std.err
			}
			ctx, cancel := o.Kept.Within(c.Context)
			defer cancel()
			return daemon.Run(ctx, o)
		},
	}
}

// serveConfig reads the configuration file, if there is one, and lets the
// flags override it.
func serveConfig(c *cli.Context) (config.Config, error) {
	cfg := config.Default()
	if file := c.String("config"); file != "" {
		var err error
		if cfg, err = config.Load(file); err != nil {
			return config.Config{}, err
		}
	}
	for flag, setting := range map[string]*string{"interface": &cfg.Interface, "state-dir": &cfg.StateDir, "socket": &cfg.Socket} {
		if c.IsSet(flag) {
			*setting = c.String(flag)
		}
	}
	if cfg.Interface == "" {
		return config.Config{}, usageError{hintedError{fmt.Errorf("no interface given"), "pibootd serve --interface eth0 (ip -br addr lists the names)"}}
	}
	absolute, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return config.Config{}, fmt.Errorf("state directory: %w", err)
	}
	cfg.StateDir = absolute
	return cfg, nil
}
