//go:build netns

package tftp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pibootd/pkg/netlab/netlabtest"
)

// TestOtherClients reads with clients that others have written, over Ethernet.
func TestOtherClients(t *testing.T) {
	t.Parallel()
	nas, board := netlabtest.NewPair(t, "10.0.0.1/24", "10.0.0.2/24")
	data := pattern(700_001)
	serveIn(t, nas, &Server{Source: files{"dir/f": data, "full": data[:512*40], "empty": nil}})

	read := func(name, file string, command ...string) ([]byte, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var out []byte
		err := board.Do(func() (err error) {
			cmd := exec.CommandContext(ctx, command[0], command[1:]...)
			cmd.Dir = t.TempDir()
			out, err = cmd.CombinedOutput()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", name, err, out)
		}
		return os.ReadFile(file)
	}
	for name, want := range map[string][]byte{"dir/f": data, "full": data[:512*40], "empty": nil} {
		file := filepath.Join(t.TempDir(), "got")
		for client, command := range map[string][]string{
			"curl":                  {"curl", "-sS", "-o", file, "tftp://10.0.0.1/" + name},
			"curl, blocks of 1468":  {"curl", "-sS", "--tftp-blksize", "1468", "-o", file, "tftp://10.0.0.1/" + name},
			"curl without options":  {"curl", "-sS", "--tftp-no-options", "-o", file, "tftp://10.0.0.1/" + name},
			"tftp-hpa":              {"tftp", "-m", "binary", "10.0.0.1", "-c", "get", name, file},
			"busybox, default size": {"busybox", "tftp", "-g", "-r", name, "-l", file, "10.0.0.1"},
		} {
			if len(want) == 0 && strings.HasPrefix(client, "curl") && client != "curl without options" {
				continue // curl itself fails where a tsize is 0
			}
			ok(t, os.WriteFile(file, []byte("old"), 0o644))
			if got, err := read(client, file, command...); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s reads %d bytes of %s, %v; want the %d of the file", client, len(got), name, err, len(want))
			}
		}
	}
	file := filepath.Join(t.TempDir(), "got")
	if _, err := read("curl", file, "curl", "-sS", "-o", file, "tftp://10.0.0.1/none"); err == nil || !strings.Contains(err.Error(), "curl: (68)") { // CURLE_TFTP_NOTFOUND
		t.Errorf("curl of a missing file: %v; want it not found", err)
	}
	if _, err := read("curl", file, "curl", "-sS", "-T", "/etc/hostname", "tftp://10.0.0.1/up"); err == nil || !strings.Contains(err.Error(), "curl: (69)") { // CURLE_TFTP_PERM
		t.Errorf("curl writing a file: %v; want it denied", err)
	}
}
