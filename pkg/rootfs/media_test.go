package rootfs

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"pibootd/pkg/pi"
)

// A board's own keys and its token stay when the media share or the queue move.
func TestSetServices(t *testing.T) {
	const serial = pi.Serial(0x3333347a)
	r := &Roots{Dir: t.TempDir()}
	file := filepath.Join(r.Path(serial), WorkerConfigFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	const before = `{"name":"a","token":"b","media_export":"/media","nfs_port":2049,"queue_url":"nats://a","media_dir":"/mnt","server":"10.0.0.1","scratch_export":"/scratch/a"}`
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddr("10.0.0.1")
	for _, tt := range []struct {
		services Services
		want     string
	}{
		{Services{"nats://a", server, "/media", 2049, "/scratch/a"}, before},
		{Services{"tls://b", server.Next(), "/srv/media", 0, "/scratch/b"}, "{\n\t\"media_dir\": \"/mnt\",\n\t\"media_export\": \"/srv/media\",\n\t\"name\": \"a\",\n\t\"nfs_port\": 0,\n\t\"queue_url\": \"tls://b\",\n\t\"scratch_export\": \"/scratch/b\",\n\t\"server\": \"10.0.0.2\",\n\t\"token\": \"b\"\n}\n"},
	} {
		if err := r.SetServices(serial, tt.services); err != nil {
			t.Errorf("SetServices(%v) = %v", tt.services, err)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != tt.want {
			t.Errorf("after SetServices(%v): %s, %v; want %s", tt.services, got, err, tt.want)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode is %v, %v; want 0600", info.Mode(), err)
	}
}

// The board's root user may put anything where its configuration was.
func TestSetServicesStaysInTheRoot(t *testing.T) {
	const serial = pi.Serial(0x3333347a)
	r := &Roots{Dir: t.TempDir()}
	outside := filepath.Join(t.TempDir(), "worker.json")
	if err := os.WriteFile(outside, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.Path(serial), WorkerConfigFile)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, file); err != nil {
		t.Fatal(err)
	}
	if err := r.SetServices(serial, Services{MediaExport: "/srv/media"}); err == nil {
		t.Error("SetServices = nil; want an error")
	}
	if text, err := os.ReadFile(outside); err != nil || string(text) != "{}" {
		t.Errorf("the file outside is %q, %v; want it untouched", text, err)
	}
}
