package main

import (
	"os"

	"github.com/urfave/cli/v2"

	"pibootd/pkg/config"
	"pibootd/pkg/daemon"
	"pibootd/pkg/doctor"
)

// installedConfig is the configuration that systemd/pibootd.service names.
const installedConfig = "/etc/pibootd.toml"

// examineWithoutDaemon checks what would keep a daemon from starting.
func examineWithoutDaemon(c *cli.Context) []doctor.Finding {
	found := []doctor.Finding{{
		Subject: "daemon", Level: doctor.Problem, Text: "no pibootd answers on " + config.Config{StateDir: c.String("state-dir"), Socket: c.String("socket")}.SocketFile(),
		Todo: "pibootd serve --interface eth0, or systemctl start pibootd; its log says why it ended",
	}}
	if os.Geteuid() != 0 {
		return append(found, doctor.Finding{Subject: "rights", Level: doctor.Problem, Text: "you are not root, so the rest cannot be checked", Todo: "sudo pibootd doctor"})
	}
	cfg, text, err := configToTry(c)
	if err != nil {
		return append(found, doctor.Failing("configuration", err))
	}
	found = append(found, doctor.Finding{Subject: "configuration", Level: doctor.OK, Text: text})
	return append(found, daemon.Examine(c.Context, cfg)...)
}

// configToTry returns the configuration that serve would use: that of the given
// file, of the installed one, or the defaults.
func configToTry(c *cli.Context) (cfg config.Config, text string, err error) {
	if _, err := os.Stat(installedConfig); err == nil && !c.IsSet("config") {
		if err := c.Set("config", installedConfig); err != nil {
			return cfg, "", err
		}
	}
	text = "no file, all defaults"
	if file := c.String("config"); file != "" {
		text = file + " can be read"
	}
	cfg, err = serveConfig(c)
	return cfg, text, err
}
