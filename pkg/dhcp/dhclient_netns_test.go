//go:build netns

package dhcp

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDhclient: ISC's client gets its reservation, and gives it back.
func TestDhclient(t *testing.T) {
	t.Parallel()
	l := newLAN(t, known)
	dir := t.TempDir()
	script, told := filepath.Join(dir, "script"), filepath.Join(dir, "told")
	ok(t, os.WriteFile(script, []byte("#!/bin/sh\n[ \"$reason\" = BOUND ] && ip addr add $new_ip_address/24 dev eth0 && env >"+told+".new && mv "+told+".new "+told+"\nexit 0\n"), 0o700))
	files := []string{"-cf", "/dev/null", "-sf", script, "-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid")}
	cmd := exec.Command("dhclient", append(files, "-d", "-1", "eth0")...)
	ok(t, l.board.Do(cmd.Start))
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is ended by what releases its lease
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})

	want := map[string]string{
		"new_ip_address": "10.0.0.21", "new_subnet_mask": "255.255.255.0", "new_routers": "10.0.0.254",
		"new_domain_name_servers": "10.0.0.2 10.0.0.3", "new_domain_name": "example.org",
		"new_dhcp_lease_time": "43200", "new_dhcp_server_identifier": "10.0.0.1",
	}
	got := awaitEnv(t, told, ended)
	maps.DeleteFunc(got, func(key, _ string) bool { _, wanted := want[key]; return !wanted })
	if !maps.Equal(got, want) {
		t.Errorf("dhclient gets %v; want %v", got, want)
	}
	wantKinds(t, l, Discover, Offer, Request, Ack)
	ok(t, l.board.Do(exec.Command("dhclient", append(files, "-r", "eth0")...).Run))
	wantKinds(t, l, Release)
}

// awaitEnv returns what a client's script has written down of its environment.
func awaitEnv(t *testing.T, file string, ended <-chan struct{}) map[string]string {
	t.Helper()
	for late := time.After(time.Minute); ; {
		text, err := os.ReadFile(file)
		if err == nil {
			env := map[string]string{}
			for line := range strings.Lines(string(text)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				env[key] = value
			}
			return env
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			t.Fatal("the client ended without a lease")
		case <-late:
			t.Fatal("the client gets no lease")
		}
	}
}
