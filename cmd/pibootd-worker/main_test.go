package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "worker.json")
	token, open := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.WriteFile(token, []byte("secret\n"), 0o600), os.WriteFile(open, []byte("secret\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"--version"}, 0, "pibootd-worker unknown\n", ""},
		{"no configuration", []string{"--config", missing}, 1, "", "pibootd-worker: reading the configuration: open " + missing + ": no such file"},
		{"unknown flag", []string{"--confg", missing}, 2, "", "flag provided but not defined: -confg"},
		{"two sources", []string{"--config", missing, "--server", "nas"}, 2, "", "--server and --config; want one of them"},
		{"no server", []string{"--name", "pc1"}, 2, "", "--name without --server"},
		{"no token", []string{"--server", "nas"}, 2, "", "--server without --token-file; pibootd add-worker prints a token"},
		{"no such token", []string{"--server", "nas", "--token-file", missing}, 1, "", missing + ": no such file"},
		{"token of everybody", []string{"--server", "nas", "--token-file", open}, 1, "", "mode is -rw-r--r--; want -rw-------"},
		{"no muxer id", []string{"--server", "nas", "--token-file", token, "--muxid", "-1"}, 2, "", "--muxid -1; want a whole number from 1"},
		{"no daemon", []string{"--server", "ftp://nas", "--name", "pc1", "--token-file", token}, 1, "", `daemon: "ftp://nas"; want a host and a port, e.g. http://10.0.0.1:8080`},
		{"no name", []string{"--server", "nas", "--name", "pc*", "--token-file", token}, 1, "", `name: "pc*"; want 1 to 64 letters`},
		{"argument", []string{missing}, 2, "", "unexpected argument"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("run = %d; want %d", code, tt.code)
			}
			if stdout.String() != tt.stdout || !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stdout %q, stderr %q; want %q, %q", stdout.String(), stderr.String(), tt.stdout, tt.stderr)
			}
		})
	}
}

// The help lists every flag, in lines that fit a terminal, on standard output.
func TestHelp(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("--help = %d, stderr %q; want 0 and nothing", code, stderr.String())
	}
	for _, line := range []string{"  --config FILE       read the configuration FILE of a board (default:\n", "  --muxhwdec          decode H.264 in hardware\n"} {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("--help prints\n%s; want %q in it", stdout.String(), line)
		}
	}
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	addFlags(flags)
	flags.VisitAll(func(f *flag.Flag) {
		if !strings.Contains(stdout.String(), "\n  --"+f.Name+" ") {
			t.Errorf("--help does not list --%s", f.Name)
		}
	})
	for line := range strings.Lines(stdout.String()) {
		if len(line) > helpWidth+1 {
			t.Errorf("the line %q of --help has %d characters; want %d at most", line, len(line)-1, helpWidth)
		}
	}
}
