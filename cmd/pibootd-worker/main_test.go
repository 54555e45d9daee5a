package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "worker.json")
	tests := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"version", []string{"--version"}, 0, "pibootd-worker unknown\n", ""},
		{"help", []string{"--help"}, 0, "", "-config file"},
		{"no configuration", []string{"--config", missing}, 1, "", "pibootd-worker: reading the configuration: open " + missing + ": no such file"},
		{"unknown flag", []string{"--confg", missing}, 2, "", "flag provided but not defined: -confg"},
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
