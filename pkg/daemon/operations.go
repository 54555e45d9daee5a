package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pibootd/pkg/operation"
)

// templateUnit is the variable of the environment by which pibootd.service names the unit that runs
// template commands: a build may do what the daemon's own sandbox does not permit.
const templateUnit = "PIBOOTD_TEMPLATE_UNIT"

// stopPatience is how long a process that makes a template has to remove what it has made so far.
const stopPatience = 10 * time.Second

func (d *daemon) newOperations() *operation.Keeper {
	return operation.New(filepath.Join(d.cfg.StateDir, "operations"), launchTemplate, d.log)
}

// launchTemplate runs "pibootd template make DIR", by systemd or as a child, until it ends.
func launchTemplate(ctx context.Context, dir string) error {
	cmd, err := templateCommand(ctx, os.Getenv(templateUnit), dir)
	if err != nil {
		return err
	}
	// A file, because a pipe would end the process with its first line after the daemon.
	said, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return fmt.Errorf("pibootd template: %w", err)
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pibootd template: %w: %s", err, lastLine(said))
	}
	return nil
}

// lastLine returns the last line of a file, of its last bytes.
func lastLine(file *os.File) string {
	const most = 400
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(io.NewSectionReader(file, max(0, size-most), most))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// templateCommand returns the command that works on an operation. A unit goes on when the daemon
// stops, which only stops to wait for it.
func templateCommand(ctx context.Context, unit, dir string) (*exec.Cmd, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if unit != "" {
		if strings.Contains(dir, " ") {
			dir = `"` + dir + `"` // the unit splits its instance into words
		}
		return exec.CommandContext(ctx, "systemctl", "start", unit+escapeUnit("make "+dir)+".service"), nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "template", "make", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C at a terminal ends the daemon first
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopPatience
	return cmd, nil
}

// escapeUnit makes a text the instance of a unit (systemd.unit(5)), as systemd-escape does.
func escapeUnit(text string) string {
	var out strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '/':
			out.WriteByte('-')
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == ':', c == '_', c == '.' && i > 0:
			out.WriteByte(c)
		default:
			fmt.Fprintf(&out, `\x%02x`, c)
		}
	}
	return out.String()
}
